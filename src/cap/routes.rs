//! How clients talk to an access point: one function a route, decode, ask, encode. Who the caller is comes from its
//! certificate and nowhere else.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{Cap, Refusal, published::Poll};
use crate::{
    clock,
    content::digest::Digest,
    transport::peer::require_role,
    trust::identity::{PeerIdentity, Role},
    wire::{
        access::{
            BAD_CONTENT_BYTES_MAX, BAD_CONTENT_PATH, BadContent, INVENTORY_PATH, LOCATIONS_PATH, LONG_POLL_SECS_MAX,
            POLICY_PATH, RECORD_PATH, STATUS_PATH,
        },
        inventory::{SIGNED_INVENTORY_BYTES_MAX, SignedInventory},
        status::{BATCH_BYTES_MAX, SignedBatch},
    },
};

/// A signed batch is JSON text within JSON text: escapes at most double it, and the certificate comes along.
const STATUS_BODY_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX + (64 << 10);

/// The routes, for clients only.
pub fn router(cap: Cap) -> Router {
    let routes = Router::new()
        .route(POLICY_PATH, get(policy))
        .route(&format!("{RECORD_PATH}/{{digest}}"), get(record))
        .route(&format!("{LOCATIONS_PATH}/{{digest}}"), get(locations))
        .route(STATUS_PATH, post(status).layer(DefaultBodyLimit::max(STATUS_BODY_BYTES_MAX)))
        .route(INVENTORY_PATH, post(inventory).layer(DefaultBodyLimit::max(SIGNED_INVENTORY_BYTES_MAX)))
        .route(BAD_CONTENT_PATH, post(bad_content).layer(DefaultBodyLimit::max(BAD_CONTENT_BYTES_MAX)));
    require_role(&[Role::Client], routes).with_state(cap)
}

#[derive(Deserialize)]
struct Wait {
    /// Seconds to wait for a change.
    #[serde(default)]
    wait: u64,
}

async fn policy(
    State(cap): State<Cap>,
    peer: PeerIdentity,
    Query(Wait { wait }): Query<Wait>,
    headers: HeaderMap,
) -> Response {
    let tag = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait.min(LONG_POLL_SECS_MAX));
    let permit = cap.long_polls.clone().try_acquire_owned();
    let mut published = cap.published.clone();
    cap.heard.note(&peer.id, false, tokio::time::Instant::now());
    loop {
        let answer = published.borrow_and_update().poll(&peer.id, tag, clock::now());
        let otherwise = match answer {
            Poll::Changed(answer, tag) => {
                cap.heard.note(&peer.id, true, tokio::time::Instant::now());
                return ([(header::ETAG, tag)], Json(answer)).into_response();
            }
            Poll::Unchanged => StatusCode::NOT_MODIFIED,
            Poll::Unknown => StatusCode::NOT_FOUND,
        };
        if permit.is_err() {
            return otherwise.into_response();
        }
        match tokio::time::timeout_at(deadline, published.changed()).await {
            Ok(Ok(())) => {}
            Err(_) => return otherwise.into_response(),
            // This process is ending. An early answer of another kind would send the client to sleep.
            Ok(Err(_)) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

async fn record(
    State(cap): State<Cap>,
    peer: PeerIdentity,
    Path(digest): Path<Digest>,
) -> Result<Response, StatusCode> {
    let published = cap.published.borrow().clone();
    let envelope = published.record(&peer.id, &digest).ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CACHE_CONTROL, "max-age=31536000, immutable")], Json(envelope)).into_response())
}

async fn locations(State(cap): State<Cap>, peer: PeerIdentity, Path(digest): Path<Digest>) -> Response {
    Json(cap.published.borrow().locations(&peer.id, &digest)).into_response()
}

async fn status(State(cap): State<Cap>, peer: PeerIdentity, body: Bytes) -> Response {
    let batch: SignedBatch = match read(&body) {
        Ok(batch) => batch,
        Err(refusal) => return refusal.into_response(),
    };
    match cap.upstream.status(peer.id, batch).await {
        Ok(ack) => Json(ack).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn inventory(State(cap): State<Cap>, peer: PeerIdentity, body: Bytes) -> Response {
    let inventory: SignedInventory = match read(&body) {
        Ok(inventory) => inventory,
        Err(refusal) => return refusal.into_response(),
    };
    match cap.upstream.inventory(peer.id, inventory).await {
        Ok(receipt) => Json(receipt).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn bad_content(State(cap): State<Cap>, peer: PeerIdentity, body: Bytes) -> Response {
    let complaint: BadContent = match read(&body) {
        Ok(complaint) => complaint,
        Err(refusal) => return refusal.into_response(),
    };
    done(cap.upstream.bad_content(peer.id, complaint).await)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("the body cannot be read: {error}")))
}

fn done(outcome: Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match &self {
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, self.to_string()).into_response()
    }
}
