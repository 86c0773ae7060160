//! Certificates of the site's own listeners: issued at start, again at half of their life, without a restart.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    transport::tls::{ServingCertificate, TlsError},
    trust::{
        ca::{CaError, CertificateAuthority},
        device::DeviceKey,
        identity::renew_after,
        keys::KeyError,
        names::{NameError, ServerNames},
    },
};

/// Looked at this often whether a new certificate is due; clocks may step meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);

/// Why a listener has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A name that devices should reach it under is no name.
    #[error("a name given with --advertise cannot be used")]
    Name(#[from] NameError),
    /// The key.
    #[error("no key could be made")]
    Key(#[from] KeyError),
    /// The authority.
    #[error("the device authority did not issue a certificate")]
    Authority(#[from] CaError),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

/// A certificate that renews itself for as long as its task lives.
pub(super) struct Serving {
    authority: Arc<CertificateAuthority>,
    names: Vec<String>,
    certificate: Arc<ServingCertificate>,
    renew_at: jiff::Timestamp,
}

impl Serving {
    /// Issues the first one.
    pub(super) fn new(authority: Arc<CertificateAuthority>, names: Vec<String>) -> Result<Self, ServingError> {
        let key = DeviceKey::generate()?;
        let issued = authority.issue_serving(&key, &ServerNames::parse(&names)?, clock::now())?;
        let certificate = ServingCertificate::new(&issued.chain_pem, &key)?;
        let renew_at = renew_after(issued.not_before, issued.not_after);
        Ok(Self { authority, names, certificate, renew_at })
    }

    /// What listeners present.
    pub(super) fn certificate(&self) -> Arc<ServingCertificate> {
        self.certificate.clone()
    }

    /// Renews it until the task is dropped.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if clock::now() < self.renew_at {
                continue;
            }
            match self.renew() {
                Ok(renew_at) => self.renew_at = renew_at,
                Err(error) => tracing::error!(%error, "the listeners' certificate was not renewed; tried again"),
            }
        }
    }

    fn renew(&self) -> Result<jiff::Timestamp, ServingError> {
        let key = DeviceKey::generate()?;
        let issued = self.authority.issue_serving(&key, &ServerNames::parse(&self.names)?, clock::now())?;
        self.certificate.replace(&issued.chain_pem, &key)?;
        Ok(renew_after(issued.not_before, issued.not_after))
    }
}
