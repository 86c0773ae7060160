//! Package content: digests, safe paths, manifests (pure), and the library and published directories (files).
//!
//! What is identical is one manifest digest; what is stored is one file per SHA-256; what a client may read or execute
//! has been verified against both while it was written.

pub mod anchor;
pub mod collect;
pub mod digest;
pub mod drive;
pub mod durable;
pub mod library;
pub mod manifest;
pub mod path;
pub mod private;
pub mod publish;
pub mod stand_in;
pub mod tree;
pub mod verify;

pub mod beneath;
pub mod copy;
mod direct;
mod error;
mod import;
mod repair;

pub use collect::Collected;
pub use digest::Digest;
pub use drive::{DriveConfig, VersionKey};
pub use error::ContentError;
pub use import::Import;
pub use library::Library;
pub use manifest::{Entry, Manifest};
pub use path::SafePath;
pub use publish::{Published, Publisher};
pub use verify::{Fault, FaultKind};
