//! The fleet's rows as a part of a cluster's own API: its API server hands requests for the group on to a listener of their own,
//! where nobody else gets a connection. Keeps both sides' trust as the cluster publishes it: whom this listener believes, and in
//! the APIService, by which authority the API server knows this listener. Who may do what, the cluster decides.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::ConfigMap, kube_aggregator::pkg::apis::apiregistration::v1::APIService};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    error::SiteError,
    options::{ObjectsIn, Options},
};
use crate::{
    api::FIELD_MANAGER,
    apiserver::{
        ApiServer,
        front_proxy::{FrontProxy, NoFrontProxy, PUBLISHED, PUBLISHED_IN},
    },
    model::causes::chain,
    transport::{
        authorities::CallersAuthorities,
        tls::{ServerTls, ServingCertificate, TlsError},
    },
    trust::ca::CertificateAuthority,
};

/// The object by which a cluster hands the group's requests on: `VERSION.GROUP`.
const API_SERVICE: &str = "v1alpha1.fleet.waybill.dev";
/// How often it is looked whether the cluster has replaced its authority, or somebody the APIService.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after a look that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Why the rows are not a part of the cluster's API.
#[derive(Debug, thiserror::Error)]
enum NotAggregated {
    #[error(
        "ConfigMap {PUBLISHED_IN}/{PUBLISHED} cannot be read; is the Role extension-apiserver-authentication-reader bound?"
    )]
    Unread(#[source] Box<kube::Error>),
    #[error(transparent)]
    NoFrontProxy(#[from] NoFrontProxy),
    #[error("the authority of the API server's front proxy cannot be used")]
    Authority(#[from] TlsError),
    #[error("there is no APIService {API_SERVICE}; until there is one, rows are reached by a forwarded port")]
    NoApiService,
    #[error("APIService {API_SERVICE} leads to {0} and not to this site: another one serves the group in this cluster")]
    Others(String),
    #[error("APIService {API_SERVICE} cannot be read or given this site's authority")]
    Unpatched(#[source] Box<kube::Error>),
}

/// What each side has to know of the other.
pub(super) struct Trust {
    /// Of the cluster.
    pub(super) client: Client,
    /// Namespace and name of the Service that leads to the listener.
    pub(super) service: (String, String),
    /// Who issued what the listener presents.
    pub(super) authority_pem: String,
}

impl Trust {
    /// Whom the cluster hands requests on by.
    async fn front_proxy(&self) -> Result<FrontProxy, NotAggregated> {
        let published: Api<ConfigMap> = Api::namespaced(self.client.clone(), PUBLISHED_IN);
        let published = published.get(PUBLISHED).await.map_err(|error| NotAggregated::Unread(Box::new(error)))?;
        Ok(FrontProxy::published(&published.data.unwrap_or_default())?)
    }

    /// Tells the API server by which authority it knows this listener, unless it knows.
    async fn introduce(&self) -> Result<(), NotAggregated> {
        let unpatched = |error| NotAggregated::Unpatched(Box::new(error));
        let services: Api<APIService> = Api::all(self.client.clone());
        let service = services.get_opt(API_SERVICE).await.map_err(unpatched)?.ok_or(NotAggregated::NoApiService)?;
        let spec = service.spec.unwrap_or_default();
        let leads_to = spec.service.map(|to| (to.namespace.unwrap_or_default(), to.name.unwrap_or_default()));
        if leads_to.as_ref() != Some(&self.service) {
            let other =
                leads_to.map_or("no Service".to_owned(), |(namespace, name)| format!("Service {namespace}/{name}"));
            return Err(NotAggregated::Others(other));
        }
        let bundle = ByteString(self.authority_pem.clone().into_bytes());
        if spec.ca_bundle.as_ref() == Some(&bundle) {
            return Ok(());
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"caBundle": bundle}}));
        services.patch(API_SERVICE, &params, &patch).await.map_err(unpatched)?;
        tracing::info!("APIService {API_SERVICE} knows this site's authority");
        Ok(())
    }
}

/// What is served, and where.
pub(super) struct Aggregated {
    pub(super) rows: ApiServer,
    pub(super) listener: TcpListener,
    /// What the listener presents; it names the Service.
    pub(super) certificate: Arc<ServingCertificate>,
    pub(super) trust: Trust,
    /// For tests; see [`super::options::Options::look_interval`].
    pub(super) look_interval: Option<Duration>,
}

impl Aggregated {
    /// `None` if the site's rows are not to be aggregated. `beside` are the rows, and a client of the cluster.
    pub(super) fn of(
        options: &Options,
        listener: Option<TcpListener>,
        beside: Option<(ApiServer, Client)>,
        certificate: Arc<ServingCertificate>,
        authority: &CertificateAuthority,
    ) -> Option<Self> {
        let ObjectsIn::Cluster { aggregate: Some(aggregate), .. } = &options.objects else { return None };
        let (rows, client) = beside?;
        let (service, authority_pem) = (aggregate.service.clone(), authority.certificate_pem().to_owned());
        let trust = Trust { client, service, authority_pem };
        Some(Self { rows, listener: listener?, certificate, trust, look_interval: options.look_interval })
    }

    /// Serves until `shutdown` is cancelled, if there is anything to serve.
    ///
    /// # Errors
    /// [`SiteError`] if the rows cannot be served this way.
    pub(super) async fn run(aggregated: Option<Self>, shutdown: CancellationToken) -> Result<(), SiteError> {
        let Some(Self { rows, listener, certificate, trust, look_interval }) = aggregated else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let interval = look_interval.unwrap_or(LOOK_INTERVAL);
        let mut complaint = Complaint::default();
        let first = async {
            loop {
                match first_look(&trust).await {
                    Ok(first) => break first,
                    Err(error) => complaint.tell(Err(error)),
                }
                tokio::time::sleep(RETRY.min(interval)).await;
            }
        };
        let (first, authorities) = tokio::select! {
            first = first => first,
            () = shutdown.cancelled() => return Ok(()),
        };
        let (believed, front_proxy) = watch::channel(Arc::new(first));
        let rows = rows.aggregated(front_proxy)?;
        let tls = ServerTls::front_proxy(certificate, authorities.clone())?;
        let kept = async {
            loop {
                let looked = look(&trust, &believed, &authorities).await;
                let pause = if looked.is_ok() { interval } else { RETRY.min(interval) };
                complaint.tell(looked);
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = rows.serve(listener, tls, shutdown) => Ok(()),
            () = kept => Ok(()),
        }
    }
}

async fn first_look(trust: &Trust) -> Result<(FrontProxy, Arc<CallersAuthorities>), NotAggregated> {
    let first = trust.front_proxy().await?;
    let authorities = CallersAuthorities::new(&first.authorities_pem)?;
    Ok((first, authorities))
}

/// Brings both sides up to date.
async fn look(
    trust: &Trust,
    believed: &watch::Sender<Arc<FrontProxy>>,
    authorities: &CallersAuthorities,
) -> Result<(), NotAggregated> {
    let next = trust.front_proxy().await?;
    if next.authorities_pem != believed.borrow().authorities_pem {
        authorities.replace(&next.authorities_pem)?;
        tracing::info!("the API server's front proxy has another authority; it is believed from now on");
    }
    believed.send_replace(Arc::new(next));
    trust.introduce().await
}

/// What was complained of last, so that it is said once.
#[derive(Default)]
struct Complaint(Option<String>);

impl Complaint {
    fn tell(&mut self, looked: Result<(), NotAggregated>) {
        let Err(error) = looked else {
            self.0 = None;
            return;
        };
        let text = chain(&error);
        if self.0.as_ref() != Some(&text) {
            tracing::warn!("the fleet's rows are no part of the cluster's API: {text}");
            self.0 = Some(text);
        }
    }
}
