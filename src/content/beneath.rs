//! A directory held by descriptor, and access beneath it that the kernel keeps there: no link is followed and no `..`
//! leaves it (`openat2`), whatever another process renames meanwhile. The second wall behind `SafePath`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};

/// Access by owner only.
pub(crate) const PRIVATE_DIR: Mode = Mode::RWXU;
/// Access by owner only.
pub(crate) const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    resolve: ResolveFlags,
}

impl Dir {
    /// Opens a directory that the operator named. Links on the way to it are followed: the operator's choice.
    ///
    /// # Errors
    /// It is not there, not a directory or not accessible.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned(), resolve: INSIDE })
    }

    /// The same directory, beneath which no other file system's mount is entered either.
    #[must_use]
    pub fn without_mounts(mut self) -> Self {
        self.resolve |= ResolveFlags::NO_XDEV;
        self
    }

    /// Where it was when it was opened; for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory beneath this one; the empty path or `.` is this one again.
    ///
    /// # Errors
    /// `ELOOP` for a link on the way, `EXDEV` for a way out, or what the system says.
    pub fn dir(&self, relative: impl AsRef<Path>) -> io::Result<Self> {
        let relative = relative.as_ref();
        let name = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), self.resolve)?;
        Ok(Self { fd, path: self.path.join(relative), resolve: self.resolve })
    }

    /// Opens a file beneath this directory. Never blocks on a FIFO; the caller checks what kind of file it got.
    ///
    /// # Errors
    /// As [`Dir::dir`].
    pub fn file(&self, relative: impl AsRef<Path>) -> io::Result<File> {
        self.open_file(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
    }

    pub(crate) fn open_file(&self, relative: impl AsRef<Path>, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.fd, relative.as_ref(), flags, mode, self.resolve)?.into())
    }

    /// Makes a directory beneath this one, readable by its owner only, unless it exists. Its parent must exist.
    pub(crate) fn make_dir(&self, relative: impl AsRef<Path>) -> io::Result<()> {
        self.in_parent(relative.as_ref(), |parent, name| match rustix::fs::mkdirat(parent, name, PRIVATE_DIR) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            done => Ok(done?),
        })
    }

    /// Calls `act` with the directory that holds `relative` and its last name, for system calls that would follow
    /// links on the way.
    pub(crate) fn in_parent<T>(
        &self,
        relative: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match relative.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => act(self.dir(parent)?.fd.as_fd(), name),
            _ => act(self.fd.as_fd(), name),
        }
    }

    /// The status of `relative` itself, if it is a link of the link.
    pub(crate) fn stat(&self, relative: impl AsRef<Path>) -> io::Result<Stat> {
        self.in_parent(relative.as_ref(), |parent, name| {
            Ok(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
        })
    }

    /// The names in it, sorted, without `.` and `..`; at most `limit` and one more, so that the caller sees an excess.
    pub(crate) fn names(&self, limit: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
            if names.len() > limit {
                break;
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes `relative` and all beneath it; nothing there is no error. Links are removed, not followed.
    pub(crate) fn remove_all(&self, relative: impl AsRef<Path>) -> io::Result<()> {
        let relative = relative.as_ref();
        match self.in_parent(relative, |parent, name| Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied) => {}
            Err(e) => return Err(e),
        }
        let inside = self.dir(relative)?;
        // What somebody made unwritable must still go; only the owner can, and it need not be ours.
        let _ = rustix::fs::fchmod(&inside.fd, PRIVATE_DIR);
        for name in inside.names(usize::MAX)? {
            inside.remove_all(name)?;
        }
        self.in_parent(relative, |parent, name| Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?))
    }

    /// Makes its entries durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        count_sync();
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Makes everything on its file system durable: one call for many files.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        count_sync();
        Ok(rustix::fs::syncfs(&self.fd)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a file durable.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    count_sync();
    file.sync_all()
}

/// Waits for the disk that this thread has made; tests bound them.
#[cfg(test)]
pub(super) mod syncs {
    use std::cell::Cell;

    thread_local! {
        static SYNCS: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::content) fn so_far() -> usize {
        SYNCS.get()
    }

    pub(super) fn count() {
        SYNCS.set(SYNCS.get() + 1);
    }
}

fn count_sync() {
    #[cfg(test)]
    syncs::count();
}

/// Whether the status is a regular file's.
pub fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether the status is a directory's.
pub fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// The bytes of the file system of `path` that an unprivileged process may still use.
///
/// # Errors
/// What `statvfs` says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_is_reached() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        let inside = outer.path().join("in");
        std::fs::create_dir_all(inside.join("real")).unwrap();
        std::fs::write(inside.join("real/file"), "f").unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("real", inside.join("alias")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let dir = Dir::open(&inside).unwrap();
        assert!(dir.file("real/file").is_ok());
        for path in ["../secret", "up/secret", "alias/file", "real/../../secret", "/etc/passwd", "magic/etc/passwd"] {
            assert!(dir.file(path).is_err(), "{path}");
            assert!(dir.stat(path).is_err() || path.starts_with('/'), "{path}");
        }
        assert!(dir.dir("up").is_err());
        assert!(dir.make_dir("up/made").is_err());
        dir.remove_all("up").unwrap();
        dir.remove_all("real").unwrap();
        dir.remove_all("not there").unwrap();
        assert_eq!(dir.names(10).unwrap(), ["alias", "magic"]);
        assert!(outer.path().join("secret").exists());
    }
}
