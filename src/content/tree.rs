//! Builds the tree of a manifest in a directory, every byte verified while it is written. A distribution point
//! publishes what this builds, an agent runs it; where the bytes come from is the caller's closure.
//!
//! Interrupted work is resumed: a half-written file keeps its bytes, which are hashed again and continued. Modes say
//! what is complete: a file has its final, read-only mode only once its digest was right.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, RenameFlags};

use super::beneath::{Dir, PRIVATE_FILE, is_file, sync_file};
use super::copy::{self, CopyError, for_each};
use super::digest::{Digest, Hasher};
use super::error::ContentError;
use super::import::SYNC_ONE_BY_ONE;
use super::manifest::{Entry, Manifest};
use super::path::SafePath;

/// Directories of a built tree. Their owner keeps the right to write: repair and removal need it.
pub const DIRECTORY_MODE: u32 = 0o755;
/// Directories of a tree that is only used from now on, as on a client: nobody writes there, but for root.
pub const SEALED_MODE: u32 = 0o555;
/// Files from this size on are begun first, so that the last thread does not end with the largest.
const LARGE_BYTES: u64 = 8 << 20;

/// Opens the bytes of an entry from an offset on. Called from several threads. The reader must end at the file's end.
pub type Fetch<'a> = dyn Fn(&Entry, u64) -> io::Result<Box<dyn Read>> + Sync + 'a;

/// The mode of a file of a built tree: for everybody to read, for nobody to write. Who may reach the tree at all is
/// decided by the directory that holds it.
#[must_use]
pub fn file_mode(entry: &Entry) -> u32 {
    if entry.executable { 0o555 } else { 0o444 }
}

/// Builds the tree of `manifest` as `root/name`, complete and durable or not at all. An interrupted call leaves
/// `root/.staging-name`, from which the next one continues; a full disk leaves nothing.
///
/// # Errors
/// [`ContentError::Fetch`] (try again, with another source perhaps), [`ContentError::Corrupt`] (the source delivers
/// other bytes), [`ContentError::Full`], or a failing system call, also if `root/name` exists.
pub fn install(root: &Path, name: &str, manifest: &Manifest, fetch: &Fetch<'_>) -> Result<PathBuf, ContentError> {
    super::path::check_component(name).map_err(|_| ContentError::Name(name.to_owned()))?;
    let target = root.join(name);
    let root = Dir::open(root).map_err(ContentError::io("open", root))?;
    let staging_name = format!(".staging-{name}");
    root.make_dir(&staging_name).map_err(ContentError::io("make", &target))?;
    let staging = root.dir(&staging_name).map_err(ContentError::io("open", &target))?;
    let built = build(&staging, manifest, &|_, _| false, fetch).and_then(|()| {
        rustix::fs::renameat_with(&root, &staging_name, &root, name, RenameFlags::NOREPLACE)
            .map_err(io::Error::from)
            .and_then(|()| root.sync())
            .map_err(ContentError::io("publish", &target))
    });
    if let Err(ContentError::Full(_)) = built {
        root.remove_all(&staging_name).map_err(ContentError::io("remove", root.path().join(&staging_name)))?;
    }
    built.map(|()| target)
}

/// Fills `staging` with the tree and makes it durable. `link` may put an entry there as a hard link and says whether it
/// did; what it linked is verified here.
pub(super) fn build(
    staging: &Dir,
    manifest: &Manifest,
    link: &(dyn Fn(&Dir, &Entry) -> bool + Sync),
    fetch: &Fetch<'_>,
) -> Result<(), ContentError> {
    let names = staging.names(0).map_err(ContentError::io("list", staging.path()))?;
    let directories = manifest.directories();
    for directory in &directories {
        staging.make_dir(directory).map_err(ContentError::io("make", staging.path().join(directory)))?;
    }
    let mut order: Vec<&Entry> = manifest.entries().iter().collect();
    order.sort_by_key(|entry| std::cmp::Reverse(entry.size_bytes / LARGE_BYTES));
    let builder = Builder { staging, link, fetch, is_fresh: names.is_empty(), done: Mutex::default() };
    for_each(&order, |entry| builder.place(entry))?;
    let finish = || {
        let inner = directories.iter().map(|directory| staging.dir(directory));
        for directory in inner {
            rustix::fs::fchmod(directory?, Mode::from_raw_mode(DIRECTORY_MODE))?;
        }
        rustix::fs::fchmod(staging, Mode::from_raw_mode(DIRECTORY_MODE))?;
        if order.len() + directories.len() > SYNC_ONE_BY_ONE {
            return staging.sync_file_system();
        }
        order.iter().try_for_each(|entry| sync_file(&staging.file(entry.path.as_path())?))?;
        directories.iter().try_for_each(|directory| staging.dir(directory)?.sync())?;
        staging.sync()
    };
    // What a failed sync left in memory looks whole and is not: begin anew. The top stays, its owner removes it.
    finish().map_err(|error: io::Error| {
        if let Ok(names) = staging.names(usize::MAX) {
            names.iter().for_each(|name| drop(staging.remove_all(name)));
        }
        ContentError::io("make durable", staging.path())(error)
    })
}

/// Writes one entry to `name` in `directory`, verified, with its final mode; not yet durable.
pub(super) fn write_file(
    directory: &Dir,
    name: &Path,
    entry: &Entry,
    fetch: impl Fn(u64) -> io::Result<Box<dyn Read>>,
) -> Result<(), ContentError> {
    let path = directory.path().join(name);
    let flags = OFlags::RDWR | OFlags::CREATE;
    let mut file = directory.open_file(name, flags, PRIVATE_FILE).map_err(ContentError::io("make", &path))?;
    let mut attempt = |from_start: bool| -> Result<bool, ContentError> {
        let (hasher, offset) = resume_at(&mut file, entry, from_start).map_err(ContentError::io("continue", &path))?;
        let digest = append(&file, entry, hasher, offset, &fetch).map_err(|error| match error {
            CopyError::Read(source) => ContentError::Fetch { path: entry.path.to_string(), source },
            CopyError::Write(error) => ContentError::io("write", &path)(error),
        })?;
        if digest == entry.digest {
            return Ok(true);
        }
        if offset > 0 {
            return Ok(false);
        }
        Err(ContentError::Corrupt { path: path.clone(), expected: entry.digest })
    };
    // Bytes left by an interrupted attempt may be what is wrong; those of one attempt are the sender's word.
    let result = match attempt(false) {
        Ok(false) => attempt(true).map(drop),
        done => done.map(drop),
    };
    if let Err(ContentError::Corrupt { .. }) = result {
        directory.remove_all(name).map_err(ContentError::io("remove", &path))?;
    }
    result?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(file_mode(entry))).map_err(ContentError::io("protect", &path))
}

/// The hash of the bytes that are there already, and their number; none if they are too many.
fn resume_at(file: &mut File, entry: &Entry, from_start: bool) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new();
    let length = file.metadata()?.len();
    if from_start || length > entry.size_bytes {
        file.set_len(0)?;
        return Ok((hasher, 0));
    }
    if length == 0 {
        return Ok((hasher, 0));
    }
    file.seek(SeekFrom::Start(0))?;
    let offset = copy::hash(file, &mut hasher)?;
    Ok((hasher, offset))
}

fn append(
    file: &File,
    entry: &Entry,
    mut hasher: Hasher,
    offset: u64,
    fetch: &impl Fn(u64) -> io::Result<Box<dyn Read>>,
) -> Result<Digest, CopyError> {
    if offset < entry.size_bytes {
        let mut reader = fetch(offset).map_err(CopyError::Read)?;
        let end = copy::append(&mut reader, file, offset, entry.size_bytes, &mut hasher)?;
        if end < entry.size_bytes {
            return Err(CopyError::Read(io::Error::new(io::ErrorKind::UnexpectedEof, "the bytes end before the size")));
        }
    }
    Ok(hasher.finish())
}

struct Builder<'a> {
    staging: &'a Dir,
    link: &'a (dyn Fn(&Dir, &Entry) -> bool + Sync),
    fetch: &'a Fetch<'a>,
    /// Nothing is left of an earlier attempt.
    is_fresh: bool,
    /// One finished file per digest: its twins are copied from it instead of fetched.
    done: Mutex<HashMap<Digest, SafePath>>,
}

impl Builder<'_> {
    fn place(&self, entry: &Entry) -> Result<(), ContentError> {
        let path = entry.path.as_path();
        if !self.is_fresh && self.is_complete(entry) {
            self.finished(entry);
            return Ok(());
        }
        let is_absent = self.is_fresh || !self.clear_unless_partial(entry)?;
        if is_absent && (self.link)(self.staging, entry) {
            if self.is_complete(entry) {
                self.finished(entry);
                return Ok(());
            }
            // The version it was linked from is damaged; its scrub will tell.
            let full_path = entry.path.below(self.staging.path());
            self.staging.remove_all(path).map_err(ContentError::io("remove", full_path))?;
        }
        write_file(self.staging, path, entry, |offset| match self.twin(entry) {
            Some(mut twin) => {
                twin.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(twin) as Box<dyn Read>)
            }
            None => (self.fetch)(entry, offset),
        })?;
        self.finished(entry);
        Ok(())
    }

    /// Whether an earlier attempt left the beginning of this file. Anything else in its place is removed.
    fn clear_unless_partial(&self, entry: &Entry) -> Result<bool, ContentError> {
        let path = entry.path.as_path();
        let is_partial = self.staging.stat(path).is_ok_and(|stat| {
            is_file(&stat) && stat.st_nlink == 1 && stat.st_mode & 0o777 == PRIVATE_FILE.as_raw_mode()
        });
        if !is_partial {
            let full_path = entry.path.below(self.staging.path());
            self.staging.remove_all(path).map_err(ContentError::io("remove", full_path))?;
        }
        Ok(is_partial)
    }

    /// Whether an earlier attempt, or a link, left exactly this file.
    fn is_complete(&self, entry: &Entry) -> bool {
        super::verify::verify_file(self.staging, entry).is_ok_and(|fault| fault.is_none())
    }

    fn finished(&self, entry: &Entry) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.entry(entry.digest).or_insert_with(|| entry.path.clone());
    }

    fn twin(&self, entry: &Entry) -> Option<File> {
        let path = self.done.lock().unwrap_or_else(PoisonError::into_inner).get(&entry.digest).cloned()?;
        self.staging.file(path.as_path()).ok()
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
