//! A directory tree read without following any symbolic link and without leaving its root. Every step down is an open
//! relative to the directory above it with `O_NOFOLLOW`, so a link put in place between looking and opening is refused
//! by the kernel. Does not interpret what it reads.

use std::{
    ffi::{CStr, OsStr},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use crate::content::stand_in::StandIn;

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, or what one stands for; never followed.
    Link(StandIn),
    /// A device, socket or FIFO; never opened.
    Other,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, or its readable rendering if it is not UTF-8.
    pub name: String,
    /// Whether the name is UTF-8. One that is not cannot be opened through this type.
    pub utf8: bool,
    /// What it stands for.
    pub kind: EntryKind,
}

/// Why a file gave no text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("cannot be read")]
    Io(#[source] io::Error),
    /// Not a regular file by the time it was opened.
    #[error("is not a regular file")]
    NotAFile,
    /// Longer than the limit the caller gave.
    #[error("is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
        /// The part within the limit.
        head: Vec<u8>,
    },
}

/// An open directory tree.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Opens the root. The root itself may be reached through links: the operator named it.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = fs::openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// The entries of a directory, sorted by name. `directory` is relative to the root, "" for the root itself.
    pub fn entries(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let at = self.directory(directory)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&at)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let file_type = match entry.file_type() {
                FileType::Unknown => match fs::statat(&at, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
                known => known,
            };
            entries.push(Entry {
                name: String::from_utf8_lossy(bytes).into_owned(),
                utf8: std::str::from_utf8(bytes).is_ok(),
                kind: match file_type {
                    FileType::RegularFile => EntryKind::File,
                    FileType::Directory => EntryKind::Directory,
                    FileType::Symlink => EntryKind::Link(stand_in(&at, entry.file_name())),
                    _ => EntryKind::Other,
                },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The bytes of a file of at most `limit_bytes`.
    pub fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>, ReadError> {
        let file = self.file(path).map_err(ReadError::Io)?;
        if !file.metadata().map_err(ReadError::Io)?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Vec::new();
        file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
        if bytes.len() as u64 > limit_bytes {
            bytes.pop();
            return Err(ReadError::TooLarge { limit_bytes, head: bytes });
        }
        Ok(bytes)
    }

    /// `O_NONBLOCK`, so that a FIFO put in place of a file does not hold us; it has no effect on regular files.
    fn file(&self, path: &str) -> io::Result<File> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(self.directory(directory)?, component(name)?, flags, Mode::empty())?))
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = fs::openat(&self.root, ".", flags, Mode::empty())?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = fs::openat(&at, component(name)?, flags, Mode::empty())?;
        }
        Ok(at)
    }
}

/// What a link stands for. One that is gone meanwhile was a link.
fn stand_in(directory: &OwnedFd, name: &CStr) -> StandIn {
    fs::readlinkat(directory, name, Vec::new())
        .map_or(StandIn::SymbolicLink, |text| StandIn::of(OsStr::from_bytes(text.as_bytes())))
}

/// A name that stays where it is.
fn component(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path below the root may not hold `.` or `..`"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_named_and_never_opened() {
        let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path().join("secret"), tree.path().join("file")).unwrap();
        symlink(outside.path(), tree.path().join("directory")).unwrap();

        let open = Tree::open(tree.path()).unwrap();
        let kinds: Vec<EntryKind> = open.entries("").unwrap().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [EntryKind::Link(StandIn::SymbolicLink); 2]);
        assert!(matches!(open.read("file", 10), Err(ReadError::Io(_))));
        assert!(matches!(open.read("directory/secret", 10), Err(ReadError::Io(_))));
        assert!(open.entries("directory").is_err());
        assert!(open.entries("..").is_err());
        assert!(open.read("a/../../x", 10).is_err());
    }

    #[test]
    fn a_file_at_the_limit_is_read_and_one_byte_more_is_not() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("a"), "1234").unwrap();
        let open = Tree::open(tree.path()).unwrap();
        assert_eq!(open.read("a", 4).unwrap(), b"1234");
        assert!(matches!(open.read("a", 3), Err(ReadError::TooLarge { head, .. }) if head == b"123"));
    }
}
