//! The directories that a site was told of, looked at before anything of it is opened or made.

use std::path::{Path, PathBuf};

use super::{
    error::SiteError,
    options::{Options, Served},
};
use crate::gitops::{revision::Source, start};

/// What was found.
pub(super) struct Places {
    /// Where manifests come from; nothing if objects come from elsewhere.
    pub(super) source: Option<Source>,
    /// What package sources may lie beneath: the served directory first.
    pub(super) roots: Vec<PathBuf>,
    /// What is still missing before anything is declared.
    pub(super) notice: Option<String>,
}

impl Places {
    /// Looks.
    ///
    /// # Errors
    /// [`SiteError`] for what can never be served, with the remedy.
    pub(super) async fn look(options: &Options) -> Result<Self, SiteError> {
        let more = options.source_roots.iter().map(|root| whole(root));
        let source = match &options.served {
            Served::Nothing => {
                return Ok(Self { source: None, roots: more.collect::<Result<_, _>>()?, notice: None });
            }
            Served::Directory(path) => Source::Directory(path.clone()),
            Served::Branch { repository, branch } => {
                Source::Branch { repository: repository.clone(), branch: branch.clone() }
            }
        };
        let notice = start::check(&source).await?;
        let (source, served) = match source {
            Source::Directory(path) => {
                let path = whole(&path)?;
                (Source::Directory(path.clone()), path)
            }
            Source::Branch { repository, branch } => {
                let path = whole(&repository)?;
                (Source::Branch { repository: path.clone(), branch }, path)
            }
        };
        let roots = [Ok(served)].into_iter().chain(more).collect::<Result<_, _>>()?;
        Ok(Self { source: Some(source), roots, notice })
    }
}

fn whole(path: &Path) -> Result<PathBuf, SiteError> {
    path.canonicalize().map_err(|error| SiteError::Directory(path.to_owned(), error))
}
