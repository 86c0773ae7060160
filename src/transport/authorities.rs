//! Authorities of callers' certificates that are not this site's own: a cluster replaces its own whenever it likes. What a caller
//! may do is not decided here.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::tls::{TlsError, provider};
use crate::trust::identity::IdentityError;

/// Authorities at most; those beyond it are not believed. A cluster has one, and two while it is replaced.
const AUTHORITIES_MAX: usize = 32;

/// The authorities of callers' certificates, where they are somebody else's and may be replaced at any time; new connections
/// are judged by the new ones.
pub struct CallersAuthorities(RwLock<Arc<dyn ClientCertVerifier>>);

impl CallersAuthorities {
    /// Takes certificates that one of these authorities (PEM) issued.
    ///
    /// # Errors
    /// [`TlsError`] if the text holds no certificate, or one that cannot be an authority.
    pub fn new(authorities_pem: &str) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(Self::verifier(authorities_pem)?))))
    }

    /// Takes those of others from now on.
    ///
    /// # Errors
    /// As [`CallersAuthorities::new`]; the old ones then stay.
    pub fn replace(&self, authorities_pem: &str) -> Result<(), TlsError> {
        let next = Self::verifier(authorities_pem)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn verifier(authorities_pem: &str) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()).take(AUTHORITIES_MAX) {
            roots.add(authority.map_err(|_| IdentityError::NotACertificate)?)?;
        }
        Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
    }

    fn now(&self) -> Arc<dyn ClientCertVerifier> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for CallersAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallersAuthorities")
    }
}

impl ClientCertVerifier for CallersAuthorities {
    /// None: they would have to live as long as this, and are no more than a hint which of its certificates a caller may show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.now().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().supported_verify_schemes()
    }
}
