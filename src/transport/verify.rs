//! What a dialling process demands of the server's certificate beyond the name: that it is the kind of listener it means
//! to talk to, or, while it joins and knows no authority yet, that the authority is the one its join file pins.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme};

use crate::content::Digest;
use crate::trust::identity::{MAX_CHAIN, PeerIdentity, Role};

/// Which listeners a process may talk to. Every one of a site's listeners has a certificate of the same authority, so
/// without this a DP could pose as the site on an address they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The site's own.
    Site,
    /// The site's own, or one of this role.
    SiteOr(Role),
}

impl Listener {
    fn accepts(self, certificate: &CertificateDer<'_>) -> bool {
        match (PeerIdentity::from_certificate(certificate), self) {
            // The authority names a device in every certificate except those of the site's own listeners.
            (Err(_), _) => true,
            (Ok(identity), Self::SiteOr(role)) => identity.role == role,
            (Ok(_), Self::Site) => false,
        }
    }
}

/// Where the trust in a server's certificate comes from.
#[derive(Debug)]
enum Trust {
    Authority(Arc<WebPkiServerVerifier>),
    Pinned(Digest),
}

/// Verifies a server's chain and name with webpki, and then that it is an acceptable listener.
#[derive(Debug)]
pub(super) struct SiteVerifier {
    trust: Trust,
    listener: Listener,
    provider: Arc<CryptoProvider>,
}

impl SiteVerifier {
    /// Trusts the authority whose certificate (DER) this is.
    pub(super) fn trusting(
        authority: CertificateDer<'static>,
        listener: Listener,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let trust = Trust::Authority(webpki(authority, &provider)?);
        Ok(Self { trust, listener, provider })
    }

    /// Trusts the authority whose certificate has this digest, and only the site's own listeners.
    pub(super) fn pinning(authority: Digest, provider: Arc<CryptoProvider>) -> Self {
        Self { trust: Trust::Pinned(authority), listener: Listener::Site, provider }
    }

    /// The verifier for the authority: known from the start, or found in the chain that the server presents.
    fn authority(&self, presented: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let pin = match &self.trust {
            Trust::Authority(verifier) => return Ok(verifier.clone()),
            Trust::Pinned(pin) => pin,
        };
        let authority = presented.iter().take(MAX_CHAIN).find(|certificate| Digest::of(certificate) == *pin);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        webpki(authority.clone().into_owned(), &self.provider)
    }
}

fn webpki(
    authority: CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

impl ServerCertVerifier for SiteVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authority(intermediates)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if self.listener.accepts(end_entity) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::InvalidPurpose))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)) // the configuration offers TLS 1.3 alone
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
