//! HTTP clients of a site: for a device that has its certificate, and for a machine that only has a join file. Retries,
//! and what is asked for, are the caller's business; a client is rebuilt when its certificate was renewed.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;

pub use super::verify::Listener;
use super::verify::SiteVerifier;
use crate::content::Digest;
use crate::trust::device::DeviceKey;
use crate::trust::identity::{IdentityError, certificates};

/// How long a client waits. A request's own total limit is set on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection including TLS.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub read: Duration,
}

impl Default for Timeouts {
    /// 10 s to connect. 330 s to read: a long poll takes up to 300 s (`wire::access`).
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), read: Duration::from_secs(330) }
    }
}

/// Shorter than the server's idle limit, so that a client does not send into a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// Finds out that a server is gone while a long poll waits.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes under way in one download: 2 MiB fill a line of 160 Mbit/s at 100 ms.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// For several downloads at once: four.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;

/// A client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate in the device's state is not readable.
    #[error("the stored certificate is not usable: join again with a new join file")]
    Certificate(#[from] IdentityError),
    /// Key and certificate do not belong together, or TLS refuses them.
    #[error("key and certificate cannot be used for TLS: join again with a new join file")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refuses the configuration.
    #[error("the HTTP client could not be set up")]
    Http(#[from] reqwest::Error),
}

/// A client that shows the certificate of `chain_pem` (with `key`) and talks to `listener` of the site whose device
/// authority is `ca_pem`, to nobody else. No proxy, no redirect, TLS 1.3 only, no session resumption.
///
/// # Errors
/// [`ClientError`].
pub fn device_client(
    key: &DeviceKey,
    chain_pem: &str,
    ca_pem: &str,
    listener: Listener,
    timeouts: Timeouts,
) -> Result<reqwest::Client, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authority = certificates(ca_pem)?.swap_remove(0);
    let verifier = SiteVerifier::trusting(authority, listener, provider.clone())?;
    let config = tls13(provider, verifier)?.with_client_auth_cert(certificates(chain_pem)?, key.to_tls())?;
    build(config, timeouts)
}

/// A client for joining: it has no certificate, and talks only to a server that presents the authority of that digest
/// (SHA-256 of the certificate's DER) and proves, with a certificate of it, to be a listener of the site itself.
///
/// # Errors
/// [`ClientError`].
pub fn enrolment_client(ca_sha256: Digest, timeouts: Timeouts) -> Result<reqwest::Client, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = SiteVerifier::pinning(ca_sha256, provider.clone());
    build(tls13(provider, verifier)?.with_no_client_auth(), timeouts)
}

type Unfinished = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn tls13(provider: Arc<CryptoProvider>, verifier: SiteVerifier) -> Result<Unfinished, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        // "Dangerous" is the library's word for any verifier but its own; ours calls its own and then asks for more.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn build(mut config: ClientConfig, timeouts: Timeouts) -> Result<reqwest::Client, ClientError> {
    super::install_crypto();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        // A proxy from somebody's environment has no business between a device and its site.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(client.build()?)
}
