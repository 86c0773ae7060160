//! The agent's cache of package content: complete, verified trees by manifest digest. Which distribution point delivers
//! is asked just before content is fetched; one that fails or delivers other bytes is left for the next.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{runtime::Handle, sync::Mutex as AsyncMutex};

use super::{
    link::Link,
    run::ticket::TicketContent,
    unchanged::{self, Unchanged},
};
use crate::{
    content::{ContentError, Entry, Manifest, digest::Digest, durable, manifest::MAX_ENCODED_BYTES, tree, verify},
    transport::download::Download,
    wire::access::{BadContent, DP_FILE_PATH, DP_MANIFEST_PATH, PointRef},
};

/// Points tried for one content at a time: more of them would only be more that fail, each after its time.
const POINTS_MAX: usize = 16;
/// Complaints remembered, so that each is sent once; beyond it they are forgotten and may be sent again.
const COMPLAINTS_MAX: usize = 1_000;
/// Beginning of the names of trees that were moved out of the way of a new copy.
const OLD: &str = ".old-";
/// Beginning of the names of trees that are being built; see [`tree::install`].
const STAGING: &str = ".staging-";

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

/// Content that is here now.
#[derive(Debug)]
pub struct Fetched {
    /// Where.
    pub content: TicketContent,
    /// The point that delivered what was missing; `None` if it was here by now.
    pub point: Option<String>,
    /// Bytes of files that the point sent: what was here before, of another version, was not asked for.
    pub received_bytes: u64,
}

/// The cache.
pub struct Cache {
    directory: PathBuf,
    http: Mutex<reqwest::Client>,
    /// One fetch at a time for each content.
    fetching: Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>,
    complaints: Mutex<HashSet<(String, Digest)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// Opens the cache beneath the agent's state directory; `http` carries the client's certificate.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(state: &Path, http: reqwest::Client) -> io::Result<Self> {
        // Runs find their content by absolute paths.
        let directory = std::path::absolute(state)?.join("cache");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, http: Mutex::new(http), fetching: Mutex::default(), complaints: Mutex::default() })
    }

    /// Uses a renewed certificate from now on.
    pub fn replace_client(&self, http: reqwest::Client) {
        *locked(&self.http) = http;
    }

    /// The content if it is complete and sound here. Reads every byte, on another thread.
    pub async fn find(&self, content: &Digest) -> Option<TicketContent> {
        let (directory, content) = (self.directory.clone(), *content);
        tokio::task::spawn_blocking(move || find(&directory, &content)).await.ok().flatten()
    }

    /// Makes the content complete and sound here, from whichever point delivers it.
    ///
    /// # Errors
    /// [`CacheError`]; what was fetched so far is kept and continued next time.
    pub async fn fetch(&self, content: &Digest, link: &Link) -> Result<Fetched, CacheError> {
        let turn = locked(&self.fetching).entry(*content).or_default().clone();
        let held = turn.lock().await;
        let done = self.fetch_alone(content, link).await;
        drop(held);
        let mut fetching = locked(&self.fetching);
        if Arc::strong_count(&turn) == 2 {
            fetching.remove(content);
        }
        done
    }

    async fn fetch_alone(&self, content: &Digest, link: &Link) -> Result<Fetched, CacheError> {
        if let Some(content) = self.find(content).await {
            return Ok(Fetched { content, point: None, received_bytes: 0 });
        }
        let locations = link.locations(content).await;
        let (locations, said_by) = locations.map_err(|error| CacheError::Locations(error.to_string()))?;
        let mut last = CacheError::Nowhere;
        for point in locations.points.into_iter().take(POINTS_MAX) {
            match self.fetch_from(content, &point).await {
                Ok(found) => {
                    locked(&self.complaints).remove(&(point.name, *content));
                    return Ok(found);
                }
                // Another point would not help.
                Err(error @ CacheError::Disk(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(point = %point.name, %error, "a distribution point failed; trying the next");
                    if let CacheError::Mismatch { point } = &error {
                        self.complain(link, point.clone(), content).await;
                    }
                    last = error;
                }
            }
        }
        // Nobody signs where content is: another access point may know better.
        link.leave(&said_by);
        Err(last)
    }

    async fn complain(&self, link: &Link, point: String, content: &Digest) {
        let what = (point.clone(), *content);
        {
            let mut complaints = locked(&self.complaints);
            if complaints.len() >= COMPLAINTS_MAX {
                complaints.clear();
            }
            if !complaints.insert(what.clone()) {
                return;
            }
        }
        let complaint = BadContent { point, content: *content, file: None };
        if let Err(error) = link.bad_content(&complaint).await {
            tracing::warn!(%error, "a complaint about bad content was not delivered");
            locked(&self.complaints).remove(&what);
        }
    }

    async fn fetch_from(&self, content: &Digest, point: &PointRef) -> Result<Fetched, CacheError> {
        let source = Source {
            runtime: Handle::current(),
            http: locked(&self.http).clone(),
            point: point.clone(),
            content: *content,
            received_bytes: Arc::default(),
        };
        let (directory, name) = (self.directory.clone(), point.name.clone());
        let fetch = move || {
            let content = source.fetch(&directory)?;
            let received_bytes = source.received_bytes.load(Ordering::Relaxed);
            Ok(Fetched { content, point: Some(source.point.name), received_bytes })
        };
        let done = tokio::task::spawn_blocking(fetch).await;
        done.unwrap_or_else(|error| Err(CacheError::Failed { point: name, text: error.to_string() }))
    }

    /// Removes the oldest trees until all together are below the limit, and what interrupted work left; trees in `keep`
    /// stay. With `idle` nothing runs: then trees that were moved aside go too.
    ///
    /// # Errors
    /// If the cache cannot be read.
    pub fn trim(&self, limit_bytes: u64, keep: &[Digest], idle: bool) -> io::Result<()> {
        let mut trees: Vec<(SystemTime, Digest, u64)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let staged = name.strip_prefix(STAGING).and_then(|hex| Digest::from_hex(hex).ok());
            let abandoned =
                staged.is_some_and(|digest| !keep.contains(&digest) && !locked(&self.fetching).contains_key(&digest));
            if abandoned || (idle && name.starts_with(OLD)) {
                remove_tree(&entry.path())?;
                continue;
            }
            let Ok(digest) = Digest::from_hex(name) else { continue };
            let manifest = read_manifest(&self.directory, &digest);
            trees.push((entry.metadata()?.modified()?, digest, manifest.map_or(0, |manifest| manifest.size_bytes())));
        }
        trees.sort();
        let mut total: u64 = trees.iter().map(|(_, _, size_bytes)| size_bytes).sum();
        for (_, digest, size_bytes) in trees {
            if total <= limit_bytes {
                break;
            }
            if keep.contains(&digest) || locked(&self.fetching).contains_key(&digest) {
                continue;
            }
            remove_tree(&tree_path(&self.directory, &digest))?;
            let _ = fs::remove_file(manifest_path(&self.directory, &digest));
            total -= size_bytes;
        }
        Ok(())
    }
}

fn tree_path(directory: &Path, content: &Digest) -> PathBuf {
    directory.join(content.hex())
}

fn manifest_path(directory: &Path, content: &Digest) -> PathBuf {
    directory.join(format!("{}.json", content.hex()))
}

fn read_manifest(directory: &Path, content: &Digest) -> Option<Manifest> {
    let manifest = Manifest::decode(&fs::read(manifest_path(directory, content)).ok()?).ok()?;
    (manifest.digest() == *content).then_some(manifest)
}

fn find(directory: &Path, content: &Digest) -> Option<TicketContent> {
    let parsed = read_manifest(directory, content)?;
    let dir = tree_path(directory, content);
    let sound = dir.is_dir() && verify::verify_tree(&dir, &parsed).is_ok_and(|faults| faults.is_empty());
    let manifest = manifest_path(directory, content);
    // Again, for a crash may have come between the tree and its seal.
    let sealed = sound && seal(&dir, &parsed, tree::SEALED_MODE).is_ok();
    sealed.then_some(TicketContent { dir, manifest, manifest_digest: *content })
}

/// One content at one distribution point; used on threads that may block.
struct Source {
    runtime: Handle,
    http: reqwest::Client,
    point: PointRef,
    content: Digest,
    /// Bytes of files that came from the point.
    received_bytes: Arc<AtomicU64>,
}

/// A download that counts what comes.
struct Counted {
    download: Download,
    received_bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.download.read(buffer)?;
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl Source {
    fn failed(&self, error: &dyn std::error::Error) -> CacheError {
        // The cause is what helps: "connection refused" and not "error sending request".
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        CacheError::Failed { point: self.point.name.clone(), text }
    }

    fn mismatch(&self) -> CacheError {
        CacheError::Mismatch { point: self.point.name.clone() }
    }

    fn fetch(&self, directory: &Path) -> Result<TicketContent, CacheError> {
        let manifest = self.manifest()?;
        let (dir, path) = (tree_path(directory, &self.content), manifest_path(directory, &self.content));
        let bytes = manifest.encode().map_err(|error| self.failed(&error))?;
        let disk = |error: io::Error| CacheError::Disk(error.to_string());
        durable::replace(&path, &bytes, 0o644).map_err(disk)?;
        if dir.exists() {
            // Not sound, or it had been found. Something may still run in it: out of the way, not out of existence.
            fs::rename(&dir, directory.join(format!("{OLD}{}", uuid::Uuid::new_v4().simple()))).map_err(disk)?;
        }
        let known = |digest: &Digest| read_manifest(directory, digest);
        let unchanged = Unchanged::find(&manifest, unchanged::trees(directory, self.content, known).map_err(disk)?);
        let open = |entry: &Entry, offset: u64| {
            if let Some(file) = unchanged.open(entry, offset) {
                return Ok(Box::new(file) as Box<dyn Read>);
            }
            let url = format!("{}{DP_FILE_PATH}/{}/{}", self.point.url, self.content, entry.digest);
            let download = Download::open(&self.runtime, &self.http, &url, offset)?;
            Ok(Box::new(Counted { download, received_bytes: self.received_bytes.clone() }) as Box<dyn Read>)
        };
        tree::install(directory, &self.content.hex(), &manifest, &open).map_err(|error| match error {
            ContentError::Corrupt { .. } => self.mismatch(),
            ContentError::Fetch { source, .. } => self.failed(&source),
            other => CacheError::Disk(other.to_string()),
        })?;
        seal(&dir, &manifest, tree::SEALED_MODE).map_err(disk)?;
        Ok(TicketContent { dir, manifest: path, manifest_digest: self.content })
    }

    fn manifest(&self) -> Result<Manifest, CacheError> {
        let url = format!("{}{DP_MANIFEST_PATH}/{}", self.point.url, self.content);
        let download = Download::open(&self.runtime, &self.http, &url, 0).map_err(|error| self.failed(&error))?;
        let mut bytes = Vec::new();
        let limit = MAX_ENCODED_BYTES as u64 + 1;
        download.take(limit).read_to_end(&mut bytes).map_err(|error| self.failed(&error))?;
        let manifest = Manifest::decode(&bytes).map_err(|_| self.mismatch())?;
        if manifest.digest() == self.content { Ok(manifest) } else { Err(self.mismatch()) }
    }
}

/// Gives every directory of a tree this mode. What is sealed no program changes, unless it is root.
fn seal(dir: &Path, manifest: &Manifest, mode: u32) -> io::Result<()> {
    let mode = || fs::Permissions::from_mode(mode);
    fs::set_permissions(dir, mode())?;
    manifest.directories().iter().try_for_each(|inner| fs::set_permissions(dir.join(inner), mode()))
}

/// Removes a tree whose files are read-only, and whose directories may be.
fn remove_tree(path: &Path) -> io::Result<()> {
    match unseal(path).and_then(|()| fs::remove_dir_all(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Lets the owner write in every directory of a tree, also in one that is not as it was installed.
fn unseal(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(tree::DIRECTORY_MODE))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unseal(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
