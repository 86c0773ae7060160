//! The served directory or branch, read as one revision. In branch mode manifests and package sources come from the
//! private export of one commit; in directory mode from the directory itself. Writes nothing but exports.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    export::{Export, ExportError, Exports},
    git::{CommitId, GitError, Repository},
    kinds::Kinds,
    load::{LoadError, Manifests, load},
    watch::Changes,
};

/// Where manifests come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory, as it is at any time.
    Directory(PathBuf),
    /// A branch of a local repository, commit by commit. What is not committed does not count.
    Branch {
        /// A directory of the repository's work tree, or a bare repository. Only what lies beneath it is served.
        repository: PathBuf,
        /// The branch.
        branch: String,
    },
}

/// One revision of everything that is declared.
#[derive(Debug, Clone)]
pub struct Revision {
    /// A commit id, or the digest of the directory's manifests.
    pub id: String,
    /// Where package sources are read from.
    pub root: PathBuf,
    /// Keeps the directory of a commit in place.
    pub export: Option<Arc<Export>>,
    /// What it declares.
    pub manifests: Arc<Manifests>,
}

/// Why no revision could be read. The last one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The tree of manifests.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The repository.
    #[error("the repository {path} cannot be used; nothing is changed until it can")]
    Repository {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: GitError,
    },
    /// The commit.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The reading thread failed.
    #[error("reading the manifests failed")]
    Thread(#[source] io::Error),
}

/// Reads revisions of one source.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    exports: Exports,
    kinds: Arc<Kinds>,
    repository: Option<Repository>,
    /// What was read last; in branch mode the last two commits, so that a controller that still reads the previous one
    /// is not disturbed.
    recent: Vec<Revision>,
}

impl Reader {
    /// A reader that keeps its exports in `state`, which nobody else uses.
    pub fn new(source: Source, state: &Path, kinds: Arc<Kinds>) -> io::Result<Self> {
        Ok(Self { source, exports: Exports::open(state)?, kinds, repository: None, recent: Vec::new() })
    }

    /// Notices of changes of the source, which is looked at each `poll` besides.
    pub async fn changes(&mut self, poll: std::time::Duration) -> Result<Changes, RevisionError> {
        match self.source.clone() {
            Source::Directory(root) => Ok(Changes::of_directory(&root, poll)),
            Source::Branch { repository, branch } => {
                let opened = self.repository(&repository).await?;
                Ok(Changes::of_branch(&opened, &branch, poll))
            }
        }
    }

    /// Whether removals have to be seen twice: a directory may be in the middle of an edit, a commit never is.
    #[must_use]
    pub fn may_be_in_mid_edit(&self) -> bool {
        matches!(self.source, Source::Directory(_))
    }

    /// The present revision. Without `look`, the one read last if there is one: for when only the API changed.
    pub async fn read(&mut self, look: bool) -> Result<Revision, RevisionError> {
        if let (false, Some(known)) = (look, self.recent.last()) {
            return Ok(known.clone());
        }
        match self.source.clone() {
            Source::Directory(root) => {
                self.recent.clear();
                let manifests = self.load(&root).await?;
                let revision = Revision { id: manifests.digest.clone(), root, export: None, manifests };
                self.recent.push(revision.clone());
                Ok(revision)
            }
            Source::Branch { repository, branch } => {
                let opened = self.repository(&repository).await?;
                let head = opened.branch_head(&branch).await;
                let commit = head.map_err(|source| repository_error(&repository, source))?;
                self.commit(&opened, &commit).await
            }
        }
    }

    async fn commit(&mut self, repository: &Repository, commit: &CommitId) -> Result<Revision, RevisionError> {
        if let Some(at) = self.recent.iter().position(|known| known.id == commit.as_str()) {
            // A branch that was set back comes to be the newest again.
            let known = self.recent.remove(at);
            self.recent.push(known.clone());
            return Ok(known);
        }
        let previous = self.recent.last().and_then(|revision| revision.export.clone());
        let export = self.exports.export(repository, commit, previous).await?;
        let (root, id) = (export.root.clone(), commit.as_str().to_owned());
        let manifests = self.load(&root).await?;
        let revision = Revision { id, root, export: Some(export), manifests };
        self.recent.push(revision.clone());
        if self.recent.len() > 2 {
            self.recent.remove(0);
        }
        if let Err(error) = self.exports.clean().await {
            tracing::warn!(%error, "an old export could not be removed");
        }
        Ok(revision)
    }

    async fn load(&self, root: &Path) -> Result<Arc<Manifests>, RevisionError> {
        let (root, kinds) = (root.to_owned(), self.kinds.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&root, &kinds)).await;
        let loaded = loaded.map_err(|error| RevisionError::Thread(io::Error::other(error)))?;
        Ok(Arc::new(loaded?))
    }

    /// Opened once; a repository that was moved away is looked for again.
    async fn repository(&mut self, directory: &Path) -> Result<Repository, RevisionError> {
        match &self.repository {
            Some(opened) if opened.git_dir.is_dir() => Ok(opened.clone()),
            _ => {
                let opened = Repository::open(directory).await.map_err(|source| repository_error(directory, source))?;
                self.repository = Some(opened.clone());
                Ok(opened)
            }
        }
    }
}

fn repository_error(directory: &Path, source: GitError) -> RevisionError {
    RevisionError::Repository { path: directory.display().to_string(), source }
}
