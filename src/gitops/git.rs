//! The `git` program, run so that nothing of a repository is ever executed: no hooks, no filters, no file system
//! monitor, no credential helper, no lazy fetch, no protocol. Only reads objects and refs, never a work tree, an index
//! or an attribute file. Does not interpret what it reads.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

/// Longest run of one short command. Listing a commit of half a million files takes two seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes one short command may print: half a million paths of 256 bytes.
const MAX_OUTPUT_BYTES: u64 = 128 << 20;
/// How much of an error text is kept.
const MAX_ERROR_BYTES: usize = 2_000;
/// Where programs are found; nothing else of our environment reaches git.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What went wrong with the `git` program.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started or spoken to.
    #[error("the git program cannot be run; it is needed for branch sync")]
    Run(#[source] io::Error),
    /// The repository is not where it was, and git has nowhere to run.
    #[error("{0} is not there: bring the repository back, or serve the place that it was moved to")]
    Gone(PathBuf),
    /// It refused.
    #[error("git {command}: {message}")]
    Failed {
        /// Its first argument.
        command: String,
        /// What it printed.
        message: String,
    },
    /// It took too long.
    #[error("git {command} took longer than {} s", COMMAND_TIMEOUT.as_secs())]
    Timeout {
        /// Its first argument.
        command: String,
    },
    /// It printed something else than expected.
    #[error("git {command} answered something unexpected: {message}")]
    Unexpected {
        /// Its first argument.
        command: String,
        /// What was odd.
        message: String,
    },
    /// The branch does not exist.
    #[error("the repository has no branch `{branch}`")]
    NoBranch {
        /// The branch.
        branch: String,
    },
    /// A branch name that git would not accept either.
    #[error("`{branch}` is not a branch name")]
    BranchName {
        /// The branch.
        branch: String,
    },
}

/// A repository on this machine.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its git directory (of a linked work tree: the work tree's own).
    pub git_dir: PathBuf,
    /// The git directory that holds refs and objects; the same except for linked work trees.
    pub common_dir: PathBuf,
    /// The directory that was opened, relative to the top of its work tree: "" or "sub/directory/".
    pub prefix: String,
}

/// The id of a commit: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    /// Takes git's spelling, refuses anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (hex && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Repository {
    /// The repository that a directory belongs to: a work tree, a directory in one, or a bare repository.
    pub async fn open(directory: &Path) -> Result<Self, GitError> {
        let directory = resolved(directory)?;
        let mut command = bare_command(&directory);
        // The directory's owner is the operator's affair: nothing of the repository is executed (see above).
        command.args(["-c", "safe.directory=*"]).arg("-C").arg(&directory);
        command.args(["rev-parse", "--absolute-git-dir", "--git-common-dir", "--show-prefix"]);
        let output = text("rev-parse", run("rev-parse", command).await?)?;
        let mut lines = output.lines();
        let git_dir = PathBuf::from(lines.next().unwrap_or_default());
        let common_dir = resolved(&directory.join(lines.next().unwrap_or_default()))?;
        Ok(Self { git_dir, common_dir, prefix: lines.next().unwrap_or_default().to_owned() })
    }

    /// The commit a branch points at now.
    pub async fn branch_head(&self, branch: &str) -> Result<CommitId, GitError> {
        if !plausible_branch(branch) {
            return Err(GitError::BranchName { branch: branch.to_owned() });
        }
        let reference = format!("refs/heads/{branch}");
        match self.read(["show-ref", "--verify", "--hash", &reference]).await {
            Ok(output) => {
                let output = text("show-ref", output)?;
                CommitId::parse(output.trim())
                    .ok_or_else(|| GitError::Unexpected { command: "show-ref".to_owned(), message: output })
            }
            Err(GitError::Failed { .. }) => Err(GitError::NoBranch { branch: branch.to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// The names of all branches, sorted.
    pub async fn branches(&self) -> Result<Vec<String>, GitError> {
        let output = self.read(["for-each-ref", "--format=%(refname:strip=2)", "refs/heads"]).await?;
        Ok(text("for-each-ref", output)?.lines().map(str::to_owned).collect())
    }

    /// The branch that is checked out, if any.
    pub async fn current_branch(&self) -> Result<Option<String>, GitError> {
        match self.read(["symbolic-ref", "--quiet", "--short", "HEAD"]).await {
            Ok(output) => Ok(Some(text("symbolic-ref", output)?.trim().to_owned())),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a short command to its end.
    pub(crate) async fn read<const N: usize>(&self, arguments: [&str; N]) -> Result<Vec<u8>, GitError> {
        run(arguments[0], self.command(arguments)).await
    }

    /// Starts a command whose input and output the caller speaks to.
    pub(crate) fn converse<const N: usize>(&self, arguments: [&str; N]) -> Result<Child, GitError> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        start(&mut command)
    }

    fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = bare_command(&self.git_dir);
        command.args(["-c", "safe.directory=*", "--no-replace-objects", "--literal-pathspecs"]);
        command.arg("--git-dir").arg(&self.git_dir).args(arguments.map(OsStr::new));
        command
    }
}

/// `git` with everything off that a repository's own configuration could turn on. Options given here win over the
/// repository's; `GIT_ALLOW_PROTOCOL` wins even over `protocol.<name>.allow`.
fn bare_command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().current_dir(directory).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in [
        ("PATH", PATH),
        ("HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("GIT_SSH_COMMAND", "/bin/false"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_PAGER", "cat"),
    ] {
        command.env(name, value);
    }
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.attributesFile=/dev/null",
        "core.alternateRefsCommand=/bin/false",
        "credential.helper=",
        "protocol.allow=never",
        "submodule.recurse=false",
        "gc.auto=0",
    ] {
        command.args(["-c", setting]);
    }
    command
}

/// The system says of a program that is missing and of a directory to run in that is missing the same.
fn start(command: &mut Command) -> Result<Child, GitError> {
    command.spawn().map_err(|error| match command.as_std().get_current_dir() {
        Some(directory) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => {
            GitError::Gone(directory.to_owned())
        }
        _ => GitError::Run(error),
    })
}

/// The place itself, with nothing on the way that could be put elsewhere.
fn resolved(place: &Path) -> Result<PathBuf, GitError> {
    std::fs::canonicalize(place).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => GitError::Gone(place.to_owned()),
        _ => GitError::Run(error),
    })
}

async fn run(name: &str, mut command: Command) -> Result<Vec<u8>, GitError> {
    let mut child = start(&mut command)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = timeout(COMMAND_TIMEOUT, async {
        let (output, errors) =
            tokio::try_join!(drain(stdout, MAX_OUTPUT_BYTES), drain(stderr, MAX_ERROR_BYTES as u64))?;
        Ok::<_, io::Error>((child.wait().await?, output, errors))
    });
    let (status, output, errors) =
        finished.await.map_err(|_| GitError::Timeout { command: name.to_owned() })?.map_err(GitError::Run)?;
    if output.len() as u64 > MAX_OUTPUT_BYTES {
        return Err(GitError::Unexpected { command: name.to_owned(), message: "too much output".to_owned() });
    }
    if !status.success() {
        let message = String::from_utf8_lossy(&errors).trim().to_owned();
        return Err(GitError::Failed { command: name.to_owned(), message });
    }
    Ok(output)
}

/// Reads to the end but keeps at most one byte more than the limit, so that a chatty child never blocks.
async fn drain(from: Option<impl AsyncRead + Unpin>, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(limit_bytes + 1).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

fn text(command: &str, output: Vec<u8>) -> Result<String, GitError> {
    String::from_utf8(output)
        .map_err(|_| GitError::Unexpected { command: command.to_owned(), message: "not UTF-8".to_owned() })
}

/// The part of git's rules for ref names that keeps a name from meaning something else.
fn plausible_branch(branch: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !branch.is_empty()
        && branch.len() <= 255
        && !branch.starts_with('-')
        && !branch.contains(odd)
        && !branch.contains("@{")
        && branch.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
        && !branch.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_name_means_a_branch() {
        for good in ["main", "feature/x-1", "release.2"] {
            assert!(plausible_branch(good), "{good}");
        }
        for bad in ["", "-x", "a..b", "a b", "main^", "main@{1}", "../x", "a//b", "x.lock", "a\nb", ".hidden"] {
            assert!(!plausible_branch(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_repository_that_was_moved_away_is_not_a_missing_program() {
        let scratch = tempfile::tempdir().unwrap();
        let (here, there) = (scratch.path().join("here"), scratch.path().join("there"));
        let made = std::process::Command::new("git").args(["init", "--quiet"]).arg(&here).output().unwrap();
        assert!(made.status.success());
        let repository = Repository::open(&here).await.unwrap();
        std::fs::rename(&here, there).unwrap();
        let gone = repository.branch_head("main").await.unwrap_err().to_string();
        assert!(gone.starts_with(&format!("{} is not there", repository.git_dir.display())), "{gone}");
        let gone = Repository::open(&here).await.unwrap_err().to_string();
        assert!(gone.starts_with(&format!("{} is not there", here.display())), "{gone}");
    }

    #[test]
    fn a_commit_id_is_hex_and_nothing_else() {
        assert!(CommitId::parse(&"a".repeat(40)).is_some());
        assert!(CommitId::parse(&"0".repeat(64)).is_some());
        for bad in ["", "HEAD", &"g".repeat(40), &"A".repeat(40), &"a".repeat(41)] {
            assert!(CommitId::parse(bad).is_none(), "{bad}");
        }
    }
}
