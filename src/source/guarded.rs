//! Directories that never become a package, whoever asks: the system's own, and the site server's state with its keys.
//! Judged by what a directory is (device and inode), so that no other name, link or mount of it gets past.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::content::beneath::Dir;
use crate::content::path::{SYSTEM_DIRECTORIES, SYSTEM_EXEMPT};

/// Directories between a directory and the root at most: Linux's longest path has no more.
const ANCESTORS_MAX: usize = 2048;

/// What is kept out of packages.
#[derive(Debug, Clone)]
pub struct Guarded {
    state: Option<PathBuf>,
}

/// Why a directory is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardedWhy {
    /// `/etc`, `/usr` and their like, or something in them.
    #[error("belongs to the operating system")]
    System,
    /// `/`, for instance.
    #[error("contains directories of the operating system")]
    AroundSystem,
    /// The state directory or something in it.
    #[error("is the site server's own state, which holds its keys")]
    State,
    /// A directory that the state directory lies in.
    #[error("contains the site server's state directory, which holds its keys")]
    AroundState,
}

/// What a directory is, whatever it is called.
type Id = (u64, u64);

impl Guarded {
    /// Guards the system and the state directory of this server.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: Some(state.to_owned()) }
    }

    /// Guards the system alone: for who looks at sources without a server.
    #[must_use]
    pub const fn system() -> Self {
        Self { state: None }
    }

    /// Judges a directory that was found beneath `base`, which the operator chose. That `base` may lie in the state
    /// directory, as the export of a commit does.
    ///
    /// # Errors
    /// What the system says; a directory that cannot be judged is not read.
    pub(super) fn judge(&self, directory: &Dir, base: &Path) -> io::Result<Option<GuardedWhy>> {
        let upwards = ancestors(directory.as_fd().try_clone_to_owned()?)?;
        let own = upwards[0];
        let named = |names: &[&str]| -> Vec<Id> {
            // A directory that this machine does not have cannot be anybody's source.
            names.iter().filter_map(|name| identify(Path::new(name)).ok()).collect()
        };
        let (system, exempt) = (named(SYSTEM_DIRECTORIES), named(SYSTEM_EXEMPT));
        if upwards.iter().take_while(|id| !exempt.contains(id)).any(|id| system.contains(id)) {
            return Ok(Some(GuardedWhy::System));
        }
        for name in SYSTEM_DIRECTORIES {
            if open(Path::new(name)).is_ok_and(|fd| ancestors(fd).is_ok_and(|around| around.contains(&own))) {
                return Ok(Some(GuardedWhy::AroundSystem));
            }
        }
        let Some(guarded) = &self.state else { return Ok(None) };
        let (state, base) = (identify(guarded)?, identify(base)?);
        let nearest = upwards.iter().find(|id| **id == state || **id == base);
        if nearest == Some(&state) && state != base {
            return Ok(Some(GuardedWhy::State));
        }
        if ancestors(open(guarded)?)?.contains(&own) {
            return Ok(Some(GuardedWhy::AroundState));
        }
        Ok(None)
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn id_of(fd: &OwnedFd) -> io::Result<Id> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn identify(path: &Path) -> io::Result<Id> {
    id_of(&open(path)?)
}

/// The directory itself, the one it lies in, and so on up to the root.
fn ancestors(mut directory: OwnedFd) -> io::Result<Vec<Id>> {
    let mut ids = vec![id_of(&directory)?];
    while ids.len() < ANCESTORS_MAX {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, "..", flags, Mode::empty())?;
        let id = id_of(&directory)?;
        if ids.last() == Some(&id) {
            return Ok(ids);
        }
        ids.push(id);
    }
    Err(io::Error::other("the directory lies too deep"))
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
