//! The content library: every file once, by digest, and the manifests. What a site's sends and repairs are made from.
//!
//! ```text
//! <library>/lock                      held while open
//!           blobs/aa/<64 hex>         one file per digest, read-only
//!           manifests/<64 hex>.json   canonical encodings
//!           tmp/                      imports in flight; emptied on open
//!           quarantine/               what was found not to have its digest
//! ```
//!
//! A blob or manifest appears under its name by one rename after its bytes are durable, and a manifest appears after
//! all of its blobs. The library shares no inode with anything: bytes come in and go out as copies only, so that a
//! flipped byte on a distribution point cannot reach what it is repaired from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::RwLock;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps};

use super::beneath::{Dir, PRIVATE_FILE, is_file};
use super::digest::{Digest, VerifyingReader};
use super::direct::Reader;
use super::error::ContentError;
use super::import::Import;
use super::manifest::{MAX_ENCODED_BYTES, Manifest};

/// A blob is written once and never changed.
pub(super) const BLOB_MODE: Mode = Mode::RUSR;

/// An open content library. One process at a time; any number of threads.
#[derive(Debug)]
pub struct Library {
    pub(super) dir: Dir,
    /// Collection excludes what must not lose a blob between looking and relying on it.
    pub(super) collecting: RwLock<()>,
    _lock: File,
}

impl Library {
    /// Opens the library in `path`, making it if there is none, and removes what a crash left of imports.
    ///
    /// # Errors
    /// [`ContentError::InUse`] while another process has it open, or a failing system call.
    pub fn open(path: &Path) -> Result<Self, ContentError> {
        std::fs::create_dir_all(path).map_err(ContentError::io("make", path))?;
        let dir = Dir::open(path).map_err(ContentError::io("open", path))?;
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(ContentError::io("protect", path))?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        let lock = dir.open_file("lock", flags, PRIVATE_FILE).map_err(ContentError::io("open the lock of", path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(ContentError::InUse(path.to_owned())),
            locked => locked.map_err(ContentError::io("lock", path))?,
        }
        prepare(&dir).map_err(ContentError::io("prepare", path))?;
        Ok(Self { dir, collecting: RwLock::new(()), _lock: lock })
    }

    /// Begins to bring in the files of one content.
    ///
    /// # Errors
    /// A failing system call.
    pub fn import(&self) -> Result<Import<'_>, ContentError> {
        Import::begin(self)
    }

    /// Whether the blob is here. Its bytes are verified when they are read.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        let stat = rustix::fs::statat(&self.dir, blob_path(digest), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| is_file(&stat))
    }

    /// As [`Library::has`], and protects the blob from collection for the time of grace.
    pub(super) fn touch(&self, digest: &Digest) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: keep, last_modification: now };
        // The library's own directories hold no links; its paths need no walk by descriptors.
        rustix::fs::utimensat(&self.dir, blob_path(digest), &times, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The digests of the manifest's files that are not here, each once.
    #[must_use]
    pub fn missing(&self, manifest: &Manifest) -> Vec<Digest> {
        let mut digests: Vec<_> = manifest.entries().iter().map(|entry| entry.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests.retain(|digest| !self.has(digest));
        digests
    }

    /// Opens a blob, verified as it is read: a reader that meets other bytes fails at the end with
    /// [`io::ErrorKind::InvalidData`] and puts the blob into quarantine, so that the next snapshot brings it anew.
    ///
    /// # Errors
    /// [`ContentError::Missing`], or a failing system call.
    pub fn open_verified(&self, digest: &Digest) -> Result<VerifiedBlob<'_>, ContentError> {
        let (file, size_bytes) = self.open_blob(digest)?;
        let reader = VerifyingReader::new(Reader::new(file, 0, size_bytes), *digest, size_bytes);
        Ok(VerifiedBlob { reader, library: self, digest: *digest })
    }

    /// Opens a blob and tells its size in bytes, for serving ranges of it. Its receiver verifies what arrives.
    ///
    /// # Errors
    /// As [`Library::open_verified`].
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), ContentError> {
        let path = blob_path(digest);
        let read = self.dir.file(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match read {
            Ok((size_bytes, file)) => Ok((file, size_bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ContentError::Missing(*digest)),
            Err(e) => Err(ContentError::io("open", self.dir.path().join(path))(e)),
        }
    }

    /// The bytes of a blob from `offset` on, as [`Fetch`](super::tree::Fetch) wants them: for a distribution point in
    /// the same process. If what is built from them is [`ContentError::Corrupt`], call [`Library::verify`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing blob, or a failing system call.
    pub fn open_from(&self, digest: &Digest, offset: u64) -> io::Result<Box<dyn Read>> {
        let mut file = self.dir.file(blob_path(digest))?;
        let size_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(Reader::new(file, offset, size_bytes)))
    }

    /// Reads the whole blob and says whether it has its digest. One that does not is put into quarantine.
    ///
    /// # Errors
    /// As [`Library::open_verified`].
    pub fn verify(&self, digest: &Digest) -> Result<bool, ContentError> {
        match io::copy(&mut self.open_verified(digest)?, &mut io::sink()) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(e) => Err(ContentError::io("read", self.dir.path().join(blob_path(digest)))(e)),
        }
    }

    /// Whether the manifest is here, and so were all its blobs when it came.
    #[must_use]
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        self.dir.stat(manifest_path(digest)).is_ok_and(|stat| is_file(&stat))
    }

    /// Reads and verifies a manifest. One that does not have its digest is put into quarantine.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::Corrupt`], or a failing system call.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, ContentError> {
        let path = manifest_path(digest);
        let full_path = self.dir.path().join(&path);
        let mut bytes = Vec::new();
        let read =
            self.dir.file(&path).and_then(|file| file.take(MAX_ENCODED_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ContentError::Missing(*digest)),
            Err(e) => return Err(ContentError::io("read", full_path)(e)),
        }
        if Digest::of(&bytes) != *digest {
            self.quarantine(&path)?;
            return Err(ContentError::Corrupt { path: full_path, expected: *digest });
        }
        Manifest::decode(&bytes).map_err(|source| ContentError::Manifest { path: full_path, source })
    }

    /// The digests of all manifests that are here.
    ///
    /// # Errors
    /// A failing system call.
    pub fn manifests(&self) -> Result<Vec<Digest>, ContentError> {
        let names = self.dir.dir("manifests").and_then(|dir| dir.names(usize::MAX));
        let names = names.map_err(ContentError::io("list the manifests of", self.dir.path()))?;
        let digest = |name: &std::ffi::OsString| Digest::from_hex(name.to_str()?.strip_suffix(".json")?).ok();
        Ok(names.iter().filter_map(digest).collect())
    }

    /// Brings in one blob, for whoever receives blobs one by one: `size_bytes` and `digest` are what was announced.
    ///
    /// # Errors
    /// [`ContentError::Corrupt`] for other bytes, [`ContentError::Fetch`] if the reader fails, [`ContentError::Full`].
    pub fn insert(&self, reader: &mut impl Read, digest: &Digest, size_bytes: u64) -> Result<(), ContentError> {
        if self.touch(digest) {
            return Ok(());
        }
        let import = self.import()?;
        import.add_announced(reader, digest, size_bytes)?;
        import.commit_blobs()
    }

    /// Moves a file of the library out of the way, keeping it for whoever asks what happened.
    fn quarantine(&self, path: &str) -> Result<(), ContentError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let target = format!("quarantine/{name}");
        rustix::fs::renameat(&self.dir, path, &self.dir, &target)
            .map_err(ContentError::io("put into quarantine", self.dir.path().join(path)))
    }
}

/// Makes the directories and empties `tmp`.
fn prepare(dir: &Dir) -> io::Result<()> {
    dir.remove_all("tmp")?;
    for name in ["tmp", "manifests", "quarantine", "blobs"] {
        dir.make_dir(name)?;
    }
    let blobs = dir.dir("blobs")?;
    for shard in 0..=255u8 {
        blobs.make_dir(format!("{shard:02x}"))?;
    }
    blobs.sync()?;
    dir.sync()
}

pub(super) fn blob_path(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("blobs/{}/{hex}", &hex[..2])
}

pub(super) fn manifest_path(digest: &Digest) -> String {
    format!("manifests/{}.json", digest.hex())
}

/// A blob of the library on its way to a reader; see [`Library::open_verified`].
pub struct VerifiedBlob<'a> {
    reader: VerifyingReader<Reader>,
    library: &'a Library,
    digest: Digest,
}

impl Read for VerifiedBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData
                && let Err(error) = self.library.quarantine(&blob_path(&self.digest))
            {
                tracing::warn!(%error, "a corrupt blob stays in the library");
            }
        })
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
