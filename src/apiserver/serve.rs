//! The server on a socket: TLS, who the client is by its certificate, and limits on what a connection may cost.

use std::{future::Future, sync::Arc, time::Duration};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{access::User, call::Server};

/// Connections at a time. kubectl and controllers use a handful each.
const CONNECTIONS_MAX: usize = 1024;

/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one request's head.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Header fields of one HTTP/1 request.
const HEADER_FIELDS_MAX: usize = 64;

/// Requests at a time on one HTTP/2 connection: kube multiplexes its watches on one.
const STREAMS_MAX: u32 = 250;

/// Time that running requests have to end when the server stops; watches are cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after a failed accept, so that being out of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is done.
pub(super) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // beyond the limit a connection is closed at once: waiting would hide the overload
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "too many connections");
            continue;
        };
        let (server, acceptor, stopping) = (server.clone(), acceptor.clone(), stopping.clone());
        connections.spawn(async move {
            connection(server, acceptor, socket, stopping).await;
            drop(place);
        });
    }
    drop(listener);
    stopping.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, socket: TcpStream, stopping: CancellationToken) {
    // small answers leave at once
    let _ = socket.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS handshake"),
        Err(_) => return tracing::debug!("the TLS handshake took too long"),
    };
    let user = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(user_of);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let (server, user) = (server.clone(), user.clone());
        async move { Ok::<_, std::convert::Infallible>(server.handle(user, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(HEADER_BYTES_MAX.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(HEADER_TIMEOUT * 3));
    let io = TokioIo::new(stream);
    let mut running = std::pin::pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = running.as_mut() => ended,
        () = stopping.cancelled() => {
            running.as_mut().graceful_shutdown();
            running.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// The user of a verified client certificate: CN is the name, every O a group.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = certificate.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(User::new(name, groups))
}
