//! Which routes are open to which devices, and how blocking one takes effect.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use futures::StreamExt as _;

use super::*;
use crate::transport::answer;
use crate::transport::peer::require_role;
use crate::wire::turned_away::TurnedAway;

fn guarded() -> Router {
    let for_clients = Router::new().route("/policy", get(async |device: PeerIdentity| device.id));
    let for_points = Router::new().route("/assignment", get(async |device: PeerIdentity| device.id));
    let for_both = Router::new().route("/renew", get(async |device: PeerIdentity| device.id));
    require_role(&[Role::Client], for_clients)
        .merge(require_role(&[Role::Dp], for_points))
        .merge(require_role(&[Role::Client, Role::Dp], for_both))
        .route("/open", get(async |device: PeerIdentity| device.id))
}

async fn status(client: &reqwest::Client, url: String) -> StatusCode {
    client.get(url).send().await.unwrap().status()
}

#[tokio::test]
async fn a_route_is_for_its_roles_only() {
    let site = Site::new();
    let running = start_with(site.devices(), guarded(), Limits::default(), everybody()).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let point = site.client(&site.device(Role::Dp, "dp-1"));
    let cap = site.client(&site.device(Role::Cap, "cap-1"));
    let forbidden = StatusCode::FORBIDDEN;
    for (path, expected) in [
        ("/policy", [StatusCode::OK, forbidden, forbidden]),
        ("/assignment", [forbidden, StatusCode::OK, forbidden]),
        ("/renew", [StatusCode::OK, StatusCode::OK, forbidden]),
        ("/nothing", [StatusCode::NOT_FOUND; 3]),
    ] {
        let answers = [
            status(&client, running.url(path)).await,
            status(&point, running.url(path)).await,
            status(&cap, running.url(path)).await,
        ];
        assert_eq!(answers, expected, "{path}");
    }
    assert_eq!(text(&client, running.url("/policy")).await, "c-1");
}

#[tokio::test]
async fn nobody_passes_a_guard_without_a_certificate() {
    let site = Site::new();
    let tls = ServerTls::kubernetes(site.certificate.clone(), site.ca.certificate_pem()).unwrap();
    let running = start_with(tls, guarded(), Limits::default(), everybody()).await;
    for path in ["/policy", "/open"] {
        assert_eq!(status(&site.joining(), running.url(path)).await, StatusCode::FORBIDDEN, "{path}");
    }
    // Over a listener for users, a device's certificate is a certificate without a user.
    let device = site.client(&site.device(Role::Client, "c-1"));
    assert!(device.get(running.url("/policy")).send().await.is_err());
}

#[tokio::test]
async fn blocking_acts_on_requests_streams_and_new_connections() {
    let site = Site::new();
    let blocked = Arc::new(AtomicBool::new(false));
    let asked = blocked.clone();
    let allowed: Allowed =
        Arc::new(
            move |device| {
                if device.id == "c-1" && asked.load(Ordering::SeqCst) { Err(TurnedAway::Blocked) } else { Ok(()) }
            },
        );
    let running = start_with(site.devices(), router(), Limits::default(), allowed).await;
    let (device, other) = (site.device(Role::Client, "c-1"), site.client(&site.device(Role::Client, "c-2")));
    let client = site.client(&device);

    let mut stream = client.get(running.url("/endless")).send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    blocked.store(true, Ordering::SeqCst);

    let next = client.get(running.url("/whoami")).send().await;
    assert!(next.is_err() || next.unwrap().status() == StatusCode::FORBIDDEN);
    let ended = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the stream is cut");
    let again = site.client(&device).get(running.url("/whoami")).send().await.unwrap();
    assert_eq!(answer::turned_away(&again), Some(TurnedAway::Blocked), "a new connection is told why, and no more");
    assert!(again.text().await.unwrap().contains("administrators have blocked it"));
    assert_eq!(text(&other, running.url("/whoami")).await, "waybill://hq/client/c-2");

    blocked.store(false, Ordering::SeqCst);
    assert_eq!(text(&client, running.url("/whoami")).await, "waybill://hq/client/c-1", "unblocked");
}
