//! The listeners of a site: bound before anything is written about them, so that port 0 works, and what users and
//! programs find about them in the state directory.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{
    error::SiteError,
    options::{Endpoints, ObjectsIn, Options},
    state::StateDirectory,
};
use crate::{
    api::site::FleetStatus,
    content::{Digest, durable},
    controller::context::SiteIdentity,
    trust::ca::CertificateAuthority,
};

/// The bound sockets.
pub(super) struct Listeners {
    pub(super) api: TcpListener,
    pub(super) devices: TcpListener,
    pub(super) enrolment: TcpListener,
    /// For the API server of a cluster, if it hands requests on.
    pub(super) aggregated: Option<TcpListener>,
}

/// What was served at the last start. Where a free port is asked for it is that one, which others know by now, if it is still
/// free.
fn last_start(options: &Options) -> Option<Endpoints> {
    let last = std::fs::read(options.state.join(Endpoints::FILE)).ok()?;
    serde_json::from_slice(&last).ok()
}

/// The listener of health and metrics: also of an instance that may not act yet.
pub(super) async fn bind_health(options: &Options) -> Result<TcpListener, SiteError> {
    let last = last_start(options).and_then(|last| port_of(&last.health_url));
    bind(options.listen.health, last, ("health, two ports after that of --listen,", "--listen")).await
}

impl Listeners {
    /// Binds all of them but the one of health, by the ports of the last start where free ones are asked for.
    pub(super) async fn bind(options: &Options) -> Result<Self, SiteError> {
        let last = last_start(options);
        let port = |url: fn(&Endpoints) -> &str| last.as_ref().and_then(|last| port_of(url(last)));
        let listen = &options.listen;
        let api = ("the Kubernetes API", "--api-listen, or all of them with --listen");
        let joining = ("joining, on the port after that of --listen,", "--listen");
        let aggregated = match &options.objects {
            ObjectsIn::Cluster { aggregate: Some(aggregate), .. } => {
                let what = ("the cluster's API server", "--aggregate-listen");
                Some(bind(aggregate.listen, None, what).await?)
            }
            ObjectsIn::Cluster { .. } | ObjectsIn::Here => None,
        };
        Ok(Self {
            aggregated,
            api: bind(listen.api, port(|last| &last.api_url), api).await?,
            devices: bind(listen.devices, port(|last| &last.device_url), ("clients and points", "--listen")).await?,
            enrolment: bind(listen.enrolment, port(|last| &last.enrolment_url), joining).await?,
        })
    }
}

/// Binds one of them, which is for `what` and chosen by `option`.
async fn bind(
    address: SocketAddr,
    last: Option<u16>,
    (what, option): (&'static str, &'static str),
) -> Result<TcpListener, SiteError> {
    let last = last.filter(|_| address.port() == 0);
    if let Some(port) = last {
        match TcpListener::bind(SocketAddr::new(address.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(
                "port {port}, where {what} were served last, cannot be used again ({error}); whoever knows it looks there in \
                 vain until it is given with {option}"
            ),
        }
    }
    TcpListener::bind(address).await.map_err(|source| SiteError::Listen { address, what, option, source })
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

/// The address of a listener as others reach it: by the first advertised name if it listens on every address.
fn reachable(listener: &TcpListener, advertise: &[String]) -> Result<String, SiteError> {
    let address = listener.local_addr().map_err(|source| SiteError::Listen {
        address: ([0, 0, 0, 0], 0).into(),
        what: "others",
        option: "--listen",
        source,
    })?;
    let host = match (advertise.first(), address.ip().is_unspecified()) {
        (Some(name), _) => name.clone(),
        (None, true) => "127.0.0.1".to_owned(),
        (None, false) => address.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(format!("{host}:{}", address.port()))
}

/// Names in the listeners' certificates.
pub(super) fn names(options: &Options, listeners: &Listeners) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(options.advertise.iter().cloned());
    if let ObjectsIn::Cluster { aggregate: Some(aggregate), .. } = &options.objects {
        let (namespace, name) = &aggregate.service;
        names.push(format!("{name}.{namespace}.svc"));
    }
    for listener in [&listeners.devices, &listeners.enrolment, &listeners.api] {
        names.extend(
            listener
                .local_addr()
                .ok()
                .filter(|address| !address.ip().is_unspecified())
                .map(|address| address.ip().to_string()),
        );
    }
    names.sort();
    names.dedup();
    names
}

pub(super) fn endpoints(
    options: &Options,
    listeners: &Listeners,
    health: SocketAddr,
    state: &StateDirectory,
    authority: &CertificateAuthority,
    site: &SiteIdentity,
) -> Result<Endpoints, SiteError> {
    Ok(Endpoints {
        api_url: format!("https://{}", reachable(&listeners.api, &[])?),
        device_url: format!("https://{}", reachable(&listeners.devices, &options.advertise)?),
        enrolment_url: format!("https://{}", reachable(&listeners.enrolment, &options.advertise)?),
        health_url: format!("http://{health}"),
        kubeconfig: state.join("kubeconfig"),
        ca_sha256: Digest::of(authority.certificate_der()),
        site_id: site.id.clone(),
        pid: std::process::id(),
    })
}

/// Tells programs where the site listens.
pub(super) fn write_endpoints(state: &StateDirectory, endpoints: &Endpoints) -> Result<(), SiteError> {
    let path = state.join(Endpoints::FILE);
    let text = serde_json::to_vec_pretty(endpoints).unwrap_or_default();
    durable::replace(&path, &text, 0o600).map_err(|error| SiteError::Write(path, error))
}

/// What users of a cluster are told of the listener that is theirs.
pub(super) fn served_rows(
    objects: &ObjectsIn,
    listeners: &Listeners,
    authority: &CertificateAuthority,
) -> Option<FleetStatus> {
    let ObjectsIn::Cluster { pod, .. } = objects else { return None };
    let port = listeners.api.local_addr().ok()?.port().into();
    Some(FleetStatus { pod: pod.clone(), port, certificate_authority: authority.certificate_pem().to_owned() })
}
