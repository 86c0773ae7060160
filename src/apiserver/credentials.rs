//! The API's own certificate authority, what its listener presents, and kubeconfigs for its identities.
//! It issues to nobody but these; devices have an authority of their own.

use std::{path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::{RootCertStore, ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier};
use serde_json::json;

use super::access::Identity;
use crate::trust::{
    ca::{CaError, CertificateAuthority},
    device::DeviceKey,
    keys::KeyError,
    names::{NameError, ServerNames},
};

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The authority cannot be opened or does not issue.
    #[error("the certificate authority of the Kubernetes API")]
    Ca(#[from] CaError),
    /// No key could be made.
    #[error("a key of the Kubernetes API")]
    Key(#[from] KeyError),
    /// A name of the listener cannot stand in a certificate.
    #[error("a name under which the Kubernetes API is to be reached")]
    Name(#[from] NameError),
    /// rustls refuses what was issued.
    #[error(
        "TLS of the Kubernetes API cannot be set up; remove its authority's file to make a new one, and write new kubeconfigs"
    )]
    Tls(#[source] rustls::Error),
    /// The verifier of client certificates cannot be made.
    #[error("client certificates of the Kubernetes API cannot be verified")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The authority and what it issues.
pub struct Credentials {
    ca: CertificateAuthority,
}

impl Credentials {
    /// Opens the authority in `directory`, or makes it there.
    ///
    /// # Errors
    /// If its file is damaged, open to others, or cannot be written.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Credentials, CredentialsError> {
        Ok(Credentials { ca: CertificateAuthority::load_or_create(directory, "Waybill Kubernetes API", now)? })
    }

    /// TLS for a listener reached under `names`: it asks for a client certificate of this authority and goes on without.
    ///
    /// # Errors
    /// If a name is none, or a certificate cannot be issued.
    pub fn tls(&self, names: &[String], now: Timestamp) -> Result<Arc<ServerConfig>, CredentialsError> {
        let key = DeviceKey::generate()?;
        let issued = self.ca.issue_serving(&key, &ServerNames::parse(names)?, now)?;
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from(self.ca.certificate_der().to_vec());
        roots.add(own.clone()).map_err(CredentialsError::Tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CredentialsError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![issued.der.into(), own], key.to_tls())
            .map_err(CredentialsError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A kubeconfig for `identity` with a new key: whoever has the text is that identity for a year.
    ///
    /// # Errors
    /// If the certificate cannot be issued.
    pub fn kubeconfig(&self, url: &str, identity: &Identity, now: Timestamp) -> Result<String, CredentialsError> {
        let key = DeviceKey::generate()?;
        let user = identity.user();
        let issued = self.ca.issue_user(&key, &user, identity.group(), now)?;
        let encode = |pem: &str| STANDARD.encode(pem);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "waybill",
            "clusters": [{"name": "waybill", "cluster": {"server": url,
                "certificate-authority-data": encode(self.ca.certificate_pem())}}],
            "users": [{"name": user, "user": {"client-certificate-data": encode(&issued.chain_pem),
                "client-key-data": encode(&key.to_pem())}}],
            "contexts": [{"name": "waybill", "context": {"cluster": "waybill", "user": user, "namespace": "default"}}],
        });
        // JSON is YAML, and needs no quoting rules
        Ok(format!("{config:#}\n"))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
