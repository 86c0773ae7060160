//! What a commit holds: its files, and the entries that have no bytes to distribute. Refuses paths that no honest
//! repository has. Reads names only, no content.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use super::git::{CommitId, GitError, Repository};
use crate::content::stand_in::StandIn;

/// Most files of one commit. A checkout of the largest public monorepositories has about as many.
pub const MAX_FILES: usize = 500_000;

/// An entry of the commit that has no bytes to distribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path, relative to the root of the export.
    pub path: String,
    /// What it is.
    pub what: StandIn,
}

/// Why a commit could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The git program failed.
    #[error("commit {commit} cannot be read")]
    Git {
        /// The commit.
        commit: String,
        /// Why.
        #[source]
        source: GitError,
    },
    /// A path that no honest repository has.
    #[error("commit {commit} holds the path `{path}`, which is not allowed; the commit is not used")]
    UnsafePath {
        /// The commit.
        commit: String,
        /// The path, made readable.
        path: String,
    },
    /// The repository lacks the bytes of a file, as a partial clone does.
    #[error("the repository lacks the content of `{path}` in commit {commit}; fetch it completely")]
    MissingFile {
        /// The commit.
        commit: String,
        /// The path, made readable.
        path: String,
    },
    /// More than the limit.
    #[error("commit {commit} has more than {MAX_FILES} files; the commit is not used")]
    TooManyFiles {
        /// The commit.
        commit: String,
    },
    /// Not enough space.
    #[error(
        "commit {commit} needs {needed_bytes} bytes, but only {free_bytes} bytes are free in the state directory; \
         make room there"
    )]
    NoSpace {
        /// The commit.
        commit: String,
        /// What it needs.
        needed_bytes: u64,
        /// What is there, the reserve left out.
        free_bytes: u64,
    },
    /// A file could not be written.
    #[error("the export of commit {commit} cannot be written")]
    Write {
        /// The commit.
        commit: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One file of a commit.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) blob: String,
    pub(crate) size_bytes: u64,
    pub(crate) executable: bool,
}

/// What a commit holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<ListedFile>,
    pub(crate) refused: Vec<Refused>,
    /// Git's name for everything in a directory, by its path: the same name, the same bytes.
    pub(crate) trees: HashMap<PathBuf, String>,
}

/// Lists a commit, or the directory of it that the repository was opened at.
pub(crate) async fn list(repository: &Repository, commit: &CommitId) -> Result<Listing, ExportError> {
    let tree = format!("{}:{}", commit.as_str(), repository.prefix);
    let output = repository.read(["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", &tree]).await;
    let output = output.map_err(|source| ExportError::Git { commit: commit.as_str().to_owned(), source })?;
    parse_listing(&output, commit)
}

/// Lines of `mode SP type SP oid SP size TAB path NUL`.
fn parse_listing(output: &[u8], commit: &CommitId) -> Result<Listing, ExportError> {
    let commit = || commit.as_str().to_owned();
    let mut listing = Listing::default();
    let mut seen = HashSet::new();
    for line in output.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|byte| *byte == b'\t').unwrap_or(0);
        let (head, path) = (String::from_utf8_lossy(&line[..tab]), line.get(tab + 1..).unwrap_or_default());
        let shown = || String::from_utf8_lossy(path).escape_debug().to_string();
        // A tree that names a file twice was made to confuse.
        if !safe(path) || !seen.insert(path) {
            return Err(ExportError::UnsafePath { commit: commit(), path: shown() });
        }
        if listing.files.len() >= MAX_FILES || listing.trees.len() >= MAX_FILES {
            return Err(ExportError::TooManyFiles { commit: commit() });
        }
        let fields: Vec<&str> = head.split_ascii_whitespace().collect();
        let refuse = |what| Refused { path: String::from_utf8_lossy(path).into_owned(), what };
        match fields[..] {
            ["120000", ..] => listing.refused.push(refuse(StandIn::SymbolicLink)),
            ["040000", "tree", tree, _] => {
                listing.trees.insert(PathBuf::from(OsStr::from_bytes(path)), tree.to_owned());
            }
            ["160000", ..] => listing.refused.push(refuse(StandIn::Submodule)),
            [mode, "blob", blob, size] => listing.files.push(ListedFile {
                path: PathBuf::from(OsStr::from_bytes(path)),
                blob: blob.to_owned(),
                size_bytes: size.parse().map_err(|_| ExportError::MissingFile { commit: commit(), path: shown() })?,
                executable: mode == "100755",
            }),
            _ => return Err(ExportError::UnsafePath { commit: commit(), path: shown() }),
        }
    }
    Ok(listing)
}

/// A path that stays below the root and cannot be taken for a repository.
fn safe(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .all(|name| !name.is_empty() && name != b"." && name != b".." && !name.eq_ignore_ascii_case(b".git"))
}
