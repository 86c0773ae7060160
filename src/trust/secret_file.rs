//! Files that hold secrets: readable by their owner only, replaced whole or not at all. Used for keys and
//! certificate authorities; holds no opinion about what is inside.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::content::{durable, private};

/// A key, a certificate or a join file is a few kilobytes; anything larger is not one of ours.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A secret could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Reading failed; see the source.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed; the old content, if any, is still in place.
    #[error("cannot store {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every user of the machine could read or change the file.
    #[error("{} is open to every user of this machine: run chmod 600 on it, and replace what was in it", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else put the file there.
    #[error("{} belongs to user {owner}, who is neither root nor the user of this process: do not trust what is in it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The file holds something else than text.
    #[error("{} is no text: this is not a file that Waybill wrote, or it is damaged", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is too large to be a secret of ours.
    #[error("{} is larger than {MAX_SECRET_BYTES} bytes: this is not a file that Waybill wrote", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a secret; `None` if the file does not exist.
///
/// # Errors
/// [`SecretFileError`] if it cannot be read, is another user's, is larger than [`MAX_SECRET_BYTES`], or gives any right to others. Group
/// rights are tolerated, because Kubernetes grants them on every volume with an `fsGroup`.
pub fn read(path: &Path) -> Result<Option<String>, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !private::is_ours(&metadata) {
        return Err(SecretFileError::Foreign { path: path.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & 0o007 != 0 {
        return Err(SecretFileError::OpenToOthers { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretFileError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map(Some).map_err(|_| SecretFileError::NotText { path: path.to_owned() })
}

/// Stores a secret with mode 0600, durably: after a crash at any instant the file holds the old or the new content.
/// A missing parent directory is made with mode 0700.
///
/// # Errors
/// [`SecretFileError::Write`].
pub fn write(path: &Path, content: &str) -> Result<(), SecretFileError> {
    durable::replace(path, content.as_bytes(), 0o600)
        .map_err(|source| SecretFileError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn stored_secrets_are_private_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/site.key");
        assert!(read(&path).unwrap().is_none());
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_secret_everybody_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.key");
        write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, SecretFileError::OpenToOthers { .. }));
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn an_oversized_secret_is_not_read_into_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.key");
        write(&path, &"x".repeat(MAX_SECRET_BYTES as usize)).unwrap();
        assert!(read(&path).unwrap().is_some());
        write(&path, &"x".repeat(MAX_SECRET_BYTES as usize + 1)).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::TooLarge { .. })));
    }
}
