//! The agent's cache of package content: complete, verified trees by manifest digest. Which distribution point delivers
//! is asked just before each run; one that fails or delivers other bytes is left for the next.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::runtime::Handle;

use super::{link::Link, run::ticket::TicketContent};
use crate::{
    content::{ContentError, Manifest, digest::Digest, durable, manifest::MAX_ENCODED_BYTES, tree, verify},
    transport::download::Download,
    wire::access::{BadContent, DP_FILE_PATH, DP_MANIFEST_PATH, PointRef},
};

/// Why content is not here.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The access points did not say where it is.
    #[error("nobody says where the content is: {0}")]
    Locations(String),
    /// No distribution point holds it now.
    #[error("no distribution point holds the content now")]
    Nowhere,
    /// All of them failed; the last one so.
    #[error("{point}: {text}")]
    Failed {
        /// The last point.
        point: String,
        /// What happened.
        text: String,
    },
    /// Every point that answered delivered other bytes than were signed.
    #[error("{point} delivered bytes that do not match the signed digest")]
    Mismatch {
        /// The last such point.
        point: String,
    },
    /// This machine's disk.
    #[error("the content cannot be stored here: {0}")]
    Disk(String),
}

/// The cache.
pub struct Cache {
    directory: PathBuf,
    link: Arc<Link>,
}

impl Cache {
    /// Opens the cache beneath the agent's state directory.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(state: &Path, link: Arc<Link>) -> io::Result<Self> {
        let directory = state.join("cache");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, link })
    }

    fn tree(&self, content: &Digest) -> PathBuf {
        self.directory.join(content.hex())
    }

    fn manifest_path(&self, content: &Digest) -> PathBuf {
        self.directory.join(format!("{}.json", content.hex()))
    }

    /// The content if it is complete and sound here.
    #[must_use]
    pub fn find(&self, content: &Digest) -> Option<TicketContent> {
        let manifest_path = self.manifest_path(content);
        let manifest = Manifest::decode(&fs::read(&manifest_path).ok()?).ok()?;
        let dir = self.tree(content);
        let sound = manifest.digest() == *content
            && dir.is_dir()
            && verify::verify_tree(&dir, &manifest).is_ok_and(|faults| faults.is_empty());
        sound.then(|| TicketContent { dir, manifest: manifest_path, manifest_digest: *content })
    }

    /// Makes the content complete and sound here, from whichever point delivers it.
    ///
    /// # Errors
    /// [`CacheError`]; what was fetched so far is kept and continued next time.
    pub async fn ensure(&self, content: &Digest) -> Result<TicketContent, CacheError> {
        // The list is asked for each time, even if the content is here: points report who still uses what.
        let locations = self.link.locations(content).await;
        let here = self.find_async(content).await;
        if let Some(here) = here {
            return Ok(here);
        }
        let points = locations.map_err(|error| CacheError::Locations(error.to_string()))?.points;
        let mut last = CacheError::Nowhere;
        for point in points {
            match self.fetch(content, &point).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    if let CacheError::Mismatch { point } = &error {
                        self.complain(point.clone(), content).await;
                    }
                    tracing::warn!(point = %point.name, %error, "a distribution point failed; trying the next");
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Verifying reads every byte; not on the thread that polls.
    async fn find_async(&self, content: &Digest) -> Option<TicketContent> {
        let (cache, content) = (Self { directory: self.directory.clone(), link: self.link.clone() }, *content);
        tokio::task::spawn_blocking(move || cache.find(&content)).await.ok().flatten()
    }

    async fn complain(&self, point: String, content: &Digest) {
        let complaint = BadContent { point, content: *content, file: None };
        if let Err(error) = self.link.bad_content(&complaint).await {
            tracing::warn!(%error, "a complaint about bad content was not delivered");
        }
    }

    async fn fetch(&self, content: &Digest, point: &PointRef) -> Result<TicketContent, CacheError> {
        let (http, runtime, point, content) = (self.link.http(), Handle::current(), point.clone(), *content);
        let (directory, dir, manifest_path) =
            (self.directory.clone(), self.tree(&content), self.manifest_path(&content));
        let name = point.name.clone();
        let work = move || {
            let failed = |text: String| CacheError::Failed { point: point.name.clone(), text };
            let manifest = fetch_manifest(&runtime, &http, &point, &content)?;
            let bytes = manifest.encode().map_err(|error| failed(error.to_string()))?;
            if dir.exists() {
                // Not sound, or `find` had returned it.
                remove_tree(&dir).map_err(|error| CacheError::Disk(error.to_string()))?;
            }
            let open = |entry: &crate::content::Entry, offset: u64| {
                let url = format!("{}{DP_FILE_PATH}/{content}/{}", point.url, entry.digest);
                Download::open(&runtime, &http, &url, offset).map(|download| Box::new(download) as Box<dyn Read>)
            };
            durable::replace(&manifest_path, &bytes, 0o644).map_err(|error| CacheError::Disk(error.to_string()))?;
            tree::install(&directory, &content.hex(), &manifest, &open).map_err(|error| match error {
                ContentError::Corrupt { .. } => CacheError::Mismatch { point: point.name.clone() },
                ContentError::Fetch { source, .. } => failed(source.to_string()),
                other => CacheError::Disk(other.to_string()),
            })?;
            Ok(TicketContent { dir, manifest: manifest_path, manifest_digest: content })
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(CacheError::Failed { point: name, text: error.to_string() }))
    }

    /// Removes the oldest trees until all together are below the limit; trees in `keep` stay.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn trim(&self, limit_bytes: u64, keep: &[Digest]) -> io::Result<()> {
        let mut trees: Vec<(SystemTime, Digest, u64)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else { continue };
            let manifest = fs::read(self.manifest_path(&digest)).ok().and_then(|bytes| Manifest::decode(&bytes).ok());
            trees.push((entry.metadata()?.modified()?, digest, manifest.map_or(0, |manifest| manifest.size_bytes())));
        }
        trees.sort();
        let mut total: u64 = trees.iter().map(|(_, _, size_bytes)| size_bytes).sum();
        for (_, digest, size_bytes) in trees {
            if total <= limit_bytes {
                break;
            }
            if keep.contains(&digest) {
                continue;
            }
            remove_tree(&self.tree(&digest))?;
            let _ = fs::remove_file(self.manifest_path(&digest));
            total -= size_bytes;
        }
        Ok(())
    }
}

fn fetch_manifest(
    runtime: &Handle,
    http: &reqwest::Client,
    point: &PointRef,
    content: &Digest,
) -> Result<Manifest, CacheError> {
    let failed = |text: String| CacheError::Failed { point: point.name.clone(), text };
    let url = format!("{}{DP_MANIFEST_PATH}/{content}", point.url);
    let download = Download::open(runtime, http, &url, 0).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    let limit = MAX_ENCODED_BYTES as u64 + 1;
    download.take(limit).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    let manifest = Manifest::decode(&bytes).map_err(|_| CacheError::Mismatch { point: point.name.clone() })?;
    if manifest.digest() != *content {
        return Err(CacheError::Mismatch { point: point.name.clone() });
    }
    Ok(manifest)
}

/// Removes a tree whose files are read-only; its directories are the agent's own.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
