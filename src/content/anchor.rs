//! Whether the file at a path is still the one that this process opened there. Whoever removes or replaces a state directory
//! under a running process leaves it files that nobody finds again: what it goes on to write would be forgotten.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often it is looked at while nothing else asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The file is another one, or gone.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} was removed or replaced while this process ran, which ends before it does what would be forgotten; \
     bring the state directory back from a backup, or start with an empty one"
)]
pub struct Lost(pub PathBuf);

/// A file by its path, device and inode.
#[derive(Debug)]
pub struct Anchor {
    path: PathBuf,
    place: (u64, u64),
}

impl Anchor {
    /// Of a file that stays open as long as this is asked: its inode is nobody else's until then.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn of(path: &Path, file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { path: path.to_owned(), place: (found.dev(), found.ino()) })
    }

    /// Looks once. A path that cannot be looked at is believed to be what it was.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn check(&self) -> Result<(), Lost> {
        let holds = match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == self.place,
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        if holds { Ok(()) } else { Err(Lost(self.path.clone())) }
    }

    /// Waits until it is lost.
    pub async fn lost(&self) -> Lost {
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_one_is_lost_and_one_that_was_written_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let (directory, path) = (scratch.path().join("state"), scratch.path().join("state/lock"));
        fs::create_dir(&directory).unwrap();
        let file = File::create(&path).unwrap();
        let anchor = Anchor::of(&path, &file).unwrap();
        fs::write(&path, "more").unwrap();
        assert!(anchor.check().is_ok());
        let aside = scratch.path().join("aside");
        fs::rename(&directory, &aside).unwrap();
        assert!(anchor.check().unwrap_err().to_string().contains("state/lock was removed or replaced"));
        fs::create_dir(&directory).unwrap();
        fs::write(&path, "more").unwrap();
        assert!(anchor.check().is_err(), "another one of the same name");
        fs::remove_dir_all(&directory).unwrap();
        fs::rename(&aside, &directory).unwrap();
        assert!(anchor.check().is_ok(), "it is back");
    }
}
