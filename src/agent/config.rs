//! What the machine's owner decides about the agent, in a file that only root (or the agent's own user) may write. The
//! site cannot change any of it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{DEFAULT_CONFIG, run::ticket::DEFAULT_SYSTEM_PATHS};
use crate::content::private;

/// The agent's local configuration. Every field may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Whether an agent of root runs programs as root when they name no other user.
    pub allow_root: bool,
    /// Absolute commands that programs may use besides files of their package.
    pub system_paths: Vec<PathBuf>,
    /// Directory with JSON facts for the inventory; each file's stem names a fact.
    pub facts_directory: PathBuf,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            allow_root: false,
            system_paths: DEFAULT_SYSTEM_PATHS.iter().map(PathBuf::from).collect(),
            facts_directory: PathBuf::from("/etc/waybill/facts.d"),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{0} cannot be read")]
    Read(PathBuf, #[source] io::Error),
    /// It is no configuration.
    #[error("{0} is no agent configuration")]
    Parse(PathBuf, #[source] serde_json::Error),
    /// It is named, and not there.
    #[error("{0} does not exist; leave --config out to run with what is built in, or name the file that is meant")]
    Missing(PathBuf),
    /// It is a directory, a device or the like.
    #[error("{0} is no file; name the configuration with --config")]
    NoFile(PathBuf),
    /// Somebody else owns it.
    #[error("{path} belongs to user {owner}, who must not decide this; run: chown root {path}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may write it.
    #[error("{0} may be written by others; run: chmod go-w {0}")]
    Writable(PathBuf),
    /// A command that no program can ever name.
    #[error(
        "{0} allows the command {1}, which is no absolute path and can never be called; write all of it, as in /usr/bin/dpkg"
    )]
    Relative(PathBuf, PathBuf),
}

impl LocalConfig {
    /// Reads the file that is named, or the one at the usual place, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`]: an agent must not run with another configuration than its owner meant.
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        match named {
            Some(path) => Self::load(path),
            None => match Self::load(Path::new(DEFAULT_CONFIG)) {
                Err(ConfigError::Missing(_)) => Ok(Self::default()),
                done => done,
            },
        }
    }

    fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
            _ => ConfigError::Read(path.to_owned(), error),
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(ConfigError::NoFile(path.to_owned()));
        }
        if !private::is_ours(&metadata) {
            return Err(ConfigError::Foreign { path: path.to_owned(), owner: metadata.uid() });
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(ConfigError::Writable(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(failed)?;
        let config: Self =
            serde_json::from_slice(&bytes).map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
        match config.system_paths.iter().find(|command| !command.is_absolute()) {
            Some(command) => Err(ConfigError::Relative(path.to_owned(), command.clone())),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.json");
        assert!(matches!(LocalConfig::find(Some(&path)), Err(ConfigError::Missing(_))), "it was asked for");
        for odd in [scratch.path(), Path::new("/dev/null")] {
            assert!(matches!(LocalConfig::load(odd), Err(ConfigError::NoFile(_))), "nobody must chmod {odd:?}");
        }
        fs::write(&path, r#"{"allowRoot": true}"#).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(LocalConfig::load(&path).unwrap().allow_root);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(LocalConfig::load(&path), Err(ConfigError::Writable(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, r#"{"allowrot": true}"#).unwrap();
        assert!(matches!(LocalConfig::load(&path), Err(ConfigError::Parse(..))));
        fs::write(&path, r#"{"systemPaths": ["/bin/sh", "bash"]}"#).unwrap();
        assert!(matches!(LocalConfig::load(&path), Err(ConfigError::Relative(_, odd)) if odd == Path::new("bash")));
    }
}
