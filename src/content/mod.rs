//! Package content: digests, safe paths, manifests (pure), and the library and published directories (files).
//!
//! What is identical is one manifest digest; what is stored is one file per SHA-256; what a client may read or execute
//! has been verified against both while it was written.

pub mod digest;
pub mod manifest;
pub mod path;

pub use digest::Digest;
pub use manifest::{Entry, Manifest};
pub use path::SafePath;
