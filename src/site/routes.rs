//! What distribution points and access points ask of their site. One function a route; who the caller is comes from
//! its certificate. Content goes out of the library by digest, with ranges, so that a copy resumes where it stopped.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Notify;

use super::{
    enrol::Enrolment,
    intake::Intake,
    points::Points,
    snapshot::{self, Snapshots},
};
use crate::{
    cap::{Refusal, Upstream},
    content::{digest::Digest, library::Library},
    db::records,
    transport::{file, peer::require_role},
    trust::identity::{PeerIdentity, Role},
    wire::{
        access::{
            ASSIGNMENT_PATH, BAD_CONTENT_BYTES_MAX, BadContent, HEARD_BYTES_MAX, HEARD_CLIENTS_MAX, Heard,
            LONG_POLL_SECS_MAX, RELAY_BAD_CONTENT_PATH, RELAY_HEARD_PATH, RELAY_INVENTORY_PATH, RELAY_STATUS_PATH,
            RENEW_PATH, REPORT_PATH, Relayed, SITE_FILE_PATH, SITE_MANIFEST_PATH, SITE_RECORD_PATH, SNAPSHOT_PATH,
        },
        enrol::{ENROL_REQUEST_BYTES_MAX, RenewRequest},
        inventory::{SIGNED_INVENTORY_BYTES_MAX, SignedInventory},
        status::{BATCH_BYTES_MAX, SignedBatch},
    },
};

/// A report names every version a point holds and carries a batch of messages.
pub(super) const REPORT_BYTES_MAX: usize = 64 << 20;
/// See `cap::routes`: JSON text in JSON text, and the wrapping of the relay.
const RELAYED_STATUS_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX + (128 << 10);

/// What an access point puts around what it passes on: the client's id.
const WRAPPING_BYTES_MAX: usize = 1 << 10;

/// What the routes work with.
#[derive(Clone)]
pub(super) struct SiteRoutes {
    /// What points should hold.
    pub points: Points,
    /// Takes in what devices leave.
    pub intake: Intake,
    /// The content library.
    pub library: Arc<Library>,
    /// What access points follow.
    pub snapshots: Snapshots,
    /// Clients hear of access points in their policy: told when one comes or moves.
    pub reevaluate: Arc<Notify>,
    /// Renews certificates.
    pub enrolment: Enrolment,
}

impl SiteRoutes {
    /// Routes for distribution points, for access points, and for everybody with a certificate.
    pub(super) fn router(self) -> Router {
        let points = Router::new()
            .route(ASSIGNMENT_PATH, get(assignment))
            .route(REPORT_PATH, post(report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
            .route(&format!("{SITE_MANIFEST_PATH}/{{digest}}"), get(manifest))
            .route(&format!("{SITE_FILE_PATH}/{{digest}}"), get(file));
        let access_points = Router::new()
            .route(SNAPSHOT_PATH, get(snapshot::serve))
            .route(&format!("{SITE_RECORD_PATH}/{{digest}}"), get(record))
            .route(RELAY_STATUS_PATH, post(relay_status).layer(DefaultBodyLimit::max(RELAYED_STATUS_BYTES_MAX)))
            .route(
                RELAY_INVENTORY_PATH,
                post(relay_inventory).layer(DefaultBodyLimit::max(SIGNED_INVENTORY_BYTES_MAX + WRAPPING_BYTES_MAX)),
            )
            .route(
                RELAY_BAD_CONTENT_PATH,
                post(relay_bad_content).layer(DefaultBodyLimit::max(BAD_CONTENT_BYTES_MAX + WRAPPING_BYTES_MAX)),
            )
            .route(RELAY_HEARD_PATH, post(relay_heard).layer(DefaultBodyLimit::max(HEARD_BYTES_MAX)));
        let everybody =
            Router::new().route(RENEW_PATH, post(renew).layer(DefaultBodyLimit::max(ENROL_REQUEST_BYTES_MAX)));
        let all = require_role(&[Role::Dp], points).merge(require_role(&[Role::Cap], access_points)).merge(everybody);
        all.with_state(self)
    }
}

#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait: u64,
}

/// How long a long poll waits that asks for so many seconds.
pub(super) fn patience(wait_secs: u64) -> Duration {
    Duration::from_secs(wait_secs.min(LONG_POLL_SECS_MAX))
}

pub(super) fn tag(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::IF_NONE_MATCH)?.to_str().ok().map(|tag| tag.trim_matches('"'))
}

pub(super) fn unavailable(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a request of a site system failed");
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

async fn assignment(
    State(site): State<SiteRoutes>,
    peer: PeerIdentity,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
) -> Response {
    let have = tag(&headers);
    match site.points.next(&peer.id, have, patience(wait.wait)).await {
        Ok(assignment) if have == Some(assignment.version.as_str()) => StatusCode::NOT_MODIFIED.into_response(),
        Ok(assignment) => ([(header::ETAG, format!("\"{}\"", assignment.version))], Json(assignment)).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn report(State(site): State<SiteRoutes>, peer: PeerIdentity, body: Bytes) -> Response {
    let report = match read(&body) {
        Ok(report) => report,
        Err(refusal) => return refusal.into_response(),
    };
    match site.intake.report(&peer.id, report).await {
        Ok(ack) => Json(ack).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn manifest(State(site): State<SiteRoutes>, Path(digest): Path<Digest>) -> Response {
    match tokio::task::spawn_blocking(move || site.library.manifest(&digest)).await {
        Ok(Ok(manifest)) => match manifest.encode() {
            Ok(bytes) => bytes.into_response(),
            Err(error) => unavailable(&error),
        },
        Ok(Err(error)) => not_found(&error),
        Err(error) => unavailable(&error),
    }
}

fn not_found<E: std::fmt::Display>(error: &E) -> Response {
    tracing::debug!(%error, "content that is not in the library was asked for");
    StatusCode::NOT_FOUND.into_response()
}

async fn file(State(site): State<SiteRoutes>, Path(digest): Path<Digest>, request: Request) -> Response {
    match site.library.open_blob(&digest) {
        Ok((blob, size_bytes)) => file::serve(blob, size_bytes, &digest, request.headers()),
        Err(error) => not_found(&error),
    }
}

async fn record(State(site): State<SiteRoutes>, Path(digest): Path<Digest>) -> Response {
    match site.points.database.read(move |connection| records::get(connection, &digest)).await {
        Ok(Some(row)) => Json(row.envelope).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn relay_status(State(site): State<SiteRoutes>, body: Bytes) -> Response {
    let Relayed { client, body }: Relayed<SignedBatch> = match read(&body) {
        Ok(relayed) => relayed,
        Err(refusal) => return refusal.into_response(),
    };
    match site.intake.status(client, body).await {
        Ok(ack) => Json(ack).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn relay_inventory(State(site): State<SiteRoutes>, body: Bytes) -> Response {
    let Relayed { client, body }: Relayed<SignedInventory> = match read(&body) {
        Ok(relayed) => relayed,
        Err(refusal) => return refusal.into_response(),
    };
    match site.intake.inventory(client, body).await {
        Ok(receipt) => Json(receipt).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn relay_bad_content(State(site): State<SiteRoutes>, body: Bytes) -> Response {
    let Relayed { client, body }: Relayed<BadContent> = match read(&body) {
        Ok(relayed) => relayed,
        Err(refusal) => return refusal.into_response(),
    };
    done(site.intake.bad_content(client, body).await)
}

async fn relay_heard(State(site): State<SiteRoutes>, body: Bytes) -> Response {
    match read::<Heard>(&body) {
        Ok(heard) if heard.clients.len() > HEARD_CLIENTS_MAX => {
            Refusal::Invalid(format!("more than {HEARD_CLIENTS_MAX} clients")).into_response()
        }
        Ok(heard) => done(site.intake.heard(heard).await),
        Err(refusal) => refusal.into_response(),
    }
}

async fn renew(State(site): State<SiteRoutes>, peer: PeerIdentity, body: Bytes) -> Response {
    let request: RenewRequest = match read(&body) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    match site.enrolment.renew(peer.role, &peer.id, &request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(response) => response,
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("the body cannot be read: {error}")))
}

fn done(outcome: Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
