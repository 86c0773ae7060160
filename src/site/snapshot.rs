//! The policy snapshot as access points fetch it: by long poll, compressed, encoded once however many they are. Who asks
//! says where clients reach it, and is noted as alive.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    access_points,
    routes::{SiteRoutes, patience, tag, unavailable},
};
use crate::{
    cap::{Refusal, encoded},
    content::digest::Digest,
    trust::identity::PeerIdentity,
    wire::access::Snapshot,
};

/// What access points follow.
#[derive(Clone)]
pub(super) struct Snapshots {
    current: watch::Receiver<Option<Arc<Snapshot>>>,
    encoded: Arc<Mutex<Option<Encoded>>>,
}

/// A snapshot as it travels.
#[derive(Clone)]
struct Encoded {
    of: Arc<Snapshot>,
    tag: String,
    compressed: Bytes,
}

impl Snapshots {
    pub(super) fn new(current: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        Self { current, encoded: Arc::default() }
    }

    /// The encoded form, made by the first who asks for it. Blocks.
    fn encode(&self, snapshot: &Arc<Snapshot>) -> io::Result<Encoded> {
        // Others wait for it instead of doing the same.
        let mut known = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoded) = known.as_ref().filter(|encoded| Arc::ptr_eq(&encoded.of, snapshot)) {
            return Ok(encoded.clone());
        }
        let json = serde_json::to_vec(&**snapshot)?;
        let encoded = Encoded {
            of: snapshot.clone(),
            tag: Digest::of(&json).short().to_owned(),
            compressed: encoded::encode(&json)?.into(),
        };
        *known = Some(encoded.clone());
        Ok(encoded)
    }
}

/// Asked by an access point, which tells where clients reach it.
#[derive(Deserialize)]
pub(super) struct SnapshotQuery {
    #[serde(default)]
    wait: u64,
    url: Option<String>,
}

pub(super) async fn serve(
    State(site): State<SiteRoutes>,
    peer: PeerIdentity,
    Query(SnapshotQuery { wait, url }): Query<SnapshotQuery>,
    headers: HeaderMap,
) -> Response {
    if let Some(url) = url {
        if !url.starts_with("https://") || url.len() > access_points::URL_BYTES_MAX {
            return Refusal::Invalid("the access point's url is no https URL".to_owned()).into_response();
        }
        match access_points::note(&site.points.database, &peer.id, &url).await {
            Ok(true) => site.reevaluate.notify_one(),
            Ok(false) => {}
            Err(error) => return unavailable(&error),
        }
    }
    let have = tag(&headers);
    let deadline = tokio::time::Instant::now() + patience(wait);
    let mut current = site.snapshots.current.clone();
    loop {
        let snapshot = current.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            let snapshots = site.snapshots.clone();
            let encoded = match tokio::task::spawn_blocking(move || snapshots.encode(&snapshot)).await {
                Ok(Ok(encoded)) => encoded,
                Ok(Err(error)) => return unavailable(&error),
                Err(error) => return unavailable(&error),
            };
            if have != Some(encoded.tag.as_str()) {
                return answer(&encoded, &headers);
            }
        }
        match tokio::time::timeout_at(deadline, current.changed()).await {
            Ok(Ok(())) => {}
            Err(_) => return StatusCode::NOT_MODIFIED.into_response(),
            // This process is ending.
            Ok(Err(_)) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

fn answer(encoded: &Encoded, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_accepted = accepted.split(',').any(|one| one.trim() == encoded::ENCODING);
    let about = [(header::ETAG, format!("\"{}\"", encoded.tag)), (header::CONTENT_TYPE, "application/json".into())];
    if is_accepted {
        return (about, [(header::CONTENT_ENCODING, encoded::ENCODING)], encoded.compressed.clone()).into_response();
    }
    match serde_json::to_vec(&*encoded.of) {
        Ok(json) => (about, json).into_response(),
        Err(error) => unavailable(&error),
    }
}
