//! The demo's directory and the git repository in it. Knows where things lie, not what is in them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// The account that programs run as when the demo is run by root.
pub(super) const NOBODY: &str = "nobody";

/// The demo's directory.
pub(super) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    /// Makes it: `wanted`, or a new one in the temporary directory.
    pub(super) fn make(wanted: Option<PathBuf>) -> Result<Self> {
        let root = match wanted {
            Some(wanted) => {
                fs::create_dir_all(&wanted).with_context(|| format!("cannot make {}", wanted.display()))?;
                ensure!(
                    fs::read_dir(&wanted)?.next().is_none(),
                    "{} is not empty; name a directory that is, or none",
                    wanted.display()
                );
                wanted.canonicalize()?
            }
            None => tempfile::Builder::new().prefix("waybill-demo-").tempdir()?.keep(),
        };
        // Programs of another account pass through it; it lists nothing to them.
        fs::set_permissions(&root, Permissions::from_mode(0o711))?;
        for part in ["logs", "join", "clients", "machines", "repository"] {
            fs::create_dir(root.join(part))?;
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// What stands for a client's disk: where its programs install to, owned by whoever they run as.
    pub(super) fn make_machine(&self, client: &str) -> Result<()> {
        let machine = self.root.join("machines").join(client);
        fs::create_dir(&machine)?;
        if is_root() {
            let (uid, gid) = nobody()?;
            chown(&machine, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Writes files into the repository; executable ones are those that begin with an interpreter line.
    pub(super) fn write(&self, files: &[(String, String)]) -> Result<()> {
        for (path, text) in files {
            let path = self.path("repository").join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(&path, text)?;
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Takes a file or directory out of the repository.
    pub(super) fn take_out(&self, path: &str) -> Result<()> {
        let path = self.path("repository").join(path);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Commits everything; gives the first digits of the commit.
    pub(super) fn commit(&self, message: &str) -> Result<String> {
        if !self.path("repository/.git").exists() {
            self.git(&["init", "--quiet", "--initial-branch=main"])?;
        }
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])?;
        self.git(&["rev-parse", "--short=7", "HEAD"])
    }

    /// Runs git with a configuration of the demo's own: no signing, no hooks of the user, nobody's name.
    fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Waybill demo", "-c", "user.email=demo@waybill.invalid"])
            .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .current_dir(self.path("repository"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(inherited);
        }
        let output = git.output().context("cannot run git; is it installed?")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Removes everything. Published content is read-only, so it is made writable first.
    pub(super) fn remove(&self) -> Result<()> {
        make_writable(&self.root);
        fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))
    }
}

/// What cannot be made writable is reported by the removal.
fn make_writable(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

/// Whether the demo is run by root: its programs then run as [`NOBODY`].
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn nobody() -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = accounts.lines().find(|line| line.split(':').next() == Some(NOBODY));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.with_context(|| format!("this machine has no account {NOBODY}; run the demo as an ordinary user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_with_read_only_content_is_removed_and_one_with_files_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(Some(outer.path().join("demo"))).unwrap();
        let sealed = scratch.path("machines/sealed");
        fs::create_dir(&sealed).unwrap();
        fs::write(sealed.join("file"), "x").unwrap();
        fs::set_permissions(&sealed, Permissions::from_mode(0o555)).unwrap();
        assert!(Scratch::make(Some(scratch.root().to_owned())).is_err());
        scratch.remove().unwrap();
        assert!(!scratch.root().exists());
    }
}
