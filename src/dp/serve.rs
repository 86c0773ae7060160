//! What clients fetch from a distribution point: manifests and files of versions they may read, by digest, with ranges
//! and entity tags. What is not complete, or under repair, is not served.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::engine::Shared;
use crate::{
    content::{ContentError, Digest, SafePath, beneath::Dir, drive::manifest_beside, manifest::Manifest},
    transport::{file, peer::require_role},
    trust::identity::{PeerIdentity, Role},
    wire::access::{DP_FILE_PATH, DP_MANIFEST_PATH},
};

/// Manifests whose files are found without reading them again; the largest takes some 20 MB.
const INDEXES_MAX: usize = 16;

/// Where the files of a version lie, by digest.
struct Index {
    manifest: Vec<u8>,
    files: HashMap<Digest, (SafePath, u64)>,
}

/// The indexes in memory. A manifest never changes, so they only go when others need the room.
#[derive(Default)]
pub(super) struct Indexes(Mutex<HashMap<Digest, Arc<Index>>>);

impl Indexes {
    fn get(&self, content: &Digest, directory: &Path) -> Result<Arc<Index>, ContentError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(content).cloned();
        if let Some(index) = known {
            return Ok(index);
        }
        let path = manifest_beside(directory);
        let manifest = std::fs::read(&path).map_err(ContentError::io("read", &path))?;
        if Digest::of(&manifest) != *content {
            return Err(ContentError::Corrupt { path, expected: *content });
        }
        let decoded =
            Manifest::decode(&manifest).map_err(|source| ContentError::Manifest { path: path.clone(), source })?;
        let entries = decoded.entries().iter();
        let files = entries.map(|entry| (entry.digest, (entry.path.clone(), entry.size_bytes))).collect();
        let index = Arc::new(Index { manifest, files });
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= INDEXES_MAX {
            known.clear();
        }
        known.insert(*content, index.clone());
        Ok(index)
    }
}

/// The routes, for clients only.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let routes = Router::new()
        .route(&format!("{DP_MANIFEST_PATH}/{{content}}"), get(manifest))
        .route(&format!("{DP_FILE_PATH}/{{content}}/{{file}}"), get(file_of_version));
    require_role(&[Role::Client], routes).with_state(shared)
}

/// The directory of a version that this client may read and that is complete.
fn admitted(shared: &Shared, client: &str, content: &Digest) -> Result<PathBuf, (StatusCode, &'static str)> {
    let catalog = shared.catalog();
    if !catalog.may_read(client, content) {
        return Err((StatusCode::FORBIDDEN, "no offer of yours names this content\n"));
    }
    let directory = catalog.served(content).map(PathBuf::from);
    directory.ok_or((StatusCode::NOT_FOUND, "not complete here\n"))
}

async fn manifest(
    State(shared): State<Arc<Shared>>,
    peer: PeerIdentity,
    UrlPath(content): UrlPath<Digest>,
) -> Response {
    let directory = match admitted(&shared, &peer.id, &content) {
        Ok(directory) => directory,
        Err(refusal) => return refusal.into_response(),
    };
    let reading = shared.clone();
    let indexed = tokio::task::spawn_blocking(move || reading.indexes.get(&content, &directory)).await;
    match indexed {
        Ok(Ok(index)) => ([(header::ETAG, format!("\"{content}\""))], index.manifest.clone()).into_response(),
        Ok(Err(error)) => {
            shared.suspect(&content);
            unwell(&error)
        }
        Err(error) => unwell(&error),
    }
}

async fn file_of_version(
    State(shared): State<Arc<Shared>>,
    peer: PeerIdentity,
    UrlPath((content, digest)): UrlPath<(Digest, Digest)>,
    headers: HeaderMap,
) -> Response {
    let directory = match admitted(&shared, &peer.id, &content) {
        Ok(directory) => directory,
        Err(refusal) => return refusal.into_response(),
    };
    if shared.catalog().is_bad(&digest) {
        return (StatusCode::SERVICE_UNAVAILABLE, "under repair\n").into_response();
    }
    let reading = shared.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let index = reading.indexes.get(&content, &directory)?;
        let Some((path, size_bytes)) = index.files.get(&digest) else { return Ok(None) };
        open_whole(&directory, path, *size_bytes).map(|file| Some((file, *size_bytes)))
    });
    match opened.await {
        Ok(Ok(Some((open, size_bytes)))) => file::serve(open, size_bytes, &digest, &headers),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) => {
            shared.suspect(&content);
            unwell(&error)
        }
        Err(error) => unwell(&error),
    }
}

/// Opens a file of a version, if it has the size it should have.
fn open_whole(directory: &Path, path: &SafePath, size_bytes: u64) -> Result<File, ContentError> {
    let open = || {
        let file = Dir::open(directory)?.file(path.as_path())?;
        let found_bytes = file.metadata()?.len();
        if found_bytes == size_bytes {
            return Ok(file);
        }
        Err(std::io::Error::other(format!("it has {found_bytes} bytes instead of {size_bytes}")))
    };
    open().map_err(ContentError::io::<std::io::Error>("serve", path.below(directory)))
}

fn unwell(error: &dyn std::error::Error) -> Response {
    tracing::warn!(error = %crate::model::causes::chain(error), "content that should be here cannot be served");
    (StatusCode::SERVICE_UNAVAILABLE, "not well here; try another distribution point\n").into_response()
}
