//! Certificates of the site's own listeners: issued at start, again at half of their life, without a restart. Open
//! connections go on with what they were begun with; who calls is not decided here.

use std::{sync::Arc, time::Duration};

use super::tls::{ServingCertificate, TlsError};
use crate::{
    clock,
    trust::{
        ca::{CaError, CertificateAuthority},
        device::DeviceKey,
        identity::{renew_after, until},
        keys::KeyError,
        names::{NameError, ServerNames},
    },
};

/// Looked at this often at least whether a new certificate is due: clocks may step meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Pause after a renewal that failed; half a life is long.
const RETRY: Duration = Duration::from_secs(10);

/// Why a listener has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A name under which the listener should be reached is no name.
    #[error("a name of a listener, such as one given with --advertise, cannot be used")]
    Name(#[from] NameError),
    /// The key.
    #[error("no key could be made")]
    Key(#[from] KeyError),
    /// The authority.
    #[error("the listener's authority did not issue a certificate")]
    Authority(#[from] CaError),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

/// A certificate that renews itself for as long as [`Serving::keep`] runs.
pub struct Serving {
    authority: Arc<CertificateAuthority>,
    names: Vec<String>,
    lifetime: Duration,
    certificate: Arc<ServingCertificate>,
    renew_at: jiff::Timestamp,
}

impl Serving {
    /// Issues the first one, for listeners reached under `names`.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn new(
        authority: Arc<CertificateAuthority>,
        names: Vec<String>,
        lifetime: Duration,
    ) -> Result<Self, ServingError> {
        let key = DeviceKey::generate()?;
        let issued = authority.issue_serving_for(&key, &ServerNames::parse(&names)?, lifetime, clock::now())?;
        let certificate = ServingCertificate::new(&issued.chain_pem, &key)?;
        let renew_at = renew_after(issued.not_before, issued.not_after);
        Ok(Self { authority, names, lifetime, certificate, renew_at })
    }

    /// What listeners present.
    #[must_use]
    pub fn certificate(&self) -> Arc<ServingCertificate> {
        self.certificate.clone()
    }

    /// Renews it until the task is dropped.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(until(self.renew_at, clock::now()).min(LOOK_INTERVAL)).await;
            if clock::now() < self.renew_at {
                continue;
            }
            match self.renew() {
                Ok(renew_at) => {
                    tracing::info!(next = %renew_at, "the listeners' certificate was renewed");
                    self.renew_at = renew_at;
                }
                Err(error) => {
                    tracing::error!(%error, "the listeners' certificate was not renewed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn renew(&self) -> Result<jiff::Timestamp, ServingError> {
        let (key, names) = (DeviceKey::generate()?, ServerNames::parse(&self.names)?);
        let issued = self.authority.issue_serving_for(&key, &names, self.lifetime, clock::now())?;
        self.certificate.replace(&issued.chain_pem, &key)?;
        Ok(renew_after(issued.not_before, issued.not_after))
    }
}
