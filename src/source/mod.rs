//! Package sources: where the files of a package come from. Each is read into the content library as one snapshot.

pub mod directory;
pub mod guarded;
mod walk;
pub mod watch;

pub use directory::{Snapshot, listing, open_directory, snapshot};
pub use error::{Refusal, SnapshotError, Why};
pub use guarded::Guarded;

mod error;
