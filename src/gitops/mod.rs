//! Manifests on disk or in git, read, diagnosed and applied to the Kubernetes API.
