//! A directory as a package's source: reads it into the content library as it was at one instant, or not at all.
//! It finds and reads; what a new digest means is decided elsewhere.
//!
//! How one instant is proved: the tree is walked, the files are read, the tree is walked again, and every status and
//! listing must be what it was. A change between the walks shows in the change time, unless it falls into the same tick
//! of the file system's clock as the first look. Therefore, if anything is younger than [`SETTLE`] when the reading
//! ends, the snapshot waits until that tick is over, hashes the young files again, and only then walks the second time.
//! Not seen are stores through a shared memory mapping that was writable before the first walk: they have no time.

use std::collections::BTreeMap;
use std::io::{self, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::error::{Refusal, SnapshotError, Why};
use super::guarded::Guarded;
use super::walk::{self, Stamp, Tree};
use crate::content::beneath::Dir;
use crate::content::copy::{for_each, hash};
use crate::content::digest::Hasher;
use crate::content::manifest::{MAX_CONTENT_BYTES, MAX_FILES, ManifestError};
use crate::content::stand_in::StandIn;
use crate::content::{ContentError, Digest, Entry, Import, Library, Manifest, SafePath};

/// The coarsest tick of a file system's clock (FAT counts two seconds). What changed less than this ago is looked at again.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Files from this size on are begun first, so that the last thread does not end with the largest.
const LARGE_BYTES: u64 = 8 << 20;

/// A source that was read into the library.
#[derive(Debug)]
pub struct Snapshot {
    /// Its files, all of which the library holds.
    pub manifest: Manifest,
    /// Directories without files, which are not content and were left out.
    pub empty_directories: Vec<SafePath>,
}

/// Opens a package's source: `directory` is relative to `base` (the served directory, or the export of a commit), or
/// absolute beneath one of `roots`. No link is followed on the way from there. What `guarded` keeps out is never opened,
/// whatever root it lies beneath.
///
/// # Errors
/// [`SnapshotError::NotPermitted`], [`SnapshotError::Guarded`], or [`SnapshotError::Unavailable`].
pub fn open_directory(
    directory: &str,
    base: &Path,
    roots: &[PathBuf],
    guarded: &Guarded,
) -> Result<Dir, SnapshotError> {
    let not_permitted = || {
        // What relative paths are taken from is itself a root in a cluster.
        let base = (!roots.contains(&base.to_owned())).then(|| base.to_owned());
        let roots = roots.iter().cloned().chain(base).collect();
        SnapshotError::NotPermitted { directory: directory.to_owned(), roots }
    };
    let path = Path::new(directory);
    let (root, inside) = if path.is_absolute() {
        let beneath = |root: &'_ PathBuf| path.strip_prefix(root).ok().map(|inside| (root.clone(), inside));
        roots.iter().chain([&base.to_owned()]).find_map(beneath).ok_or_else(not_permitted)?
    } else {
        (base.to_owned(), path)
    };
    if inside.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(not_permitted());
    }
    let unavailable = |source| SnapshotError::Unavailable { directory: root.join(inside), source };
    let top = Dir::open(&root).map_err(unavailable)?;
    let opened = match top.dir(inside) {
        Ok(opened) => opened,
        Err(error) => {
            if let Some(refusal) = stand_in(&top, inside) {
                return Err(SnapshotError::Refused(vec![refusal]));
            }
            return Err(unavailable(told_of_links(&top, inside, error)));
        }
    };
    match guarded.judge(&opened, &root).map_err(unavailable)? {
        None => Ok(opened),
        Some(why) => Err(SnapshotError::Guarded { directory: directory.to_owned(), why }),
    }
}

/// What has no bytes in the commit that the directory was made of, on the way to it: a submodule, most likely.
fn stand_in(root: &Dir, inside: &Path) -> Option<Refusal> {
    let is_link = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let plain: PathBuf = inside.components().filter(|part| *part != Component::CurDir).collect();
    let mut ways = plain.ancestors().filter(|way| !way.as_os_str().is_empty());
    let link = ways.find(|way| root.stat(way).is_ok_and(is_link))?;
    let what = walk::stand_in(root, link);
    (what != StandIn::SymbolicLink).then(|| Refusal { path: link.display().to_string(), why: Why::Link(what) })
}

/// A link at the end of the way is called no directory by the system, and elsewhere a link.
fn told_of_links(root: &Dir, inside: &Path, error: io::Error) -> io::Error {
    let is_link = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if error.kind() == io::ErrorKind::NotADirectory && root.stat(inside).is_ok_and(is_link) {
        return rustix::io::Errno::LOOP.into();
    }
    error
}

/// Reads everything beneath `directory` into `library`, every file once. Files that `previous` (the last snapshot of
/// this source) has with equal size are hashed before anything is written. If nothing is new, nothing is written.
/// Blocks for as long as reading takes, and up to [`SETTLE`] more if the tree is young.
///
/// # Errors
/// See [`SnapshotError`]; the library then holds nothing new.
pub fn snapshot(directory: Dir, library: &Library, previous: Option<&Manifest>) -> Result<Snapshot, SnapshotError> {
    snapshot_settling(directory, library, previous, SETTLE)
}

/// As [`snapshot`] for a directory that nobody writes any more, such as the export of a commit: its files are young, but
/// no tick has to pass before they can be believed.
///
/// # Errors
/// See [`snapshot`].
pub fn snapshot_finished(
    directory: Dir,
    library: &Library,
    previous: Option<&Manifest>,
) -> Result<Snapshot, SnapshotError> {
    snapshot_settling(directory, library, previous, Duration::ZERO)
}

/// As [`snapshot`], with the tick of the file system's clock.
fn snapshot_settling(
    directory: Dir,
    library: &Library,
    previous: Option<&Manifest>,
    settle: Duration,
) -> Result<Snapshot, SnapshotError> {
    let top = directory.without_mounts();
    let unavailable = |source| SnapshotError::Unavailable { directory: top.path().to_owned(), source };
    let tree = distributable(&top)?;
    let walked = Instant::now();
    let walked_unix_ns = crate::clock::now().as_nanosecond();

    let import = library.import().map_err(SnapshotError::Library)?;
    let manifest = read_files(&Reading { top: &top, import: &import, previous }, &tree)?;

    let young = |stamp: &Stamp| walked_unix_ns - stamp.last_change_unix_ns() < nanoseconds(settle);
    if tree.files.iter().any(|(_, stamp)| young(stamp)) || tree.directories.iter().any(|(_, stamp)| young(stamp)) {
        std::thread::sleep(settle.saturating_sub(walked.elapsed()));
        hash_again(&top, &manifest, tree.files.iter().filter(|(_, stamp)| young(stamp)))?;
    }
    if let Some(path) = tree.first_difference(&Tree::walk(&top).map_err(unavailable)?) {
        return Err(SnapshotError::Changed(path.into()));
    }
    store(library, import, &manifest)?;
    Ok(Snapshot { manifest, empty_directories: tree.empty })
}

/// Everything beneath a directory, all of which can be distributed.
fn distributable(top: &Dir) -> Result<Tree, SnapshotError> {
    let unavailable = |source| SnapshotError::Unavailable { directory: top.path().to_owned(), source };
    let tree = Tree::walk(top).map_err(unavailable)?;
    let total = tree.files.iter().fold(0u64, |sum, (_, stamp)| sum.saturating_add(stamp.size_bytes));
    if !tree.refused.is_empty() {
        return Err(SnapshotError::Refused(tree.refused));
    }
    if tree.is_too_large() {
        return Err(SnapshotError::Content(ManifestError::TooManyFiles(tree.files.len().max(MAX_FILES + 1))));
    }
    if total > MAX_CONTENT_BYTES {
        return Err(SnapshotError::Content(ManifestError::TooMuchContent));
    }
    Ok(tree)
}

/// What a snapshot of `directory` would hold, by names: every file, and whether it is executable. Opens each file and
/// reads none.
///
/// # Errors
/// What a snapshot would fail with.
pub fn listing(directory: Dir) -> Result<BTreeMap<SafePath, bool>, SnapshotError> {
    let top = directory.without_mounts();
    let tree = distributable(&top)?;
    let listed = tree.files.into_iter().map(|(path, stamp)| {
        open_unchanged(&top, &path, &stamp)?;
        Ok((path, stamp.is_executable()))
    });
    listed.collect()
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// Commits, unless all of it is there.
fn store(library: &Library, import: Import<'_>, manifest: &Manifest) -> Result<(), SnapshotError> {
    let is_known = library.has_manifest(&manifest.digest());
    if is_known && library.missing(manifest).is_empty() {
        return Ok(());
    }
    import.commit(manifest).map(drop).map_err(SnapshotError::Library)
}

struct Reading<'a> {
    top: &'a Dir,
    import: &'a Import<'a>,
    previous: Option<&'a Manifest>,
}

fn read_files(reading: &Reading<'_>, tree: &Tree) -> Result<Manifest, SnapshotError> {
    let mut order: Vec<&(SafePath, Stamp)> = tree.files.iter().collect();
    order.sort_by_key(|(_, stamp)| std::cmp::Reverse(stamp.size_bytes / LARGE_BYTES));
    let entries = Mutex::new(Vec::with_capacity(order.len()));
    for_each(&order, |(path, stamp)| {
        let (digest, size_bytes) = reading.read(path, stamp)?;
        let entry = Entry { path: path.clone(), size_bytes, executable: stamp.is_executable(), digest };
        entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Ok(())
    })?;
    Manifest::new(entries.into_inner().unwrap_or_else(PoisonError::into_inner)).map_err(SnapshotError::Content)
}

impl Reading<'_> {
    fn read(&self, path: &SafePath, stamp: &Stamp) -> Result<(Digest, u64), SnapshotError> {
        let mut file = open_unchanged(self.top, path, stamp)?;
        let failed = |source| SnapshotError::Unavailable { directory: path.below(self.top.path()), source };
        let known = self.previous.and_then(|manifest| manifest.entry(path));
        if let Some(known) = known.filter(|e| e.size_bytes == stamp.size_bytes && self.import.reuse(&e.digest)) {
            let mut hasher = Hasher::new();
            let size_bytes = hash(&mut file, &mut hasher).map_err(failed)?;
            if (hasher.finish(), size_bytes) == (known.digest, known.size_bytes) {
                return Ok((known.digest, size_bytes));
            }
            file.rewind().map_err(failed)?;
        }
        let (digest, size_bytes) = self.import.add(&mut file, path.as_str()).map_err(|error| match error {
            ContentError::Fetch { source, .. } => failed(source),
            error => SnapshotError::Library(error),
        })?;
        if size_bytes != stamp.size_bytes {
            return Err(SnapshotError::Changed(path.as_path().to_owned()));
        }
        Ok((digest, size_bytes))
    }
}

/// Opens the file that the walk saw, not another that took its place.
fn open_unchanged(top: &Dir, path: &SafePath, stamp: &Stamp) -> Result<std::fs::File, SnapshotError> {
    let file = match top.file(path.as_path()) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let refusal = Refusal { path: path.to_string(), why: Why::Unreadable(e.to_string()) };
            return Err(SnapshotError::Refused(vec![refusal]));
        }
        // Gone, or turned into a link or a mount point.
        Err(_) => return Err(SnapshotError::Changed(path.as_path().to_owned())),
    };
    match Stamp::of(&file) {
        Ok(found) if found == *stamp => Ok(file),
        _ => Err(SnapshotError::Changed(path.as_path().to_owned())),
    }
}

fn hash_again<'a>(
    top: &Dir,
    manifest: &Manifest,
    young: impl Iterator<Item = &'a (SafePath, Stamp)>,
) -> Result<(), SnapshotError> {
    let young: Vec<_> = young.collect();
    for_each(&young, |(path, stamp)| {
        let mut hasher = Hasher::new();
        let size_bytes = hash(&mut open_unchanged(top, path, stamp)?, &mut hasher)
            .map_err(|source| SnapshotError::Unavailable { directory: path.below(top.path()), source })?;
        let found = Some((hasher.finish(), size_bytes));
        if found != manifest.entry(path).map(|entry| (entry.digest, entry.size_bytes)) {
            return Err(SnapshotError::Changed(path.as_path().to_owned()));
        }
        Ok(())
    })
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
