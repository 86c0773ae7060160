//! Whether a directory or a branch can be served at all, asked before a site starts: what could never work by itself is
//! refused, what may come later is served and said aloud. Reads no manifest.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    git::{GitError, Repository},
    ledger::LedgerError,
    revision::Source,
};

/// Branches that are named when the one asked for is not there.
const BRANCHES_NAMED: usize = 5;

/// Why a source cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is there.
    #[error("{0} cannot be read; name the directory that holds the manifests")]
    Unreadable(PathBuf, #[source] io::Error),
    /// Something else is there.
    #[error("{0} is a file; name the directory that holds the manifests")]
    NotADirectory(PathBuf),
    /// No repository is there.
    #[error(
        "{0} is in no git repository; make one with `git init`, or leave --branch out to serve the files as they are"
    )]
    NotARepository(PathBuf),
    /// The branch's name is none.
    #[error("`{0}` is no name of a branch; `git branch` lists those there are")]
    BranchName(String),
    /// Git cannot be used.
    #[error("the repository {0} cannot be used")]
    Git(PathBuf, #[source] GitError),
}

/// Why a sync could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The state directory.
    #[error("the sync state directory cannot be used")]
    State(#[source] io::Error),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What has to come before anything is declared, in a sentence; nothing if all is there.
///
/// # Errors
/// [`SourceError`], each with the remedy.
pub async fn check(source: &Source) -> Result<Option<String>, SourceError> {
    let (Source::Directory(path) | Source::Branch { repository: path, .. }) = source;
    let found = std::fs::metadata(path).map_err(|error| SourceError::Unreadable(path.clone(), error))?;
    if !found.is_dir() {
        return Err(SourceError::NotADirectory(path.clone()));
    }
    match source {
        Source::Directory(path) => {
            std::fs::read_dir(path).map_err(|error| SourceError::Unreadable(path.clone(), error))?;
            Ok(None)
        }
        Source::Branch { repository, branch } => check_branch(repository, branch).await,
    }
}

async fn check_branch(path: &Path, branch: &str) -> Result<Option<String>, SourceError> {
    let refused = |error| match error {
        GitError::Failed { message, .. } if message.contains("not a git repository") => {
            SourceError::NotARepository(path.to_owned())
        }
        GitError::BranchName { branch } => SourceError::BranchName(branch),
        other => SourceError::Git(path.to_owned(), other),
    };
    let repository = Repository::open(path).await.map_err(refused)?;
    match repository.branch_head(branch).await {
        Ok(_) => Ok(None),
        Err(GitError::NoBranch { .. }) => {
            let there = repository.branches().await.map_err(refused)?;
            Ok(Some(missing(path, branch, &there)))
        }
        Err(error) => Err(refused(error)),
    }
}

fn missing(path: &Path, branch: &str, there: &[String]) -> String {
    let known = match there {
        [] => "it has none yet; commit something".to_owned(),
        some if some.len() > BRANCHES_NAMED => {
            format!("it has {} and {} more", some[..BRANCHES_NAMED].join(", "), some.len() - BRANCHES_NAMED)
        }
        some => format!("it has {}", some.join(", ")),
    };
    format!("{} has no branch `{branch}` ({known}): nothing is declared until the branch is there", path.display())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(directory: &Path, words: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]);
        let done = git.args(words).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn branch(repository: &Path, branch: &str) -> Source {
        Source::Branch { repository: repository.to_owned(), branch: branch.to_owned() }
    }

    #[tokio::test]
    async fn what_can_never_work_is_refused_with_the_remedy() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let plain = scratch.path().join("plain");
        std::fs::create_dir(&plain).unwrap();
        git(scratch.path(), &["init", "--quiet", "repository"]);
        let repository = scratch.path().join("repository");
        for (source, expected) in [
            (Source::Directory(file.clone()), "is a file; name the directory"),
            (branch(&file, "main"), "is a file; name the directory"),
            (Source::Directory(scratch.path().join("none")), "cannot be read; name the directory"),
            (branch(&plain, "main"), "is in no git repository; make one with `git init`"),
            (branch(&repository, "a b"), "`a b` is no name of a branch"),
        ] {
            let refused = check(&source).await.unwrap_err().to_string();
            assert!(refused.contains(expected), "{source:?}: {refused}");
        }
        assert_eq!(check(&Source::Directory(plain)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_branch_that_may_come_later_is_served_and_said() {
        let scratch = tempfile::tempdir().unwrap();
        git(scratch.path(), &["init", "--quiet", "--initial-branch=main", "."]);
        let said = check(&branch(scratch.path(), "main")).await.unwrap().unwrap();
        assert!(said.contains("has no branch `main` (it has none yet; commit something)"), "{said}");
        git(scratch.path(), &["commit", "--quiet", "--allow-empty", "--message=c"]);
        git(scratch.path(), &["branch", "dev"]);
        assert_eq!(check(&branch(scratch.path(), "main")).await.unwrap(), None);
        let said = check(&branch(scratch.path(), "mian")).await.unwrap().unwrap();
        assert!(said.contains("has no branch `mian` (it has dev, main)"), "{said}");
    }
}
