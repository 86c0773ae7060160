//! Package content: digests, safe paths, manifests (pure), and the library and published directories (files).
