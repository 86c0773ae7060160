//! How verbs reach a cluster's API server: as kubectl does, or with the service account of the pod they run in.

use std::path::PathBuf;

use anyhow::Result;
use kube::Client;

use crate::transport::{install_crypto, kubernetes};

/// Which cluster is meant
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Cluster {
    /// Kubeconfig of the cluster; by default kubectl's, and in a pod its service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// A client of that cluster. These verbs are run by jobs, each with a time of its own: what is put off is asked again.
    ///
    /// # Errors
    /// If there is no way to it, or it cannot be used.
    pub(super) async fn client(&self) -> Result<Client> {
        install_crypto();
        let mut config = kubernetes::config(self.kubeconfig.as_deref(), None).await?;
        config.default_retry = true;
        Ok(Client::try_from(config)?)
    }
}

/// The API server's own words, without the client's frame around them.
pub(super) fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow::anyhow!(status.message.clone()),
        other => anyhow::Error::new(other).context("the API server does not answer"),
    }
}
