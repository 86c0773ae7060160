//! The API's own certificate authority, and the kubeconfigs of its identities in a state directory, written anew at half
//! of their life. It issues to nobody but these and the API's listener; devices have an authority of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::json;

use super::access::Identity;
use crate::{
    clock,
    trust::{
        ca::{CaError, CertificateAuthority},
        device::DeviceKey,
        identity::{renew_after, until},
        keys::KeyError,
        secret_file::{self, SecretFileError},
    },
};

/// Whose kubeconfigs lie in a state directory, and how the files are called.
const FILES: [(Identity, &str); 2] = [(Identity::Admin, "kubeconfig"), (Identity::Viewer, "viewer.kubeconfig")];
/// Looked at this often at least whether new ones are due: clocks may step meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Pause after a file could not be written; half a life is long.
const RETRY: Duration = Duration::from_secs(60);

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The authority cannot be opened or does not issue.
    #[error("the certificate authority of the Kubernetes API")]
    Ca(#[from] CaError),
    /// No key could be made.
    #[error("a key of the Kubernetes API")]
    Key(#[from] KeyError),
    /// A kubeconfig cannot be written.
    #[error("a kubeconfig cannot be written")]
    File(#[from] SecretFileError),
}

/// The authority and what it issues to users.
#[derive(Clone)]
pub struct Credentials {
    authority: Arc<CertificateAuthority>,
    lifetime: Duration,
}

impl Credentials {
    /// Opens the authority in `directory`, or makes it there. Kubeconfigs live for `lifetime`, which is
    /// [`crate::trust::ca::USER_LIFETIME`] outside of tests.
    ///
    /// # Errors
    /// If its file is damaged, open to others, or cannot be written.
    pub fn load_or_create(
        directory: &Path,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Credentials, CredentialsError> {
        let authority = CertificateAuthority::load_or_create(directory, "Waybill Kubernetes API", now)?;
        Ok(Credentials { authority: Arc::new(authority), lifetime })
    }

    /// The authority: what the API's listener presents is issued by it, and who calls shows a certificate of it.
    #[must_use]
    pub fn authority(&self) -> &Arc<CertificateAuthority> {
        &self.authority
    }

    /// Writes the kubeconfigs of an API at `url` into `directory`, each with a new key: whoever can read one is that
    /// identity for its life. [`Kubeconfigs::keep`] writes them again.
    ///
    /// # Errors
    /// If a certificate cannot be issued or a file not be written.
    pub fn kubeconfigs(&self, directory: &Path, url: &str) -> Result<Kubeconfigs, CredentialsError> {
        let mut files = Kubeconfigs {
            credentials: self.clone(),
            directory: directory.to_owned(),
            url: url.to_owned(),
            renew_at: Timestamp::MIN,
        };
        files.renew_at = files.write()?;
        Ok(files)
    }

    fn kubeconfig(&self, url: &str, identity: &Identity) -> Result<(String, Timestamp), CredentialsError> {
        let key = DeviceKey::generate()?;
        let user = identity.user();
        let issued = self.authority.issue_user_for(&key, &user, identity.group(), self.lifetime, clock::now())?;
        let encode = |pem: &str| STANDARD.encode(pem);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "waybill",
            "clusters": [{"name": "waybill", "cluster": {"server": url,
                "certificate-authority-data": encode(self.authority.certificate_pem())}}],
            "users": [{"name": user, "user": {"client-certificate-data": encode(&issued.chain_pem),
                "client-key-data": encode(&key.to_pem())}}],
            "contexts": [{"name": "waybill", "context": {"cluster": "waybill", "user": user, "namespace": "default"}}],
        });
        // JSON is YAML, and needs no quoting rules
        Ok((format!("{config:#}\n"), renew_after(issued.not_before, issued.not_after)))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The kubeconfigs in one directory.
#[derive(Debug)]
pub struct Kubeconfigs {
    credentials: Credentials,
    directory: PathBuf,
    url: String,
    renew_at: Timestamp,
}

impl Kubeconfigs {
    /// Writes them anew at half of their life, until the task is dropped.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(until(self.renew_at, clock::now()).min(LOOK_INTERVAL)).await;
            if clock::now() < self.renew_at {
                continue;
            }
            match self.write() {
                Ok(renew_at) => {
                    tracing::info!(next = %renew_at, "the kubeconfigs were renewed");
                    self.renew_at = renew_at;
                }
                Err(error) => {
                    tracing::error!(%error, "the kubeconfigs were not renewed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Writes all of them; when the first of them is half-way.
    fn write(&self) -> Result<Timestamp, CredentialsError> {
        let mut first = Timestamp::MAX;
        for (identity, file) in &FILES {
            let (text, renew_at) = self.credentials.kubeconfig(&self.url, identity)?;
            secret_file::write(&self.directory.join(file), &text)?;
            first = first.min(renew_at);
        }
        Ok(first)
    }
}
