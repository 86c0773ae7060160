//! Listeners and clients on the loopback interface with real certificates: nothing here is simulated. This file holds the
//! small site that the tests in the files beside it talk to.

mod endings;
mod handshakes;
mod limits;
mod pace;
mod roles;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::client::{Listener, Timeouts, device_client, enrolment_client};
use super::limits::Limits;
use super::peer::{Identity, Peer};
use super::server::{Allowed, serve};
use super::tls::{ServerTls, ServingCertificate};
use crate::clock;
use crate::trust::ca::{CertificateAuthority, Grant, IDENTITY_LIFETIME};
use crate::trust::device::DeviceKey;
use crate::trust::identity::{PeerIdentity, Role, certificates};
use crate::trust::names::ServerNames;

/// A site with a device authority and a listener's certificate for 127.0.0.1.
struct Site {
    ca: CertificateAuthority,
    certificate: Arc<ServingCertificate>,
}

/// A key with its certificate.
struct Device {
    key: DeviceKey,
    chain_pem: String,
}

/// A listener that ends when it is dropped.
struct Running {
    addr: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.addr)
    }
}

fn names(names: &[&str]) -> ServerNames {
    ServerNames::parse(names).unwrap()
}

impl Site {
    fn new() -> Self {
        let ca = CertificateAuthority::create("Waybill devices", clock::now()).unwrap();
        let key = DeviceKey::generate().unwrap();
        let issued = ca.issue_serving(&key, &names(&["127.0.0.1"]), clock::now()).unwrap();
        let certificate = ServingCertificate::new(&issued.chain_pem, &key).unwrap();
        Self { ca, certificate }
    }

    fn device(&self, role: Role, id: &str) -> Device {
        self.device_living(role, id, clock::now(), IDENTITY_LIFETIME)
    }

    fn device_living(&self, role: Role, id: &str, from: jiff::Timestamp, lifetime: Duration) -> Device {
        let key = DeviceKey::generate().unwrap();
        let names = if role.serves_clients() { names(&["127.0.0.1"]) } else { ServerNames::default() };
        let grant = Grant { site_id: "hq", role, id, names: &names, lifetime };
        let chain_pem = self.ca.issue_identity(&key.csr_pem().unwrap(), &grant, from).unwrap().chain_pem;
        Device { key, chain_pem }
    }

    fn devices(&self) -> ServerTls {
        ServerTls::devices(self.certificate.clone(), self.ca.certificate_pem()).unwrap()
    }

    /// A device's client for the listeners of this site.
    fn client(&self, device: &Device) -> reqwest::Client {
        self.client_for(device, Listener::Site)
    }

    fn client_for(&self, device: &Device, listener: Listener) -> reqwest::Client {
        let timeouts = Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(20) };
        device_client(&device.key, &device.chain_pem, self.ca.certificate_pem(), listener, timeouts).unwrap()
    }

    fn joining(&self) -> reqwest::Client {
        enrolment_client(self.ca.fingerprint(), Timeouts::default()).unwrap()
    }
}

/// Says who calls, takes bodies, and streams without an end.
fn router() -> Router {
    Router::new()
        .route("/whoami", get(whoami))
        .route("/length", post(async |body: bytes::Bytes| body.len().to_string()))
        .route("/endless", get(endless))
        .route("/slow", get(slow))
}

async fn whoami(peer: Peer) -> String {
    match peer.identity {
        Identity::Device(device) => device.uri(),
        Identity::User(user) => format!("{} of {}", user.name, user.groups.join(", ")),
        Identity::Anonymous => "anonymous".into(),
    }
}

async fn endless() -> axum::body::Body {
    let ticks = futures::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(b"tick\n")), ()))
    });
    axum::body::Body::from_stream(ticks)
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(700)).await;
    "done"
}

fn everybody() -> Allowed {
    Arc::new(|_: &PeerIdentity| Ok(()))
}

async fn start(tls: ServerTls, limits: Limits) -> Running {
    start_with(tls, router(), limits, everybody()).await
}

async fn start_with(tls: ServerTls, router: Router, limits: Limits, allowed: Allowed) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(serve(listener, tls, router, limits, allowed, shutdown.clone()));
    Running { addr, shutdown, task }
}

/// The text of a successful answer.
async fn text(client: &reqwest::Client, url: String) -> String {
    client.get(url).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

/// A TLS connection below HTTP, to look at and to misbehave with.
async fn raw(
    site: &Site,
    device: Option<&Device>,
    running: &Running,
    adjust: impl FnOnce(&mut rustls::ClientConfig),
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    raw_speaking(site, device, running, rustls::ALL_VERSIONS, adjust).await
}

async fn raw_speaking(
    site: &Site,
    device: Option<&Device>,
    running: &Running,
    versions: &[&'static rustls::SupportedProtocolVersion],
    adjust: impl FnOnce(&mut rustls::ClientConfig),
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(site.ca.certificate_der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match device {
        Some(device) => {
            builder.with_client_auth_cert(certificates(&device.chain_pem).unwrap(), device.key.to_tls()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    adjust(&mut config);
    let stream = TcpStream::connect(running.addr).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
