//! The scrub of a published version, and its repair. A file is repaired by a new one in its place, never in place: who
//! reads the old one keeps it, and every version that shared it gets the new one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::beneath::{Dir, is_dir, is_file};
use super::drive::{Drive, VersionKey};
use super::error::ContentError;
use super::manifest::{Entry, Manifest};
use super::path::SafePath;
use super::publish::{Publisher, hard_link, lock};
use super::tree::{DIRECTORY_MODE, Fetch, write_file};
use super::verify::{Fault, FaultKind, verify_file, verify_tree};

/// A repaired tree is verified again; what is not right after so many rounds changes under our hands.
const MAX_ROUNDS: usize = 3;

impl Publisher {
    /// Reads every byte of a version and names what is wrong.
    ///
    /// # Errors
    /// [`ContentError::NotPublished`], or a failing system call.
    pub fn verify(&self, key: &VersionKey) -> Result<Vec<Fault>, ContentError> {
        let (drive, manifest) = self.find(key)?;
        verify_tree(&drive.path().join(key.relative_path()), &manifest)
    }

    /// Reads one file of a version, as when a client reports it.
    ///
    /// # Errors
    /// [`ContentError::NotPublished`], also for a path the manifest does not name, or a failing system call.
    pub fn verify_one(&self, key: &VersionKey, path: &SafePath) -> Result<Option<Fault>, ContentError> {
        let (drive, manifest) = self.find(key)?;
        let full_path = drive.path().join(key.relative_path());
        let entry = manifest.entry(path).ok_or_else(|| ContentError::NotPublished(format!("{key:?} {path}")))?;
        let fault = |kind| Fault { path: path.as_path().to_owned(), kind };
        match Dir::open(&full_path) {
            Ok(top) => {
                let kind = verify_file(&top, entry).map_err(ContentError::io("verify", &full_path))?;
                Ok(kind.map(fault))
            }
            Err(_) => Ok(Some(fault(FaultKind::Missing))),
        }
    }

    /// Verifies a version and puts right what is wrong: other bytes are fetched anew, also for the other versions of
    /// the package that share the file, what the manifest does not name is removed. Returns what was wrong.
    ///
    /// # Errors
    /// [`ContentError::NotPublished`], [`ContentError::Fetch`], [`ContentError::Corrupt`] (the source is wrong too),
    /// [`ContentError::Full`], or a failing system call. What was repaired until then stays so.
    pub fn repair(&self, key: &VersionKey, fetch: &Fetch<'_>) -> Result<Vec<Fault>, ContentError> {
        let turn = self.turn(&key.package_dir());
        let _turn = lock(&turn);
        self.repair_in_turn(key, fetch)
    }

    pub(super) fn repair_in_turn(&self, key: &VersionKey, fetch: &Fetch<'_>) -> Result<Vec<Fault>, ContentError> {
        let (drive, manifest) = self.find(key)?;
        let path = drive.path().join(key.relative_path());
        let mut all = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let faults = verify_tree(&path, &manifest)?;
            if faults.is_empty() {
                return Ok(all.into_iter().map(|(path, kind)| Fault { path, kind }).collect());
            }
            repair_round(drive, key, &manifest, &faults, fetch)?;
            for fault in faults {
                all.entry(fault.path).or_insert(fault.kind);
            }
        }
        let error = io::Error::other("it changes while it is repaired; who else writes there?");
        Err(ContentError::Io { doing: "repair", path, source: error })
    }
}

fn repair_round(
    drive: &Drive,
    key: &VersionKey,
    manifest: &Manifest,
    faults: &[Fault],
    fetch: &Fetch<'_>,
) -> Result<(), ContentError> {
    let full_path = drive.path().join(key.relative_path());
    let failed = |error: io::Error| ContentError::io("repair", &full_path)(error);
    drive.dir.make_dir(key.relative_path()).map_err(failed)?;
    let top = drive.dir.dir(key.relative_path()).map_err(failed)?;
    for fault in faults.iter().filter(|fault| fault.kind == FaultKind::Added) {
        top.remove_all(&fault.path).map_err(failed)?;
    }
    // Directories first, so that what lies in them can be reached.
    let directories = manifest.directories();
    for directory in std::iter::once("").chain(directories.iter().copied()) {
        let restore = || {
            if !directory.is_empty() {
                top.make_dir(directory)?;
            }
            rustix::fs::fchmod(top.dir(directory)?, Mode::from_raw_mode(DIRECTORY_MODE))?;
            Ok(())
        };
        restore().map_err(failed)?;
    }
    let repair = Repair { drive, key, top: &top, sharers: sharers(drive, key).map_err(failed)? };
    for fault in faults.iter().filter(|fault| fault.kind != FaultKind::Added) {
        let path = fault.path.to_str().and_then(|path| path.parse::<SafePath>().ok());
        if let Some(entry) = path.and_then(|path| manifest.entry(&path)) {
            repair.file(entry, fault.kind, fetch)?;
        }
    }
    top.sync_file_system().map_err(failed)
}

/// The other versions of the package on the drive.
fn sharers(drive: &Drive, key: &VersionKey) -> io::Result<Vec<(VersionKey, Manifest)>> {
    let mut versions = drive.versions_of(&key.package_dir())?;
    versions.retain(|(version, _)| version != key);
    Ok(versions)
}

struct Repair<'a> {
    drive: &'a Drive,
    key: &'a VersionKey,
    top: &'a Dir,
    sharers: Vec<(VersionKey, Manifest)>,
}

impl Repair<'_> {
    fn file(&self, entry: &Entry, kind: FaultKind, fetch: &Fetch<'_>) -> Result<(), ContentError> {
        let path = entry.path.as_path();
        let full_path = entry.path.below(self.top.path());
        let failed = |error: io::Error| ContentError::io("repair", &full_path)(error);
        if kind == FaultKind::WrongMode {
            // The bytes were right: the inode, and with it every link, gets its mode back.
            let mode = Mode::from_raw_mode(super::tree::file_mode(entry));
            let flags = rustix::fs::AtFlags::empty();
            let restore = |parent: std::os::fd::BorrowedFd<'_>, name: &std::ffi::OsStr| {
                Ok(rustix::fs::chmodat(parent, name, mode, flags)?)
            };
            // Not of a link that took its place since: only what is a file.
            if self.top.stat(path).is_ok_and(|stat| is_file(&stat)) {
                return self.top.in_parent(path, restore).map_err(failed);
            }
        }
        let old = self.top.stat(path).ok();
        let fresh = PathBuf::from(format!(".waybill/trash/{}", uuid::Uuid::new_v4()));
        let written = write_file(&self.drive.dir, &fresh, entry, |offset| fetch(entry, offset)).and_then(|()| {
            let durable = self.drive.dir.file(&fresh).and_then(|file| file.sync_all());
            durable.map_err(ContentError::io("make durable", &full_path))
        });
        let place = || {
            let Some(old) = old else { return self.put(&fresh, self.key, path) };
            if is_dir(&old) {
                self.top.remove_all(path)?;
            }
            self.put(&fresh, self.key, path)?;
            for (version, manifest) in &self.sharers {
                let twins = manifest.entries().iter();
                for twin in twins.filter(|e| e.digest == entry.digest && e.executable == entry.executable) {
                    let shared = Path::new(&version.relative_path()).join(twin.path.as_path());
                    if self
                        .drive
                        .dir
                        .stat(&shared)
                        .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (old.st_dev, old.st_ino))
                    {
                        self.put(&fresh, version, twin.path.as_path())?;
                    }
                }
            }
            Ok(())
        };
        let placed = written.and_then(|()| place().map_err(failed));
        self.drive.dir.remove_all(&fresh).map_err(failed)?;
        placed
    }

    /// Puts a link to `fresh` in the place of a version's file, by one rename.
    fn put(&self, fresh: &Path, version: &VersionKey, path: &Path) -> io::Result<()> {
        let link = PathBuf::from(format!(".waybill/trash/{}", uuid::Uuid::new_v4()));
        hard_link(&self.drive.dir, fresh, &self.drive.dir, &link)?;
        let target = Path::new(&version.relative_path()).join(path);
        self.drive
            .dir
            .in_parent(&target, |parent, name| Ok(rustix::fs::renameat(&self.drive.dir, &link, parent, name)?))
    }
}
