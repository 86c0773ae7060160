//! What a distribution point holds: versions of packages, each an immutable directory that appears whole on one of its
//! drives. This puts them there and removes them; comparing and repairing is in `repair`, serving them elsewhere.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, RenameFlags};

use super::beneath::Dir;
use super::digest::Digest;
use super::drive::{Drive, DriveConfig, Room, VersionKey};
use super::error::ContentError;
use super::manifest::{Entry, Manifest};
use super::tree::{Fetch, build};

/// What a file takes on disk besides its bytes: an inode and the rest of its last block.
const OVERHEAD_BYTES: u64 = 4096;

/// The drives of one distribution point. Threads may use it together; work on one package waits for its turn.
#[derive(Debug)]
pub struct Publisher {
    pub(super) drives: Vec<Drive>,
    unusable: Vec<(PathBuf, ContentError)>,
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// A version that is published here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub key: VersionKey,
    /// Its directory.
    pub path: PathBuf,
    /// The bytes of its files.
    pub size_bytes: u64,
}

impl Publisher {
    /// Opens the drives. One that cannot be used does not stop the others; see [`Publisher::unusable`].
    ///
    /// # Errors
    /// The first drive's, if none can be used.
    pub fn open(drives: Vec<DriveConfig>) -> Result<Self, ContentError> {
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for config in drives {
            let path = config.path.clone();
            match Drive::open(config) {
                Ok(drive) => usable.push(drive),
                Err(error) => unusable.push((path, error)),
            }
        }
        if usable.is_empty() && !unusable.is_empty() {
            return Err(unusable.swap_remove(0).1);
        }
        Ok(Self { drives: usable, unusable, turns: Mutex::default() })
    }

    /// Drives that could not be opened, and why.
    #[must_use]
    pub fn unusable(&self) -> &[(PathBuf, ContentError)] {
        &self.unusable
    }

    /// The room on each usable drive.
    ///
    /// # Errors
    /// A drive cannot be measured.
    pub fn room(&self) -> Result<Vec<Room>, ContentError> {
        self.drives.iter().map(Drive::room).collect()
    }

    /// Everything that is published, from the disks alone.
    ///
    /// # Errors
    /// A failing system call.
    pub fn list(&self) -> Result<Vec<Published>, ContentError> {
        let mut all = Vec::new();
        for drive in &self.drives {
            let found = drive.scan().map_err(ContentError::io("list", drive.path()))?;
            all.extend(found.versions.into_iter().map(|(key, manifest)| published(drive, key, &manifest)));
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Directories that lie where versions lie and are none: their manifest is gone, damaged or another's. Publishing
    /// the version again adopts what is sound in them.
    ///
    /// # Errors
    /// A failing system call.
    pub fn orphans(&self) -> Result<Vec<PathBuf>, ContentError> {
        let mut all = Vec::new();
        for drive in &self.drives {
            let found = drive.scan().map_err(ContentError::io("list", drive.path()))?;
            all.extend(found.orphans.iter().map(|path| drive.path().join(path)));
        }
        Ok(all)
    }

    /// The directory and the manifest of a published version.
    ///
    /// # Errors
    /// [`ContentError::NotPublished`], also if its manifest is damaged: publish it again.
    pub fn version(&self, key: &VersionKey) -> Result<(PathBuf, Manifest), ContentError> {
        let (drive, manifest) = self.find(key)?;
        Ok((drive.path().join(key.relative_path()), manifest))
    }

    pub(super) fn find(&self, key: &VersionKey) -> Result<(&Drive, Manifest), ContentError> {
        for drive in &self.drives {
            let manifest = drive.read_manifest(&key.manifest_path());
            if let Some(manifest) = manifest.ok().filter(|manifest| manifest.digest() == key.digest()) {
                return Ok((drive, manifest));
            }
        }
        Err(ContentError::NotPublished(key.relative_path()))
    }

    /// Publishes a version on the drive with the most room, or returns where it is already. Interrupted work is
    /// resumed. If the drive fills, the next best is taken; what was staged on the full one is removed.
    ///
    /// # Errors
    /// [`ContentError::NoDrive`], [`ContentError::Fetch`], [`ContentError::Corrupt`], or a failing system call.
    pub fn publish(&self, key: &VersionKey, manifest: &Manifest, fetch: &Fetch<'_>) -> Result<Published, ContentError> {
        if manifest.digest() != key.digest() {
            return Err(ContentError::Corrupt { path: key.manifest_path().into(), expected: key.digest() });
        }
        let turn = self.turn(&key.package_dir());
        let _turn = lock(&turn);
        if let Some(drive) = self.drives.iter().find(|drive| drive.dir.stat(key.relative_path()).is_ok()) {
            if self.find(key).is_err() {
                // The tree outlived its manifest: keep what is sound in it.
                drive.write_manifest(key, manifest)?;
                self.repair_in_turn(key, fetch)?;
            }
            return Ok(published(drive, key.clone(), manifest));
        }
        let mut filled = HashSet::new();
        loop {
            let drive = self.choose(key, manifest, &filled)?;
            let done = publish_on(drive, key, manifest, fetch);
            if let Err(ContentError::Full(_)) = done {
                drive.discard(&key.staging_path()).map_err(ContentError::io("empty", drive.path()))?;
                filled.insert(drive.path().to_owned());
                continue;
            }
            done?;
            self.forget_staging(key, Some(drive))?;
            return Ok(published(drive, key.clone(), manifest));
        }
    }

    /// The drive for a new version: the largest room above the reserve that suffices, or where it is half staged.
    fn choose(&self, key: &VersionKey, manifest: &Manifest, filled: &HashSet<PathBuf>) -> Result<&Drive, ContentError> {
        let mut best: Option<((bool, u64), &Drive)> = None;
        let mut reasons = Vec::new();
        let mut least_needed_bytes = u64::MAX;
        for drive in &self.drives {
            let room = drive.room()?;
            let staged = drive.dir.dir(key.staging_path()).ok();
            let needed_bytes = needed_bytes(drive, key, manifest, staged.as_ref());
            least_needed_bytes = least_needed_bytes.min(needed_bytes);
            let path = room.path.display();
            if room.is_left_out {
                reasons.push(format!("{path} is left out"));
            } else if filled.contains(&room.path) {
                reasons.push(format!("{path} is full"));
            } else if room.available_bytes < needed_bytes {
                reasons.push(format!("{path} has {}", room.available_bytes));
            } else {
                let rank = (staged.is_some(), room.available_bytes);
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, drive));
                }
            }
        }
        let no_drive = || ContentError::NoDrive { needed_bytes: least_needed_bytes, drives: reasons.join(", ") };
        best.map(|(_, drive)| drive).ok_or_else(no_drive)
    }

    /// Removes a version: out of sight at once, then from the disk. Nothing there is no error. Returns whether it was.
    ///
    /// # Errors
    /// A failing system call; call again.
    pub fn remove(&self, key: &VersionKey) -> Result<bool, ContentError> {
        let turn = self.turn(&key.package_dir());
        let _turn = lock(&turn);
        let mut was_there = false;
        for drive in &self.drives {
            was_there |= drive.dir.stat(key.relative_path()).is_ok();
            let remove = || {
                drive.discard(&key.relative_path())?;
                if drive.dir.stat(key.manifest_path()).is_ok() {
                    drive.dir.remove_all(key.manifest_path())?;
                    drive.dir.dir(key.package_dir())?.sync()?;
                }
                for gate in [key.package_dir(), key.namespace().to_owned()] {
                    // Only if nothing else is in it.
                    let _ = drive.dir.in_parent(Path::new(&gate), |parent, name| {
                        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
                    });
                }
                Ok(())
            };
            remove().map_err(ContentError::io::<io::Error>("remove", drive.path().join(key.relative_path())))?;
        }
        self.forget_staging(key, None)?;
        Ok(was_there)
    }

    /// Removes staged content that none of `wanted` will resume.
    ///
    /// # Errors
    /// A failing system call.
    pub fn forget_other_staging(&self, wanted: &[VersionKey]) -> Result<(), ContentError> {
        let wanted: HashSet<String> = wanted.iter().map(VersionKey::staging_path).collect();
        for drive in &self.drives {
            let names = drive.dir.dir(".waybill/staging").and_then(|dir| dir.names(usize::MAX));
            for name in names.map_err(ContentError::io("list the staging of", drive.path()))? {
                let path = format!(".waybill/staging/{}", name.to_string_lossy());
                if !wanted.contains(&path) {
                    drive.dir.remove_all(&path).map_err(ContentError::io("remove", drive.path().join(path)))?;
                }
            }
        }
        Ok(())
    }

    fn forget_staging(&self, key: &VersionKey, except: Option<&Drive>) -> Result<(), ContentError> {
        for drive in self.drives.iter().filter(|drive| except.is_none_or(|other| !std::ptr::eq(*drive, other))) {
            drive.discard(&key.staging_path()).map_err(ContentError::io("empty", drive.path()))?;
        }
        Ok(())
    }

    pub(super) fn turn(&self, package_dir: &str) -> Arc<Mutex<()>> {
        lock(&self.turns).entry(package_dir.to_owned()).or_default().clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn published(drive: &Drive, key: VersionKey, manifest: &Manifest) -> Published {
    let path = drive.path().join(key.relative_path());
    Published { key, path, size_bytes: manifest.size_bytes() }
}

fn publish_on(drive: &Drive, key: &VersionKey, manifest: &Manifest, fetch: &Fetch<'_>) -> Result<(), ContentError> {
    let staging_path = key.staging_path();
    let full_path = drive.path().join(key.relative_path());
    drive.dir.make_dir(&staging_path).map_err(ContentError::io("make", &full_path))?;
    let staging = drive.dir.dir(&staging_path).map_err(ContentError::io("open", &full_path))?;
    let links = linkable(drive, key).map_err(ContentError::io("list", &full_path))?;
    let link = |staging: &Dir, entry: &Entry| {
        let from = links.get(&(entry.digest, entry.executable));
        from.is_some_and(|from| hard_link(&drive.dir, from, staging, entry.path.as_path()).is_ok())
    };
    build(&staging, manifest, &link, fetch)?;
    drive.write_manifest(key, manifest)?;
    let appear = || {
        let target = key.relative_path();
        rustix::fs::renameat_with(&drive.dir, &staging_path, &drive.dir, &target, RenameFlags::NOREPLACE)?;
        drive.dir.dir(key.package_dir())?.sync()
    };
    appear().map_err(ContentError::io("publish", &full_path))
}

/// What the drive's other versions of the package hold: unchanged files are linked, not written again.
fn linkable(drive: &Drive, key: &VersionKey) -> io::Result<HashMap<(Digest, bool), PathBuf>> {
    let mut links = HashMap::new();
    for (version, manifest) in drive.versions_of(&key.package_dir())? {
        let top = PathBuf::from(version.relative_path());
        for entry in manifest.entries() {
            links.insert((entry.digest, entry.executable), entry.path.below(&top));
        }
    }
    Ok(links)
}

/// What publishing will still take on this drive.
fn needed_bytes(drive: &Drive, key: &VersionKey, manifest: &Manifest, staged: Option<&Dir>) -> u64 {
    let links = linkable(drive, key).unwrap_or_default();
    let cost = |entry: &Entry| {
        if links.contains_key(&(entry.digest, entry.executable)) {
            return OVERHEAD_BYTES;
        }
        let here = staged.and_then(|staged| staged.stat(entry.path.as_path()).ok());
        let here_bytes = here.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        entry.size_bytes.saturating_sub(here_bytes) + OVERHEAD_BYTES
    };
    manifest.entries().iter().map(cost).sum::<u64>() + OVERHEAD_BYTES
}

/// Links a file of one directory into another of the same drive, following nothing on either side.
pub(super) fn hard_link(from: &Dir, old: &Path, to: &Dir, new: &Path) -> io::Result<()> {
    from.in_parent(old, |old_parent: BorrowedFd<'_>, old_name| {
        to.in_parent(new, |new_parent, new_name| {
            Ok(rustix::fs::linkat(old_parent, old_name, new_parent, new_name, AtFlags::empty())?)
        })
    })
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
