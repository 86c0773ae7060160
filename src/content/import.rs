//! One content on its way into the library: its blobs wait in a directory of their own until all are durable.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use super::beneath::{Dir, PRIVATE_FILE, sync_file};
use super::copy::{self, CopyError};
use super::digest::{Digest, Hasher};
use super::direct::{Writer, block_bytes, with_block};
use super::error::ContentError;
use super::library::{BLOB_MODE, Library, blob_path, manifest_path};
use super::manifest::{MAX_CONTENT_BYTES, Manifest};

/// Up to here files, or directories, are made durable one by one; more of them by one call for the whole file system, which is faster
/// but also waits for what others wrote there.
pub(super) const SYNC_ONE_BY_ONE: usize = 32;

/// An import in flight. Threads may add to it together. Dropped without a commit it leaves nothing.
pub struct Import<'a> {
    library: &'a Library,
    /// `tmp/<unique>` of the library.
    staging: Dir,
    staging_name: String,
    /// The blobs in `staging`: digest to file name.
    staged: Mutex<HashMap<Digest, String>>,
    next_name: AtomicU64,
}

impl<'a> Import<'a> {
    pub(super) fn begin(library: &'a Library) -> Result<Self, ContentError> {
        let staging_name = format!("tmp/{}", uuid::Uuid::new_v4());
        let path = library.dir.path().join(&staging_name);
        library.dir.make_dir(&staging_name).map_err(ContentError::io("make", &path))?;
        let staging = library.dir.dir(&staging_name).map_err(ContentError::io("open", &path))?;
        Ok(Self { library, staging, staging_name, staged: Mutex::default(), next_name: AtomicU64::new(0) })
    }

    /// Whether the blob is in the library already. If so, it stays there while this import has not outlived the grace
    /// of [`Library::collect`].
    pub fn reuse(&self, digest: &Digest) -> bool {
        self.library.touch(digest)
    }

    /// Reads all of `reader` once, hashes it, and keeps the bytes unless they are here already. Returns digest and
    /// size in bytes.
    ///
    /// # Errors
    /// [`ContentError::Fetch`] if the reader fails (with `name` to say which), [`ContentError::Full`], or a failing
    /// system call.
    pub fn add(&self, reader: &mut impl Read, name: &str) -> Result<(Digest, u64), ContentError> {
        self.add_bounded(reader, name, MAX_CONTENT_BYTES)
    }

    /// As [`Import::add`], but the bytes must be those announced.
    pub(super) fn add_announced(
        &self,
        reader: &mut impl Read,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<(), ContentError> {
        let found = self.add_bounded(reader, &digest.to_string(), size_bytes)?;
        if found != (*digest, size_bytes) {
            let path = self.library.dir.path().join(blob_path(digest));
            return Err(ContentError::Corrupt { path, expected: *digest });
        }
        Ok(())
    }

    fn add_bounded(&self, reader: &mut impl Read, name: &str, limit_bytes: u64) -> Result<(Digest, u64), ContentError> {
        with_block(|block| self.add_through(&mut block[..block_bytes(limit_bytes)], reader, name, limit_bytes))
    }

    fn add_through(
        &self,
        block: &mut [u8],
        reader: &mut impl Read,
        name: &str,
        limit_bytes: u64,
    ) -> Result<(Digest, u64), ContentError> {
        let fetch = |source| ContentError::Fetch { path: name.to_owned(), source };
        let filled = copy::read_full(reader, block).map_err(fetch)?;
        let is_whole = filled < block.len();
        if filled as u64 > limit_bytes {
            return Err(fetch(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "there are more bytes than the size",
            )));
        }
        // A file that fits the buffer is hashed once, and known before anything is written.
        let known = is_whole.then(|| Digest::of(&block[..filled]));
        if let Some(digest) = known.filter(|digest| self.is_here(digest)) {
            return Ok((digest, filled as u64));
        }
        let file_name = self.next_name.fetch_add(1, Relaxed).to_string();
        let path = self.staging.path().join(&file_name);
        let file = self
            .staging
            .open_file(&file_name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, PRIVATE_FILE)
            .map_err(ContentError::io("make", &path))?;
        let written = match known {
            Some(digest) => {
                Writer::new(&file).append(block, filled, 0).map(|_| (digest, filled as u64)).map_err(CopyError::Write)
            }
            None => {
                let mut hasher = Hasher::new();
                let end = copy::append_from(block, filled, reader, &file, 0, limit_bytes, &mut hasher);
                end.map(|size_bytes| (hasher.finish(), size_bytes))
            }
        };
        let (digest, size_bytes) = written.map_err(|error| match error {
            CopyError::Read(source) => fetch(source),
            CopyError::Write(error) => ContentError::io("write", &path)(error),
        })?;
        rustix::fs::fchmod(&file, BLOB_MODE).map_err(ContentError::io("protect", &path))?;
        let is_extra = (!is_whole && self.reuse(&digest)) || {
            let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
            *staged.entry(digest).or_insert_with(|| file_name.clone()) != file_name
        };
        if is_extra {
            self.staging.remove_all(&file_name).map_err(ContentError::io("remove", &path))?;
        }
        Ok((digest, size_bytes))
    }

    /// In the library, or brought by this import already.
    fn is_here(&self, digest: &Digest) -> bool {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest) || self.reuse(digest)
    }

    /// Publishes the blobs and then the manifest, each durable before it can be seen. Returns the manifest's digest.
    ///
    /// # Errors
    /// [`ContentError::Missing`] if a blob of the manifest was neither added nor reused (or was collected since, which
    /// takes longer than the grace), [`ContentError::Full`], or a failing system call.
    pub fn commit(self, manifest: &Manifest) -> Result<Digest, ContentError> {
        let brought = self.publish_blobs()?;
        let library = self.library;
        let _no_collection = library.collecting.read().unwrap_or_else(PoisonError::into_inner);
        for entry in manifest.entries() {
            if !brought.contains(&entry.digest) && !library.touch(&entry.digest) {
                return Err(ContentError::Missing(entry.digest));
            }
        }
        // Blobs that another import renamed a moment ago must be as durable as our own before we build on them.
        let others = manifest.entries().iter().map(|entry| entry.digest).filter(|digest| !brought.contains(digest));
        sync_shards(library, others)?;
        let path = library.dir.path().join(manifest_path(&manifest.digest()));
        let bytes = manifest.encode().map_err(|source| ContentError::Manifest { path: path.clone(), source })?;
        self.write_manifest(&bytes, &manifest_path(&manifest.digest())).map_err(ContentError::io("write", &path))?;
        Ok(manifest.digest())
    }

    /// Publishes the blobs alone.
    pub(super) fn commit_blobs(self) -> Result<(), ContentError> {
        self.publish_blobs().map(drop)
    }

    /// Returns what was published, young enough to be safe from collection.
    fn publish_blobs(&self) -> Result<HashSet<Digest>, ContentError> {
        let staged = std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner));
        let sync = || {
            if staged.len() > SYNC_ONE_BY_ONE {
                return self.staging.sync_file_system();
            }
            staged.values().try_for_each(|name| sync_file(&self.staging.file(name)?))
        };
        // After a failed sync nothing says what reached the disk: the import is dropped with all it wrote.
        sync().map_err(ContentError::io("make durable", self.staging.path()))?;
        for (digest, name) in &staged {
            let target = blob_path(digest);
            rustix::fs::renameat(&self.staging, name, &self.library.dir, &target)
                .map_err(ContentError::io("publish", self.library.dir.path().join(target)))?;
        }
        sync_shards(self.library, staged.keys().copied())?;
        Ok(staged.into_keys().collect())
    }

    fn write_manifest(&self, bytes: &[u8], target: &str) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = self.staging.open_file("manifest", flags, PRIVATE_FILE)?;
        file.write_all(bytes)?;
        rustix::fs::fchmod(&file, BLOB_MODE)?;
        sync_file(&file)?;
        rustix::fs::renameat(&self.staging, "manifest", &self.library.dir, target)?;
        self.library.dir.dir("manifests")?.sync()
    }
}

/// Makes the names of these blobs durable.
fn sync_shards(library: &Library, digests: impl Iterator<Item = Digest>) -> Result<(), ContentError> {
    let shards: BTreeSet<u8> = digests.map(|digest| digest.as_bytes()[0]).collect();
    if shards.len() > SYNC_ONE_BY_ONE {
        return library.dir.sync_file_system().map_err(ContentError::io("make durable", library.dir.path()));
    }
    for shard in shards {
        let name = format!("blobs/{shard:02x}");
        let sync = library.dir.dir(&name).and_then(|dir| dir.sync());
        sync.map_err(ContentError::io("make durable", library.dir.path().join(&name)))?;
    }
    Ok(())
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.library.dir.remove_all(&self.staging_name) {
            tracing::warn!(%error, path = ?self.staging.path(), "an import's directory stays until the next start");
        }
    }
}
