//! One drive of a distribution point: where versions lie on it, which are there, and how much room there is.
//!
//! ```text
//! <drive>/NO_WAYBILL_ON_DRIVE                                   nothing new comes here
//!         <namespace>/<package>/<sourceVersion>-<digest12>/…    a published version
//!         <namespace>/<package>/<sourceVersion>-<digest12>.json its manifest, beside it
//!         .waybill/lock, staging/, trash/                       private
//! ```
//!
//! The manifest's bytes have the digest that names the version, so what is published is known from the disk alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::beneath::{Dir, PRIVATE_FILE, free_bytes, is_dir, sync_file};
use super::digest::Digest;
use super::error::ContentError;
use super::manifest::{MAX_ENCODED_BYTES, Manifest};
use super::path::check_component;

/// A drive whose top holds a file of this name gets no new versions. Those on it are served and kept.
pub const NO_WAYBILL_ON_DRIVE: &str = "NO_WAYBILL_ON_DRIVE";
/// Namespace and package directories: the distribution point's group may look, nobody else. Content is handed out by
/// the server, which checks who asks; the file system must not be a way around it.
const GATE_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);

/// A drive as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveConfig {
    /// Its directory, which must exist: an absent mount must not become a directory.
    pub path: PathBuf,
    /// Bytes to leave free.
    pub reserve_bytes: u64,
}

/// The room on a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The drive's directory.
    pub path: PathBuf,
    /// Free bytes above the reserve.
    pub available_bytes: u64,
    /// Whether [`NO_WAYBILL_ON_DRIVE`] is there.
    pub is_left_out: bool,
}

/// Names one version of one package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionKey {
    namespace: String,
    package: String,
    source_version: u64,
    digest: Digest,
}

impl VersionKey {
    /// The version `source_version` of `namespace/package`, whose manifest has `digest`.
    ///
    /// # Errors
    /// [`ContentError::Name`] for names that cannot be a directory of a drive.
    pub fn new(namespace: &str, package: &str, source_version: u64, digest: Digest) -> Result<Self, ContentError> {
        for name in [namespace, package] {
            if check_component(name).is_err() || name.starts_with('.') {
                return Err(ContentError::Name(name.to_owned()));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), package: package.to_owned(), source_version, digest })
    }

    /// The package's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The package's name.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The site's counter.
    #[must_use]
    pub fn source_version(&self) -> u64 {
        self.source_version
    }

    /// The digest of the manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// `<namespace>/<package>`.
    pub(super) fn package_dir(&self) -> String {
        format!("{}/{}", self.namespace, self.package)
    }

    /// `<namespace>/<package>/<sourceVersion>-<digest12>`: where the version lies on its drive.
    #[must_use]
    pub fn relative_path(&self) -> String {
        format!("{}/{}-{}", self.package_dir(), self.source_version, self.digest.short())
    }

    pub(super) fn manifest_path(&self) -> String {
        format!("{}.json", self.relative_path())
    }

    pub(super) fn staging_path(&self) -> String {
        // One short name, whatever the lengths of its parts.
        let whole = format!("{} {}", self.relative_path(), self.digest);
        format!(".waybill/staging/{}", Digest::of(whole.as_bytes()).hex())
    }
}

/// The file that holds the manifest of the version in this directory.
#[must_use]
pub fn manifest_beside(directory: &Path) -> PathBuf {
    let mut path = directory.as_os_str().to_owned();
    path.push(".json");
    path.into()
}

/// Whether the name is `<sourceVersion>-<12 hexadecimal digits>`.
fn is_version_name(name: &str) -> bool {
    name.split_once('-').is_some_and(|(number, short)| {
        !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && short.len() == 12
            && short.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What lies on a drive.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Directories with a sound manifest beside them.
    pub(super) versions: Vec<(VersionKey, Manifest)>,
    /// Directories that only look like versions, relative to the drive.
    pub(super) orphans: Vec<String>,
}

/// An open drive.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) dir: Dir,
    config: DriveConfig,
    _lock: File,
}

impl Drive {
    /// Opens the drive and removes what a crash left, but keeps staged content: it is resumed.
    pub(super) fn open(config: DriveConfig) -> Result<Self, ContentError> {
        let dir = Dir::open(&config.path).map_err(ContentError::io("open", &config.path))?;
        let prepare = || {
            dir.make_dir(".waybill")?;
            let lock = dir.open_file(".waybill/lock", OFlags::RDWR | OFlags::CREATE, PRIVATE_FILE)?;
            dir.make_dir(".waybill/staging")?;
            Ok(lock)
        };
        let lock = prepare().map_err(ContentError::io::<io::Error>("prepare", &config.path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(ContentError::InUse(config.path)),
            locked => locked.map_err(ContentError::io("lock", &config.path))?,
        }
        let drive = Self { dir, config, _lock: lock };
        drive.clean().map_err(ContentError::io("clean", drive.path()))?;
        Ok(drive)
    }

    fn clean(&self) -> io::Result<()> {
        self.dir.remove_all(".waybill/trash")?;
        self.dir.make_dir(".waybill/trash")?;
        for package in self.packages()? {
            let Ok(directory) = self.dir.dir(&package) else { continue };
            for name in directory.names(usize::MAX)? {
                let version = name.to_str().and_then(|name| name.strip_suffix(".json"));
                let is_alone = |version: &str| is_version_name(version) && directory.stat(version).is_err();
                if version.is_some_and(is_alone) {
                    directory.remove_all(&name)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.config.path
    }

    pub(super) fn room(&self) -> Result<Room, ContentError> {
        let free = free_bytes(self.path()).map_err(ContentError::io("measure", self.path()))?;
        Ok(Room {
            path: self.path().to_owned(),
            available_bytes: free.saturating_sub(self.config.reserve_bytes),
            is_left_out: self.dir.stat(NO_WAYBILL_ON_DRIVE).is_ok(),
        })
    }

    /// Every `<namespace>/<package>` that is a directory.
    fn packages(&self) -> io::Result<Vec<String>> {
        let mut packages = Vec::new();
        for namespace in self.dir.names(usize::MAX)?.iter().filter_map(|name| name.to_str()) {
            if namespace.starts_with('.') || !is_dir(&self.dir.stat(namespace)?) {
                continue;
            }
            // What we may not enter is not ours, such as lost+found.
            let Ok(directory) = self.dir.dir(namespace) else { continue };
            for package in directory.names(usize::MAX)?.iter().filter_map(|name| name.to_str()) {
                if is_dir(&directory.stat(package)?) {
                    packages.push(format!("{namespace}/{package}"));
                }
            }
        }
        Ok(packages)
    }

    /// The versions of one package on this drive that have a directory and a sound manifest.
    pub(super) fn versions_of(&self, package_dir: &str) -> io::Result<Vec<(VersionKey, Manifest)>> {
        let directory = match self.dir.dir(package_dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let names = directory.names(usize::MAX)?;
        let parse = |name: &std::ffi::OsString| self.version(package_dir, name.to_str()?.strip_suffix(".json")?);
        Ok(names.iter().filter_map(parse).collect())
    }

    /// The version in `<package_dir>/<name>`, if it is one.
    fn version(&self, package_dir: &str, name: &str) -> Option<(VersionKey, Manifest)> {
        let (number, short) = name.split_once('-')?;
        let (namespace, package) = package_dir.split_once('/')?;
        let manifest = self.read_manifest(&format!("{package_dir}/{name}.json")).ok()?;
        let key = VersionKey::new(namespace, package, number.parse().ok()?, manifest.digest()).ok()?;
        let is_whole = key.relative_path() == format!("{package_dir}/{name}")
            && manifest.digest().short() == short
            && self.dir.stat(key.relative_path()).is_ok_and(|stat| is_dir(&stat));
        is_whole.then_some((key, manifest))
    }

    /// Every version on this drive, and every other directory that has a version's name. Other things are not ours.
    pub(super) fn scan(&self) -> io::Result<Scan> {
        let mut found = Scan::default();
        for package_dir in self.packages()? {
            let Ok(directory) = self.dir.dir(&package_dir) else { continue };
            for name in directory.names(usize::MAX)? {
                let Some(name) = name.to_str().filter(|name| is_version_name(name)) else { continue };
                match self.version(&package_dir, name) {
                    Some(version) => found.versions.push(version),
                    None => found.orphans.push(format!("{package_dir}/{name}")),
                }
            }
        }
        Ok(found)
    }

    /// Reads a manifest file; its digest is whatever its bytes have.
    pub(super) fn read_manifest(&self, path: &str) -> Result<Manifest, ContentError> {
        let full_path = self.path().join(path);
        let mut bytes = Vec::new();
        let file = self.dir.file(path).map_err(ContentError::io("open", &full_path))?;
        let mut file = file.take(MAX_ENCODED_BYTES as u64 + 1);
        file.read_to_end(&mut bytes).map_err(ContentError::io("read", &full_path))?;
        Manifest::decode(&bytes).map_err(|source| ContentError::Manifest { path: full_path, source })
    }

    /// Makes the package's directories and puts the manifest there, durable.
    pub(super) fn write_manifest(&self, key: &VersionKey, manifest: &Manifest) -> Result<(), ContentError> {
        let full_path = self.path().join(key.manifest_path());
        let bytes = manifest.encode().map_err(|source| ContentError::Manifest { path: full_path.clone(), source })?;
        let write = || {
            for gate in [key.namespace(), &key.package_dir()] {
                self.dir.make_dir(gate)?;
                rustix::fs::fchmod(self.dir.dir(gate)?, GATE_MODE)?;
            }
            let temporary = format!(".waybill/trash/{}", uuid::Uuid::new_v4());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut file = self.dir.open_file(&temporary, flags, PRIVATE_FILE)?;
            let written = file.write_all(&bytes).and_then(|()| sync_file(&file));
            if let Err(error) = written {
                self.dir.remove_all(&temporary)?;
                return Err(error);
            }
            rustix::fs::renameat(&self.dir, &temporary, &self.dir, key.manifest_path())?;
            self.dir.dir(key.package_dir())?.sync()?;
            self.dir.dir(key.namespace())?.sync()?;
            self.dir.sync()
        };
        write().map_err(ContentError::io("write", &full_path))
    }

    /// Takes a directory out of sight at once and then removes it. Running readers keep their open files.
    pub(super) fn discard(&self, path: &str) -> io::Result<()> {
        let trash = format!(".waybill/trash/{}", uuid::Uuid::new_v4());
        match rustix::fs::renameat(&self.dir, path, &self.dir, &trash) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            renamed => renamed?,
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir.dir(parent)?.sync()?;
        }
        self.dir.remove_all(&trash)
    }
}
