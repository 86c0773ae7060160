//! Where a site's objects live: in the embedded Kubernetes API, which this process then serves, or in a cluster, whose API
//! server it speaks to as any other client does; then only the fleet's rows are served here. Does not read or write objects.

use std::{path::Path, sync::Arc, time::Duration};

use kube::client::ClientBuilder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, filter::FilterLayer};

use super::{
    error::SiteError,
    options::{ObjectsIn, Options},
    state::{FIRST_SITE, StateDirectory},
    tenure::Holder,
    watched::Watched,
};
use crate::{
    api,
    apiserver::{
        ApiServer, Callers, Identity,
        credentials::{Credentials, Kubeconfigs},
        fleet::Fleet,
    },
    clock,
    transport::{kubernetes, serving::Serving, tls::ServerTls},
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

/// A cluster's API server, and whether this instance may act there.
pub(super) struct Cluster {
    /// For what may always be asked.
    pub(super) client: kube::Client,
    /// Held from the beginning.
    pub(super) holder: Holder,
    /// As [`Cluster::client`], but nothing is written with it once the tenure is over.
    acting: kube::Client,
    /// What its watches give.
    pub(super) watched: Watched,
}

impl Cluster {
    /// Connects and waits until this instance holds the site's Lease; nothing for an embedded site.
    pub(super) async fn enter(options: &Options) -> Result<Option<Self>, SiteError> {
        let ObjectsIn::Cluster { kubeconfig, .. } = &options.objects else { return Ok(None) };
        let config = kubernetes::config(kubeconfig.as_deref(), None).await?;
        let client = kube::Client::try_from(config.clone()).map_err(no_client)?;
        let holder = Holder::acquire(&client, options.name.as_deref().unwrap_or(FIRST_SITE), options.lease).await?;
        let tenure = holder.tenure();
        let may = FilterLayer::new(move |request: http::Request<kube::client::Body>| {
            let reads = request.method() == http::Method::GET;
            if reads || tenure.holds() { Ok(request) } else { Err::<_, BoxError>("the site's Lease ran out".into()) }
        });
        let watched = Watched::new(options.watch_timeout);
        let acting = ClientBuilder::try_from(config).map_err(no_client)?.with_layer(&watched).with_layer(&may).build();
        Ok(Some(Self { client, holder, acting, watched }))
    }
}

impl Objects {
    /// Opens the embedded API, or serves rows beside the cluster's.
    pub(super) fn open(
        options: &Options,
        cluster: Option<&Cluster>,
        state: &StateDirectory,
        fleet: Fleet,
    ) -> Result<Self, SiteError> {
        let database = state.join(DATABASE);
        match cluster {
            None => {
                let fleet = Some(fleet);
                let crds = api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap_or_default()).collect();
                let parts = crate::apiserver::Options { database, crds, fleet, callers: Callers::Own };
                let credentials =
                    Credentials::load_or_create(&state.join("api"), options.serving_lifetime, clock::now())?;
                Ok(Self::Embedded { api: ApiServer::open(parts)?, credentials })
            }
            Some(cluster) => {
                let (callers, tenure) = (Callers::Cluster(cluster.client.clone()), cluster.holder.tenure());
                let fleet = Some(fleet.only_while(move || tenure.holds()));
                let parts = crate::apiserver::Options { database, crds: vec![], fleet, callers };
                Ok(Self::Cluster { client: cluster.acting.clone(), rows: ApiServer::open(parts)? })
            }
        }
    }

    /// Whether this process serves them: then they are nobody's but its administrator's.
    pub(super) const fn are_own(&self) -> bool {
        matches!(self, Self::Embedded { .. })
    }

    /// A client for one of the site's parts.
    pub(super) fn client(&self, part: &str) -> kube::Client {
        match self {
            Self::Embedded { api, .. } => api.client(Identity::Component(part.to_owned())),
            Self::Cluster { client, .. } => client.clone(),
        }
    }

    /// The rows beside a cluster, and a client of it that writes only while this instance may act.
    pub(super) fn beside_cluster(&self) -> Option<(ApiServer, kube::Client)> {
        match self {
            Self::Embedded { .. } => None,
            Self::Cluster { client, rows } => Some((rows.clone(), client.clone())),
        }
    }

    /// The embedded API, if objects live in it.
    pub(super) fn embedded(&self) -> Option<ApiServer> {
        match self {
            Self::Embedded { api, .. } => Some(api.clone()),
            Self::Cluster { .. } => None,
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

fn no_client(error: kube::Error) -> SiteError {
    SiteError::Client(Box::new(error))
}
