//! What is beneath a source directory, by names and status alone: files with the stamps that betray a change, and
//! every entry that cannot be distributed. Nothing is opened but directories, no link is followed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};

use super::error::{Refusal, Why};
use crate::content::SafePath;
use crate::content::beneath::Dir;
use crate::content::manifest::MAX_FILES;
use crate::content::path::PathError;
use crate::content::stand_in::StandIn;

/// Most entries that are looked at: as many directories as files, at the most.
const MAX_ENTRIES: usize = 2 * MAX_FILES;
/// Most refusals that are collected.
const MAX_REFUSALS: usize = 1000;

/// All that changes when a file or directory does. The change time cannot be set back by a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: (u32, u32),
    inode: u64,
    mode: u16,
    pub(super) size_bytes: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    fn from_statx(stat: &Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mode: stat.stx_mode,
            size_bytes: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    /// The stamp of an open file or directory, asked of the server if it is on one.
    pub(super) fn of(open: impl AsFd) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        Ok(Self::from_statx(&rustix::fs::statx(open, c"", flags, StatxFlags::BASIC_STATS)?))
    }

    fn of_name(directory: &Dir, name: &OsStr) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        Ok(Self::from_statx(&rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)?))
    }

    /// Whether its owner may execute it. Other permissions never count.
    pub(super) fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// The later of the two times, in nanoseconds since the Unix epoch.
    pub(super) fn last_change_unix_ns(&self) -> i128 {
        let nanoseconds = |(seconds, fraction): (i64, u32)| i128::from(seconds) * 1_000_000_000 + i128::from(fraction);
        nanoseconds(self.modified).max(nanoseconds(self.changed))
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode.into())
    }
}

/// A tree as one walk saw it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Every file, in the order of the walk.
    pub(super) files: Vec<(SafePath, Stamp)>,
    /// Every directory; `None` is the top.
    pub(super) directories: Vec<(Option<SafePath>, Stamp)>,
    /// Directories with nothing in them.
    pub(super) empty: Vec<SafePath>,
    /// What cannot be distributed.
    pub(super) refused: Vec<Refusal>,
}

impl Tree {
    /// Walks everything beneath `top`.
    pub(super) fn walk(top: &Dir) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.enter(top, None)?;
        Ok(tree)
    }

    /// Whether the walk stopped because there is more than content may hold.
    pub(super) fn is_too_large(&self) -> bool {
        self.files.len() > MAX_FILES || self.files.len() + self.directories.len() > MAX_ENTRIES
    }

    fn is_enough(&self) -> bool {
        self.is_too_large() || self.refused.len() >= MAX_REFUSALS
    }

    fn refuse(&mut self, parent: Option<&SafePath>, name: &OsStr, why: Why) {
        let name = name.to_string_lossy();
        let path = parent.map_or_else(|| name.to_string(), |parent| format!("{parent}/{name}"));
        self.refused.push(Refusal { path, why });
    }

    fn enter(&mut self, directory: &Dir, path: Option<&SafePath>) -> io::Result<()> {
        self.directories.push((path.cloned(), Stamp::of(directory)?));
        let names = directory.names(MAX_ENTRIES)?;
        if let (true, Some(path)) = (names.is_empty(), path) {
            self.empty.push(path.clone());
        }
        let mut folded: HashMap<String, String> = HashMap::with_capacity(names.len());
        for name in names {
            if self.is_enough() {
                return Ok(());
            }
            let child = match name.to_str().ok_or(Why::NotUtf8).and_then(|name| child(path, name).map_err(Why::Name)) {
                Ok(child) => child,
                Err(why) => {
                    self.refuse(path, &name, why);
                    continue;
                }
            };
            if let Some(other) = folded.insert(child.fold_key(), child.to_string()) {
                self.refuse(path, &name, Why::CaseClash(other));
                continue;
            }
            self.look(directory, path, &name, child)?;
        }
        Ok(())
    }

    fn look(&mut self, directory: &Dir, parent: Option<&SafePath>, name: &OsStr, path: SafePath) -> io::Result<()> {
        let stamp = match Stamp::of_name(directory, name) {
            Ok(stamp) => stamp,
            // Gone since the listing: the second walk's business.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let why = match stamp.file_type() {
            FileType::RegularFile => {
                self.files.push((path, stamp));
                return Ok(());
            }
            FileType::Directory => match directory.dir(name) {
                Ok(inside) => return self.enter(&inside, Some(&path)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => Why::MountPoint,
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Why::Unreadable(e.to_string()),
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                    Why::Link(StandIn::SymbolicLink)
                }
                Err(e) => return Err(e),
            },
            FileType::Symlink => Why::Link(stand_in(directory, name)),
            FileType::Fifo => Why::Fifo,
            FileType::Socket => Why::Socket,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Why::Device,
        };
        self.refuse(parent, name, why);
        Ok(())
    }

    /// The first place where `later`, a walk of the same directory, saw something else.
    pub(super) fn first_difference(&self, later: &Self) -> Option<String> {
        fn differing<T: PartialEq>(a: &[T], b: &[T]) -> Option<usize> {
            (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at))
        }
        if let Some(at) = differing(&self.files, &later.files) {
            return self.files.get(at).or(later.files.get(at)).map(|(path, _)| path.to_string());
        }
        if let Some(at) = differing(&self.directories, &later.directories) {
            let place = self.directories.get(at).or(later.directories.get(at));
            return place.map(|(path, _)| path.as_ref().map_or_else(|| ".".to_owned(), SafePath::to_string));
        }
        let at = differing(&self.refused, &later.refused)?;
        self.refused.get(at).or(later.refused.get(at)).map(|refusal| refusal.path.clone())
    }
}

/// What the link `relative` stands for. One that is gone meanwhile was a link.
pub(super) fn stand_in(directory: &Dir, relative: impl AsRef<Path>) -> StandIn {
    let text =
        directory.in_parent(relative.as_ref(), |parent, name| Ok(rustix::fs::readlinkat(parent, name, Vec::new())?));
    text.map_or(StandIn::SymbolicLink, |text| StandIn::of(OsStr::from_bytes(text.as_bytes())))
}

fn child(parent: Option<&SafePath>, name: &str) -> Result<SafePath, PathError> {
    match parent {
        Some(parent) => parent.child(name),
        None => name.parse(),
    }
}
