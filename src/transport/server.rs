//! The accept loop of every listener: TLS, who calls, limits, and a graceful end. What a request means is the router's
//! business; who may call at all is asked of the site for each connection and each request.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::limit::RequestBodyLimitLayer;

use super::activity::{Activity, Verdict, held};
use super::admission::{Place, Places, network};
use super::body::PacedBody;
use super::limits::Limits;
use super::peer::{Identity, Peer, forbidden, turned_away};
use super::tls::ServerTls;
use crate::clock;
use crate::trust::identity::PeerIdentity;
use crate::wire::turned_away::TurnedAway;

/// Whether a device may (still) call, and if not, why. Asked often, so it must be quick and must not wait.
pub type Allowed = Arc<dyn Fn(&PeerIdentity) -> Result<(), TurnedAway> + Send + Sync>;

/// How often a running connection is judged: blocked, expired, idle. Requests are judged one by one besides.
const JUDGE_INTERVAL: Duration = Duration::from_secs(1);
/// A device that is turned away may ask so long after it has connected, and is told why.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors, say) the listener rests this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that acknowledges nothing for this long is gone; frees what a stalled download holds.
const UNACKNOWLEDGED_MS: u32 = 60_000;
/// HTTP/2 pings find peers that vanished without a word.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `router` over TLS until `shutdown` is cancelled and all connections have ended, at most
/// [`Limits::drain_timeout`] later. Every request carries a [`Peer`] extension.
pub async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
    limits: Limits,
    allowed: Allowed,
    shutdown: CancellationToken,
) {
    Front::new(Some(tls), router, limits, allowed, shutdown).accept(listener).await;
}

/// As [`serve`] without TLS, for health and metrics: every caller is anonymous, so nothing that matters belongs here.
pub async fn serve_plain(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    Front::new(None, router, limits, Arc::new(|_| Ok(())), shutdown).accept(listener).await;
}

/// One listener.
struct Front {
    tls: Option<ServerTls>,
    router: Router,
    limits: Limits,
    allowed: Allowed,
    all: Arc<Semaphore>,
    by_address: Arc<Places<IpAddr>>,
    by_device: Arc<Places<String>>,
    shutdown: CancellationToken,
    /// Cancelled when the time for a graceful end is over.
    cut: CancellationToken,
}

/// A connection's places among all and among those of its address; given back when it ends.
type Seats = (OwnedSemaphorePermit, Place<IpAddr>);

impl Front {
    fn new(
        tls: Option<ServerTls>,
        router: Router,
        limits: Limits,
        allowed: Allowed,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        // The limit of the listener replaces the library's own; a route may set a lower one inside.
        let router = router.layer(DefaultBodyLimit::disable()).layer(RequestBodyLimitLayer::new(limits.body_bytes_max));
        Arc::new(Self {
            tls,
            router,
            limits,
            allowed,
            all: Arc::new(Semaphore::new(limits.connections_max)),
            by_address: Places::new(limits.connections_per_address_max),
            by_device: Places::new(limits.connections_per_device_max),
            shutdown,
            cut: CancellationToken::new(),
        })
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => break,
            };
            match accepted {
                // A caller without a place is not answered: at this point that would cost more than it is worth.
                Ok((stream, addr)) => match self.seats(addr) {
                    Some(seats) => drop(connections.spawn(self.clone().connection(stream, addr, seats))),
                    None => tracing::debug!(%addr, "connection refused: too many"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(self.limits.drain_timeout, connections.wait()).await.is_err() {
            self.cut.cancel();
            connections.wait().await;
        }
    }

    fn seats(&self, addr: SocketAddr) -> Option<Seats> {
        Some((self.all.clone().try_acquire_owned().ok()?, self.by_address.take(network(addr.ip()))?))
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, addr: SocketAddr, _seats: Seats) {
        // Without these a connection is slower and a dead one is noticed later; no reason to refuse it.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS);
        let Some(tls) = &self.tls else {
            let peer = Peer { identity: Identity::Anonymous, addr };
            return self.talk(stream, peer).await;
        };
        let handshake = TlsAcceptor::from(tls.config.clone()).accept(stream);
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(self.limits.handshake_timeout, handshake) => handshake,
            () = self.shutdown.cancelled() => return,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%addr, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%addr, "TLS handshake took too long"),
        };
        let identity = match tls.identify(stream.get_ref().1.peer_certificates()) {
            Ok(identity) => identity,
            Err(error) => return tracing::debug!(%addr, %error, "connection refused"),
        };
        let _place = match identity.device() {
            Some(device) => match self.by_device.take(device.uri()) {
                Some(place) => Some(place),
                None => return tracing::debug!(%addr, device = device.uri(), "connection refused: too many"),
            },
            None => None,
        };
        if self.welcome(&identity) != Welcome::Expired {
            self.talk(stream, Peer { identity, addr }).await;
        }
    }

    /// Whether this caller may call now.
    fn welcome(&self, identity: &Identity) -> Welcome {
        if identity.expired(clock::now()) {
            return Welcome::Expired;
        }
        match identity.device().map(|device| (self.allowed)(device)) {
            Some(Err(why)) => Welcome::TurnedAway(why),
            Some(Ok(())) | None => Welcome::Yes,
        }
    }

    /// Speaks HTTP on an admitted connection until it ends.
    async fn talk<S>(self: &Arc<Self>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let addr = peer.addr;
        let told_until =
            matches!(self.welcome(&peer.identity), Welcome::TurnedAway(_)).then(|| Instant::now() + TOLD_WITHIN);
        let caller = Arc::new(Caller { front: self.clone(), peer, activity: Activity::new(), told_until });
        let answering = caller.clone();
        let service = service_fn(move |request| answering.clone().answer(request));
        let protocol = protocol(&self.limits);
        let mut connection = Box::pin(protocol.serve_connection(TokioIo::new(stream), service));
        let mut judge = tokio::time::interval(JUDGE_INTERVAL);
        let mut leaving_since: Option<Instant> = None;
        loop {
            let leave = tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%addr, error, "connection ended");
                    }
                    return;
                }
                () = self.cut.cancelled() => return,
                () = self.shutdown.cancelled(), if leaving_since.is_none() => true,
                _ = judge.tick() => match caller.judge() {
                    Verdict::Keep => false,
                    Verdict::Finish => true,
                    Verdict::Cut => return,
                },
            };
            match leaving_since {
                _ if !leave => {}
                None => {
                    leaving_since = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                // It was told to leave, and stays without asking for anything.
                Some(since) if since.elapsed() >= self.limits.drain_timeout => return,
                Some(_) => {}
            }
        }
    }
}

/// Whether a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Welcome {
    Yes,
    TurnedAway(TurnedAway),
    Expired,
}

/// The other end of one connection.
struct Caller {
    front: Arc<Front>,
    peer: Peer,
    activity: Arc<Activity>,
    /// Until when it is told why it is turned away; `None` if it was welcome when it connected, and has heard enough.
    told_until: Option<Instant>,
}

impl Caller {
    fn judge(&self) -> Verdict {
        match self.front.welcome(&self.peer.identity) {
            Welcome::Yes => self.activity.verdict(&self.front.limits),
            Welcome::TurnedAway(_) if self.told_until.is_some_and(|until| Instant::now() < until) => Verdict::Keep,
            Welcome::TurnedAway(_) | Welcome::Expired => Verdict::Cut,
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let in_progress = self.activity.begin();
        match self.front.welcome(&self.peer.identity) {
            Welcome::Yes => {}
            Welcome::TurnedAway(why) => return Ok(turned_away(why)),
            Welcome::Expired => return Ok(forbidden("this certificate has expired")),
        }
        let mut request = request.map(|body| Body::new(PacedBody::new(body, &self.front.limits)));
        request.extensions_mut().insert(self.peer.clone());
        let response = self.front.router.clone().oneshot(request).await?;
        Ok(held(response, in_progress))
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.header_fields_max)
        .max_buf_size(limits.header_bytes_max as usize);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes_max)
        .max_concurrent_streams(limits.streams_max)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    protocol
}
