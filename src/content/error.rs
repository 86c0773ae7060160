//! What can go wrong with content on disk. A full disk is told apart from every other failure, because it has its own
//! remedies: another drive, or waiting for space.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::manifest::ManifestError;

/// A failure of the content layer.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A system call failed.
    #[error("cannot {doing} {path:?}")]
    Io {
        /// What was tried, as in "cannot write".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No space, or a quota is used up. What was being written has been removed.
    #[error("no space left for {0:?}; free some or use another drive")]
    Full(PathBuf),
    /// Bytes do not have the digest they are stored or sent under.
    #[error("{path:?} does not have the digest {expected}")]
    Corrupt {
        /// The file that was being read or written.
        path: PathBuf,
        /// What it should have had.
        expected: Digest,
    },
    /// The library does not hold this blob or manifest (any more).
    #[error("{0} is not in the content library; take a new snapshot of its package")]
    Missing(Digest),
    /// The source of the bytes failed.
    #[error("cannot fetch {path}")]
    Fetch {
        /// The file's path in its tree.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A manifest breaks a rule.
    #[error("the manifest {path:?} is refused")]
    Manifest {
        /// Where it was read from, or the name of the content.
        path: PathBuf,
        /// The rule.
        source: ManifestError,
    },
    /// Another process has the directory open.
    #[error("{0:?} is in use by another process; stop it first")]
    InUse(PathBuf),
    /// A namespace or package name that cannot be a directory's name.
    #[error("{0:?} cannot be the name of a directory")]
    Name(String),
    /// No drive can take the content.
    #[error("no drive has {needed_bytes} bytes above its reserve: {drives}")]
    NoDrive {
        /// What is needed.
        needed_bytes: u64,
        /// Each drive and why it was left out.
        drives: String,
    },
    /// Nothing is published under this name.
    #[error("{0} is not published here")]
    NotPublished(String),
}

impl ContentError {
    /// For `map_err`: the failure of `doing` something with `path`.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |error| {
            let (source, path) = (error.into(), path.as_ref().to_owned());
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
                _ => Self::Io { doing, path, source },
            }
        }
    }
}
