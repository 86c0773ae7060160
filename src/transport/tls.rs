//! The TLS side of the listeners: which certificate is presented, and which callers are let in. TLS 1.3 only, and no
//! session resumption, so that every connection is judged afresh and none carries over from one listener to another.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::authorities::CallersAuthorities;
use super::peer::Identity;
use crate::trust::device::DeviceKey;
use crate::trust::identity::{IdentityError, PeerIdentity, UserIdentity, certificates};

/// A listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate is not readable.
    #[error("the listener's certificate or authority is not usable")]
    Certificate(#[from] IdentityError),
    /// TLS refuses key, certificate or authority.
    #[error("the listener's key and certificate cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// The authority for client certificates cannot be used.
    #[error("the authority for client certificates cannot be used")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// The certificate that a listener presents. It may be replaced at any time; new connections get the new one.
pub struct ServingCertificate(RwLock<Arc<CertifiedKey>>);

impl ServingCertificate {
    /// Presents the chain (`Issued::chain_pem`: the certificate and its authority's) with its key.
    ///
    /// # Errors
    /// [`TlsError`], also if key and certificate do not belong together.
    pub fn new(chain_pem: &str, key: &DeviceKey) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(chain_pem, key)?))))
    }

    /// Presents another chain from now on.
    ///
    /// # Errors
    /// As [`ServingCertificate::new`]; the old one then stays.
    pub fn replace(&self, chain_pem: &str, key: &DeviceKey) -> Result<(), TlsError> {
        let next = certified(chain_pem, key)?;
        // The guarded value is one pointer: a panic elsewhere cannot have left it half written.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServingCertificate")
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(chain_pem: &str, key: &DeviceKey) -> Result<Arc<CertifiedKey>, TlsError> {
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(certificates(chain_pem)?, key.to_tls(), &provider)?;
    certified.keys_match()?;
    Ok(Arc::new(certified))
}

/// Whose certificates a listener asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callers {
    Devices,
    Anybody,
    /// Of the Kubernetes API.
    Users,
    /// The API server of a cluster, which hands on what users want.
    Proxy,
}

/// A listener's TLS configuration, and how it reads the callers' certificates.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    callers: Callers,
}

impl ServerTls {
    /// For devices: without a certificate of the device authority `ca_pem` there is no connection.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn devices(certificate: Arc<ServingCertificate>, ca_pem: &str) -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider.clone()).build()?;
        let config = tls13(&provider)?.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
        Ok(Self::finish(config, Callers::Devices))
    }

    /// For machines that want to join, and users who show a token with each request: no client certificate is asked for.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn anybody(certificate: Arc<ServingCertificate>) -> Result<Self, TlsError> {
        let config = tls13(&provider())?.with_no_client_auth().with_cert_resolver(certificate);
        Ok(Self::finish(config, Callers::Anybody))
    }

    /// For users of the Kubernetes API: a certificate of the API's authority `ca_pem` names the user, and without one
    /// the caller is anonymous. A certificate of any other authority gets no connection.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn kubernetes(certificate: Arc<ServingCertificate>, ca_pem: &str) -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider.clone())
            .allow_unauthenticated()
            .build()?;
        let config = tls13(&provider)?.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
        Ok(Self::finish(config, Callers::Users))
    }

    /// For the API server of a cluster alone, which hands on what its users want: without a certificate of these authorities
    /// there is no connection.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn front_proxy(
        certificate: Arc<ServingCertificate>,
        authorities: Arc<CallersAuthorities>,
    ) -> Result<Self, TlsError> {
        let config = tls13(&provider())?.with_client_cert_verifier(authorities).with_cert_resolver(certificate);
        Ok(Self::finish(config, Callers::Proxy))
    }

    fn finish(mut config: ServerConfig, callers: Callers) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self { config: Arc::new(config), callers }
    }

    /// Who the caller is, from the chain that TLS has verified.
    pub(super) fn identify(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Identity, IdentityError> {
        match (self.callers, chain.and_then(<[_]>::first)) {
            (Callers::Devices, Some(certificate)) => PeerIdentity::from_certificate(certificate).map(Identity::Device),
            (Callers::Users | Callers::Proxy, Some(certificate)) => {
                UserIdentity::from_certificate(certificate).map(Identity::User)
            }
            // The handshake has refused these already; refused here too, whatever the library does one day.
            (Callers::Devices, None) => Err(IdentityError::NotADevice),
            (Callers::Proxy, None) => Err(IdentityError::NotAUser),
            (Callers::Anybody, _) | (Callers::Users, None) => Ok(Identity::Anonymous),
        }
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates(ca_pem)?.swap_remove(0))?;
    Ok(Arc::new(roots))
}

fn tls13(
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&rustls::version::TLS13])
}
