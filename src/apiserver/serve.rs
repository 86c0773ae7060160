//! The server on a socket: TLS and the limits are those of every listener; the certificate says which user calls.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{access::User, call::Server};
use crate::transport::{
    limits::Limits,
    measure::measured,
    peer::{Identity, Peer},
    server,
    tls::ServerTls,
};

/// What differs from the listeners of devices.
fn limits() -> Limits {
    /// kubectl and controllers use a handful of connections each, mostly from one address.
    const CONNECTIONS_MAX: usize = 1024;
    /// kube multiplexes its watches on one connection.
    const STREAMS_MAX: u32 = 250;
    /// Watches do not end by themselves: they are cut.
    const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
    Limits {
        connections_max: CONNECTIONS_MAX,
        connections_per_address_max: CONNECTIONS_MAX,
        streams_max: STREAMS_MAX,
        drain_timeout: DRAIN_TIMEOUT,
        // Bodies are bounded where they are read (`body`), so that a refusal is a Kubernetes status.
        body_bytes_max: usize::MAX,
        ..Limits::default()
    }
}

/// Serves until `shutdown` is cancelled.
pub(super) async fn serve(server: Arc<Server>, listener: TcpListener, tls: ServerTls, shutdown: CancellationToken) {
    let router = measured("kubernetes-api", Router::new().fallback(answer).with_state(server));
    server::serve(listener, tls, router, limits(), Arc::new(|_| Ok(())), shutdown).await;
}

async fn answer(State(server): State<Arc<Server>>, peer: Peer, request: Request) -> Response {
    let user = match peer.identity {
        Identity::User(user) => Some(User::new(user.name, user.groups)),
        Identity::Device(_) | Identity::Anonymous => None,
    };
    server.handle(user, request).await
}
