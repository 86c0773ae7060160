//! What the machine's owner decides about the agent, in a file that only root (or the agent's own user) may write. The
//! site cannot change any of it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::run::ticket::DEFAULT_SYSTEM_PATHS;

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
    /// Others may write it.
    #[error("{0} belongs to another user or may be written by others; run: chown root {0} && chmod 644 {0}")]
    Unsafe(PathBuf),
}

impl LocalConfig {
    /// Reads the file; defaults if there is none.
    ///
    /// # Errors
    /// [`ConfigError`]: an agent must not run with another configuration than its owner meant.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error| ConfigError::Read(path.to_owned(), error);
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let own = rustix::process::geteuid().as_raw();
        if (metadata.uid() != 0 && metadata.uid() != own) || metadata.mode() & 0o022 != 0 {
            return Err(ConfigError::Unsafe(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| ConfigError::Parse(path.to_owned(), error))
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
        assert_eq!(LocalConfig::load(&path).unwrap(), LocalConfig::default());
        fs::write(&path, r#"{"allowRoot": true}"#).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(LocalConfig::load(&path).unwrap().allow_root);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(LocalConfig::load(&path), Err(ConfigError::Unsafe(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, r#"{"allowrot": true}"#).unwrap();
        assert!(matches!(LocalConfig::load(&path), Err(ConfigError::Parse(..))));
    }
}
