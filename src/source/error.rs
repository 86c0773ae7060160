//! Why a snapshot was not taken, in words that name the entry and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::guarded::GuardedWhy;
use crate::content::ContentError;
use crate::content::manifest::ManifestError;
use crate::content::path::PathError;
use crate::content::stand_in::StandIn;
use crate::model::reason::Reason;

/// Refused entries that a message names; the rest are counted.
const NAMED: usize = 10;

/// Why a directory could not be read into the library.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The directory lies beneath no permitted root.
    #[error("{directory:?} is beneath no source root ({}); move it, or permit its root (--source-root; the chart's sources[])", Roots(.roots))]
    NotPermitted {
        /// As the package names it.
        directory: String,
        /// What is permitted.
        roots: Vec<PathBuf>,
    },
    /// The directory may not become a package, wherever its root is.
    #[error("{directory:?} {why}; it is never distributed: choose a directory that holds the package alone")]
    Guarded {
        /// As the package names it.
        directory: String,
        /// Whose it is.
        why: GuardedWhy,
    },
    /// The directory is not there, is reached through a link, or cannot be read.
    #[error("{}", unavailable(directory, source))]
    Unavailable {
        /// Where it should be.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Entries that cannot be distributed.
    #[error("{}", Refusals(.0))]
    Refused(Vec<Refusal>),
    /// The tree is not what it was when the snapshot began. Try again when it is quiet.
    #[error("{0:?} changed while the source was read; it is read again once it is quiet")]
    Changed(PathBuf),
    /// The tree exceeds a limit of content.
    #[error("the source is not distributable content")]
    Content(#[source] ManifestError),
    /// The library failed.
    #[error("cannot store the source in the content library")]
    Library(#[source] ContentError),
}

impl SnapshotError {
    /// The reason that conditions and messages carry.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotPermitted { .. } | Self::Guarded { .. } => Reason::SourceNotPermitted,
            Self::Unavailable { .. } => Reason::SourceUnavailable,
            Self::Refused(_) => Reason::SourceRefused,
            Self::Changed(_) => Reason::SourceChanged,
            Self::Content(_) => Reason::LimitExceeded,
            Self::Library(ContentError::Full(_)) => Reason::DiskFull,
            Self::Library(_) => Reason::ProgressingWithRetry,
        }
    }
}

/// An entry that cannot be distributed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its path in the source; bytes that are not UTF-8 are shown as replacement characters.
    pub path: String,
    /// Why.
    pub why: Why,
}

/// Why an entry cannot be distributed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A symbolic link, wherever it points, or what one stands for in the export of a commit.
    #[error("{}; {}", .0.describe(), .0.remedy())]
    Link(StandIn),
    /// A block or character device.
    #[error("a device")]
    Device,
    /// A FIFO.
    #[error("a named pipe")]
    Fifo,
    /// A socket.
    #[error("a socket")]
    Socket,
    /// A directory on which another file system is mounted.
    #[error("the mount point of another file system")]
    MountPoint,
    /// A name that is not UTF-8.
    #[error("its name is not UTF-8; rename it")]
    NotUtf8,
    /// A name that some client's file system cannot hold.
    #[error("{0}")]
    Name(PathError),
    /// Differs from another name only in case.
    #[error("differs from {0:?} only in case; rename one")]
    CaseClash(String),
    /// The site server may not read it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl SnapshotError {
    /// The error with its causes, as one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        if let Self::Unavailable { source, .. } = self
            && plain_reason(source).is_some()
        {
            return self.to_string();
        }
        crate::model::causes::chain(self)
    }
}

fn unavailable(directory: &std::path::Path, source: &io::Error) -> String {
    let why = plain_reason(source).map_or_else(|| " cannot be read".to_owned(), |why| format!(" {why}"));
    format!("the source {directory:?}{why}")
}

/// What the system's answer means for who declared the source.
fn plain_reason(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::NOENT => Some("does not exist"),
        Errno::NOTDIR => Some("is not a directory"),
        Errno::LOOP => {
            Some("is a symbolic link or is reached through one; links are not followed: name the directory itself")
        }
        Errno::ACCESS => Some("may not be read by this process; give it the permission"),
        _ => None,
    }
}

struct Refusals<'a>(&'a [Refusal]);

impl fmt::Display for Refusals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source holds what cannot be distributed: ")?;
        for (at, Refusal { path, why }) in self.0.iter().take(NAMED).enumerate() {
            write!(f, "{}{path:?} ({why})", if at == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

struct Roots<'a>(&'a [PathBuf]);

impl fmt::Display for Roots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, root) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, root.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{
        content::beneath::Dir,
        source::{Guarded, directory::open_directory, listing},
    };

    #[test]
    fn what_is_too_much_and_what_may_pass_have_reasons_of_their_own() {
        let too_many = SnapshotError::Content(ManifestError::TooManyFiles(2_000_000));
        assert_eq!(too_many.reason(), Reason::LimitExceeded);
        let missing = SnapshotError::Library(ContentError::Missing(crate::content::digest::Digest::of(b"x")));
        assert_eq!(missing.reason(), Reason::ProgressingWithRetry);
    }

    /// As the export of a commit leaves them: in the source, and in place of it.
    #[test]
    fn what_a_commit_has_no_bytes_of_is_named_as_what_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let source = scratch.path().join("source");
        std::fs::create_dir(&source).unwrap();
        for (name, what) in [("module", StandIn::Submodule), ("big.iso", StandIn::LfsPointer)] {
            symlink(what.text(), source.join(name)).unwrap();
        }
        let refused = listing(Dir::open(&source).unwrap()).unwrap_err();
        assert_eq!(refused.reason(), Reason::SourceRefused);
        let text = refused.to_string();
        assert!(text.contains("\"module\" (a git submodule; commit its files themselves)"), "{text}");
        assert!(text.contains("\"big.iso\" (a Git LFS pointer; commit the file itself)"), "{text}");

        let refused = open_directory("source/module/sub", scratch.path(), &[], &Guarded::system()).unwrap_err();
        assert!(refused.to_string().contains("module\" (a git submodule; "), "{refused}");
        assert_eq!(refused.reason(), Reason::SourceRefused);
    }
}
