//! The embedded Kubernetes API: serves CRD-described kinds as the real API server does, or refuses.

pub mod failure;
pub mod fields;
pub mod metadata;
pub mod patch;
pub mod schema;
pub mod selector;
mod shown;
