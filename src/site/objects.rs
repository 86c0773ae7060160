//! Where a site's objects live: in the embedded Kubernetes API, which this process then serves, or in a cluster, whose API
//! server it speaks to as any other client does; then only the fleet's rows are served here. Does not read or write objects.

use std::{path::Path, sync::Arc, time::Duration};

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    error::SiteError,
    options::{ObjectsIn, Options},
    state::StateDirectory,
};
use crate::{
    api,
    apiserver::{
        ApiServer, Callers, Identity,
        credentials::{Credentials, Kubeconfigs},
        fleet::Fleet,
    },
    clock,
    transport::{serving::Serving, tls::ServerTls},
    trust::ca::CertificateAuthority,
};

/// The file of the embedded API's objects; beside a cluster it stays empty.
const DATABASE: &str = "api.db";

/// Where they live, opened.
pub(super) enum Objects {
    /// In this process, with identities of its own.
    Embedded { api: ApiServer, credentials: Credentials },
    /// In a cluster; rows are served for its users.
    Cluster { client: kube::Client, rows: ApiServer },
}

impl Objects {
    /// Opens the embedded API, or makes a client of the cluster's.
    pub(super) async fn open(options: &Options, state: &StateDirectory, fleet: Fleet) -> Result<Self, SiteError> {
        let (database, fleet) = (state.join(DATABASE), Some(fleet));
        match &options.objects {
            ObjectsIn::Here => {
                let crds = api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap_or_default()).collect();
                let parts = crate::apiserver::Options { database, crds, fleet, callers: Callers::Own };
                let credentials =
                    Credentials::load_or_create(&state.join("api"), options.serving_lifetime, clock::now())?;
                Ok(Self::Embedded { api: ApiServer::open(parts)?, credentials })
            }
            ObjectsIn::Cluster { kubeconfig } => {
                let client = client(kubeconfig.as_deref()).await?;
                let callers = Callers::Cluster(client.clone());
                let parts = crate::apiserver::Options { database, crds: vec![], fleet, callers };
                Ok(Self::Cluster { client, rows: ApiServer::open(parts)? })
            }
        }
    }

    /// A client for one of the site's parts.
    pub(super) fn client(&self, part: &str) -> kube::Client {
        match self {
            Self::Embedded { api, .. } => api.client(Identity::Component(part.to_owned())),
            Self::Cluster { client, .. } => client.clone(),
        }
    }

    /// Makes ready to serve on a listener reached at `url` under `names`; kubeconfigs are in `state` afterwards if there are
    /// any. `devices` is the authority that a cluster's users are told to trust.
    pub(super) fn listener(
        self,
        state: &Path,
        url: &str,
        names: Vec<String>,
        lifetime: Duration,
        devices: &Arc<CertificateAuthority>,
    ) -> Result<ApiListener, SiteError> {
        match self {
            Self::Embedded { api, credentials } => {
                let kubeconfigs = Some(credentials.kubeconfigs(state, url)?);
                let serving = Serving::new(credentials.authority().clone(), names, lifetime)?;
                let tls = ServerTls::kubernetes(serving.certificate(), credentials.authority().certificate_pem())?;
                Ok(ApiListener { api, tls, serving, kubeconfigs })
            }
            Self::Cluster { rows, .. } => {
                let serving = Serving::new(devices.clone(), names, lifetime)?;
                let tls = ServerTls::anybody(serving.certificate())?;
                Ok(ApiListener { api: rows, tls, serving, kubeconfigs: None })
            }
        }
    }
}

/// A Kubernetes API that is ready to be served.
pub(super) struct ApiListener {
    api: ApiServer,
    tls: ServerTls,
    serving: Serving,
    kubeconfigs: Option<Kubeconfigs>,
}

impl ApiListener {
    /// Serves until `shutdown`; keeps certificates and kubeconfigs fresh meanwhile.
    pub(super) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let kept = async {
            match self.kubeconfigs {
                Some(kubeconfigs) => kubeconfigs.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.api.serve(listener, self.tls, shutdown) => {}
            () = self.serving.keep() => {}
            () = kept => {}
        }
    }
}

/// A client of a cluster's API server: by this kubeconfig, or as kubectl or a pod finds it.
async fn client(kubeconfig: Option<&Path>) -> Result<kube::Client, SiteError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| SiteError::Cluster {
        named: kubeconfig
            .map_or_else(|| "the cluster's service account or kubeconfig".into(), |path| path.display().to_string()),
        source,
    };
    let config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| unusable(error.into()))?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(read, &options).await.map_err(|error| unusable(error.into()))?
        }
        None => kube::Config::infer().await.map_err(|error| unusable(error.into()))?,
    };
    kube::Client::try_from(config).map_err(|error| unusable(error.into()))
}
