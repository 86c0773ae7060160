//! Garbage collection of the library: what no kept manifest names goes, after a grace for what is still under way.

use std::collections::HashSet;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};

use super::digest::Digest;
use super::error::ContentError;
use super::library::{Library, blob_path, manifest_path};

/// How long a blob or manifest stays after it was last brought in or reused, whether or not anything keeps it. Longer
/// than any import or send is in flight, and than the caller takes to record what it wants kept.
pub const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests removed.
    pub manifests: usize,
    /// Blobs removed.
    pub blobs: usize,
    /// The bytes of the removed blobs.
    pub freed_bytes: u64,
}

impl Library {
    /// Removes every manifest that is not in `keep`, and every blob that no remaining manifest names, if older than
    /// [`GRACE`] at `now`. Quarantined files go after the grace too.
    ///
    /// # Errors
    /// A kept manifest that is missing or unreadable stops the collection before anything is removed: what it names
    /// is not known. Or a failing system call.
    pub fn collect(&self, keep: &HashSet<Digest>, now: Timestamp) -> Result<Collected, ContentError> {
        let _alone = self.collecting.write().unwrap_or_else(PoisonError::into_inner);
        let oldest = (now - GRACE).as_second();
        let mut marked = HashSet::new();
        let mut unwanted = HashSet::new();
        for digest in self.manifests()? {
            if !keep.contains(&digest) && self.is_older(&manifest_path(&digest), oldest)?.is_some() {
                unwanted.insert(digest);
            }
        }
        let remaining = self.manifests()?.into_iter().filter(|digest| !unwanted.contains(digest));
        for digest in keep.iter().copied().chain(remaining).collect::<HashSet<_>>() {
            marked.extend(self.manifest(&digest)?.entries().iter().map(|entry| entry.digest));
        }
        let mut collected = Collected::default();
        for digest in unwanted {
            self.remove(&manifest_path(&digest))?;
            collected.manifests += 1;
        }
        for shard in 0..=255u8 {
            self.sweep(&format!("blobs/{shard:02x}"), oldest, &marked, &mut collected)?;
        }
        for name in self.names("quarantine")? {
            let path = format!("quarantine/{name}");
            if self.is_older(&path, oldest)?.is_some() {
                self.remove(&path)?;
            }
        }
        Ok(collected)
    }

    fn sweep(
        &self,
        shard: &str,
        oldest: i64,
        marked: &HashSet<Digest>,
        collected: &mut Collected,
    ) -> Result<(), ContentError> {
        for name in self.names(shard)? {
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            if marked.contains(&digest) {
                continue;
            }
            if let Some(size_bytes) = self.is_older(&blob_path(&digest), oldest)? {
                self.remove(&blob_path(&digest))?;
                collected.blobs += 1;
                collected.freed_bytes += size_bytes;
            }
        }
        Ok(())
    }

    /// The size in bytes of the file if it was last used before `oldest` (Unix seconds).
    fn is_older(&self, path: &str, oldest: i64) -> Result<Option<u64>, ContentError> {
        let stat = self.dir.stat(path).map_err(ContentError::io("look at", self.dir.path().join(path)))?;
        Ok((stat.st_mtime < oldest).then_some(u64::try_from(stat.st_size).unwrap_or(0)))
    }

    fn remove(&self, path: &str) -> Result<(), ContentError> {
        self.dir.remove_all(path).map_err(ContentError::io("remove", self.dir.path().join(path)))
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, ContentError> {
        let names = self.dir.dir(directory).and_then(|dir| dir.names(usize::MAX));
        let names = names.map_err(ContentError::io("list", self.dir.path().join(directory)))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }
}
