//! Compares a tree on disk with its manifest, byte for byte. It finds and names; repairing is elsewhere.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Advice;
use serde::{Deserialize, Serialize};

use super::beneath::{Dir, is_dir, is_file};
use super::copy::{for_each, hash};
use super::digest::Hasher;
use super::direct::Reader;
use super::error::ContentError;
use super::manifest::{Entry, Manifest};
use super::tree::{DIRECTORY_MODE, SEALED_MODE, file_mode};

/// What is wrong with a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// Its bytes are others, or more.
    Flipped,
    /// Bytes at its end are missing.
    Truncated,
    /// It is not there, or something that is no file is in its place.
    Missing,
    /// The manifest does not name it.
    Added,
    /// Its permissions are not those of published content.
    WrongMode,
}

/// One difference between a tree and its manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The place, relative to the tree; of an added directory the directory only; empty for the tree itself.
    pub path: PathBuf,
    /// What is wrong there.
    pub kind: FaultKind,
}

/// Reads the whole tree, from the disk and not from memory where the system allows, and names every difference,
/// sorted by path, at most one for each path.
///
/// # Errors
/// A failing system call. A tree that is not there at all is not an error: everything is missing.
pub fn verify_tree(path: &Path, manifest: &Manifest) -> Result<Vec<Fault>, ContentError> {
    let failed = |error: io::Error| ContentError::io("verify", path)(error);
    let faults = Mutex::new(Vec::new());
    match Dir::open(path) {
        Ok(top) => {
            *faults.lock().unwrap_or_else(PoisonError::into_inner) = look_around(&top, manifest).map_err(failed)?;
            for_each(manifest.entries(), |entry| {
                if let Some(kind) = verify_file(&top, entry).map_err(failed)? {
                    let fault = Fault { path: entry.path.as_path().to_owned(), kind };
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
                }
                Ok::<_, ContentError>(())
            })?;
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            let missing = |entry: &Entry| Fault { path: entry.path.as_path().to_owned(), kind: FaultKind::Missing };
            return Ok(manifest.entries().iter().map(missing).collect());
        }
        Err(e) => return Err(failed(e)),
    }
    let mut faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    faults.sort();
    Ok(faults)
}

/// Reads one file of the tree and says what is wrong with it, if anything.
///
/// # Errors
/// A failing system call, such as an unreadable disk block.
pub fn verify_file(top: &Dir, entry: &Entry) -> io::Result<Option<FaultKind>> {
    let file = match top.file(entry.path.as_path()) {
        Ok(file) => file,
        // Not there, or reached through what is no directory.
        Err(e) if is_absence(&e) => return Ok(Some(FaultKind::Missing)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(Some(FaultKind::WrongMode)),
        Err(e) => return Err(e),
    };
    let stat = rustix::fs::fstat(&file)?;
    let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    if !is_file(&stat) {
        return Ok(Some(FaultKind::Missing));
    }
    if size_bytes < entry.size_bytes {
        return Ok(Some(FaultKind::Truncated));
    }
    if size_bytes > entry.size_bytes || !has_digest(file, entry)? {
        return Ok(Some(FaultKind::Flipped));
    }
    Ok((stat.st_mode & 0o7777 != file_mode(entry)).then_some(FaultKind::WrongMode))
}

fn has_digest(file: File, entry: &Entry) -> io::Result<bool> {
    // Advice only: a page in memory may be right while the disk is wrong, and a scrub should not push others out.
    let forget = |file: &File| {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    };
    forget(&file);
    let mut hasher = Hasher::new();
    let mut reader = Reader::new(file, 0, entry.size_bytes);
    let size_bytes = hash(&mut reader, &mut hasher)?;
    forget(reader.file());
    Ok(size_bytes == entry.size_bytes && hasher.finish() == entry.digest)
}

/// Whether the error says that the file is not there as a file: absent, below a file, a link, a socket.
fn is_absence(error: &io::Error) -> bool {
    let gone = [
        rustix::io::Errno::NOENT,
        rustix::io::Errno::NOTDIR,
        rustix::io::Errno::LOOP,
        rustix::io::Errno::NXIO,
        rustix::io::Errno::XDEV,
    ];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Finds what the manifest does not name, and directories with other permissions.
fn look_around(top: &Dir, manifest: &Manifest) -> io::Result<Vec<Fault>> {
    let files: HashSet<&Path> = manifest.entries().iter().map(|entry| entry.path.as_path()).collect();
    let directories: HashSet<&Path> = manifest.directories().into_iter().map(Path::new).collect();
    let mut faults = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let directory = match top.dir(&path) {
            Ok(directory) => directory,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                faults.push(Fault { path, kind: FaultKind::WrongMode });
                continue;
            }
            Err(e) => return Err(e),
        };
        if ![DIRECTORY_MODE, SEALED_MODE].contains(&(rustix::fs::fstat(&directory)?.st_mode & 0o7777)) {
            faults.push(Fault { path: path.clone(), kind: FaultKind::WrongMode });
        }
        for name in directory.names(usize::MAX)? {
            let child = path.join(&name);
            if directories.contains(child.as_path()) && is_dir(&directory.stat(&name)?) {
                pending.push(child);
            } else if !files.contains(child.as_path()) {
                faults.push(Fault { path: child, kind: FaultKind::Added });
            }
        }
    }
    Ok(faults)
}
