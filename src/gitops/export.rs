//! One commit of a repository as a private, complete directory that never changes: what a sync reads its manifests and
//! package sources from. Blobs come straight from `git cat-file`, so neither attributes, filters nor line endings
//! apply, and git itself never writes a file. Does not decide which commit is wanted (`refs`, `sync`).
//!
//! A symbolic link, a submodule or a Git LFS pointer has no bytes that could be distributed. In its place stands a
//! dangling link of our own, so that whoever reads the export without following links refuses exactly that path.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

pub use super::listing::{ExportError, MAX_FILES, Refused};
use super::{
    blobs::fetch,
    git::{CommitId, Repository},
    listing::{ListedFile, Listing, list},
};
use crate::content::stand_in::StandIn;

/// Space left free on the drive of the state directory, so that an export cannot stop the site's own writes.
const RESERVE_BYTES: u64 = 256 << 20;
/// Exports under construction begin with this; what a crash leaves of them is removed at start.
const UNFINISHED: &str = "unfinished-";

/// A commit on disk. The directory stays as long as somebody holds this.
#[derive(Debug)]
pub struct Export {
    /// The commit.
    pub commit: CommitId,
    /// The directory with its files.
    pub root: PathBuf,
    /// What could not be exported, by path.
    pub refused: Vec<Refused>,
    files: Vec<ListedFile>,
    trees: HashMap<PathBuf, String>,
}

impl Export {
    /// Git's name for everything beneath a directory: two exports in which it is the same hold the same there. `None` for
    /// what is no directory of the commit, and for its root.
    #[must_use]
    pub fn tree(&self, directory: &Path) -> Option<&str> {
        let plain = directory.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
        self.trees.get(&plain).map(String::as_str)
    }
}

/// The exports of one sync, in a directory of its own.
#[derive(Debug)]
pub struct Exports {
    directory: PathBuf,
    known: Mutex<Vec<Weak<Export>>>,
}

impl Exports {
    /// Takes over a directory, which only this process uses. What earlier processes left there goes: an export is not
    /// synced to disk, so after a power cut nobody could trust it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() && (name.starts_with(UNFINISHED) || CommitId::parse(&name).is_some()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { directory: directory.to_owned(), known: Mutex::default() })
    }

    /// The export of a commit, made now if it is not there yet. Files that the `previous` export has too are copied
    /// from there, which file systems with reflinks do at once. They are never hard-linked: a link changes the times of
    /// a file that a snapshot of the previous export may just be reading.
    pub async fn export(
        &self,
        repository: &Repository,
        commit: &CommitId,
        previous: Option<Arc<Export>>,
    ) -> Result<Arc<Export>, ExportError> {
        if let Some(there) = self.held(commit) {
            return Ok(there);
        }
        let name = commit.as_str().to_owned();
        let write_failed = |source| ExportError::Write { commit: name.clone(), source };
        let listing = list(repository, commit).await?;
        let building = self.directory.join(format!("{UNFINISHED}{name}"));
        let root = self.directory.join(&name);
        let (at, of) = (building.clone(), commit.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&at, listing, &of)).await;
        let mut listing = prepared.map_err(|error| write_failed(io::Error::other(error)))??;
        let finished = match fill(repository, commit, &building, &mut listing, previous).await {
            Ok(()) => {
                let (from, to) = (building.clone(), root.clone());
                let moved = blocking(move || remove_tree(&to).and_then(|()| fs::rename(from, to))).await;
                moved.map_err(write_failed)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = finished {
            let _ = blocking(move || remove_tree(&building)).await;
            return Err(error);
        }
        let Listing { files, refused, trees } = listing;
        let export = Arc::new(Export { commit: commit.clone(), root, refused, files, trees });
        self.known().push(Arc::downgrade(&export));
        Ok(export)
    }

    /// Removes the exports that nobody holds any more.
    pub async fn clean(&self) -> io::Result<()> {
        let in_use: Vec<PathBuf> = {
            let mut known = self.known();
            known.retain(|export| export.strong_count() > 0);
            known.iter().filter_map(|export| Some(export.upgrade()?.root.clone())).collect()
        };
        let directory = self.directory.clone();
        let remove_others = move || {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let ours = CommitId::parse(&entry.file_name().to_string_lossy()).is_some();
                if ours && !in_use.contains(&entry.path()) {
                    remove_tree(&entry.path())?;
                }
            }
            Ok(())
        };
        blocking(remove_others).await
    }

    fn held(&self, commit: &CommitId) -> Option<Arc<Export>> {
        self.known().iter().filter_map(Weak::upgrade).find(|export| export.commit == *commit)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Export>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on whole trees, off the threads that answer requests: with a busy disk it takes a minute, and they are as few as the
/// machine has processors.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Makes the directories in place of what may be there, and checks that everything fits.
fn prepare(building: &Path, listing: Listing, commit: &CommitId) -> Result<Listing, ExportError> {
    let commit = commit.as_str().to_owned();
    let make = || -> io::Result<u64> {
        remove_tree(building)?;
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(building)?;
        for parent in listing.files.iter().filter_map(|file| file.path.parent()) {
            builder.create(building.join(parent))?;
        }
        for parent in listing.refused.iter().filter_map(|refused| Path::new(&refused.path).parent()) {
            builder.create(building.join(parent))?;
        }
        let volume = rustix::fs::statvfs(building)?;
        Ok((volume.f_bavail * volume.f_frsize).saturating_sub(RESERVE_BYTES))
    };
    let free_bytes = make().map_err(|source| ExportError::Write { commit: commit.clone(), source })?;
    let needed_bytes = listing.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    if needed_bytes > free_bytes {
        return Err(ExportError::NoSpace { commit, needed_bytes, free_bytes });
    }
    Ok(listing)
}

fn by_blob(export: &Export) -> HashMap<(&str, bool), PathBuf> {
    export.files.iter().map(|file| ((file.blob.as_str(), file.executable), export.root.join(&file.path))).collect()
}

/// Copies what the previous export has, writes the rest, and puts dangling links where nothing can be written. Links
/// come last, so that no path of the commit can lead through one.
async fn fill(
    repository: &Repository,
    commit: &CommitId,
    building: &Path,
    listing: &mut Listing,
    previous: Option<Arc<Export>>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { commit: commit.as_str().to_owned(), source };
    let (files, into) = (listing.files.clone(), building.to_owned());
    let missing = tokio::task::spawn_blocking(move || copy(files, previous.as_deref(), &into)).await;
    let missing = missing.map_err(|error| failed(io::Error::other(error)))?;
    if !missing.is_empty() {
        let pointers = fetch(repository, commit, building, &missing).await?;
        listing.files.retain(|file| !pointers.contains(&file.path));
        listing.refused.extend(
            pointers
                .iter()
                .map(|path| Refused { path: path.to_string_lossy().into_owned(), what: StandIn::LfsPointer }),
        );
    }
    for refused in &listing.refused {
        symlink(refused.what.text(), building.join(&refused.path)).map_err(failed)?;
    }
    listing.refused.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

/// Copies every file that the previous export has, with its mode; answers the others. A copy that fails is no loss: the
/// file is written instead.
fn copy(files: Vec<ListedFile>, previous: Option<&Export>, into: &Path) -> Vec<ListedFile> {
    let there = previous.map(by_blob).unwrap_or_default();
    let copied = |file: &ListedFile| {
        let to = into.join(&file.path);
        let Some(from) = there.get(&(file.blob.as_str(), file.executable)) else { return false };
        let whole = fs::copy(from, &to).is_ok_and(|bytes| bytes == file.size_bytes);
        if !whole {
            let _ = fs::remove_file(&to);
        }
        whole
    };
    files.into_iter().filter(|file| !copied(file)).collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
