//! What a site server is started with, and where it ended up listening.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    controller::{WATCH_TIMEOUT, removal::REMOVAL_DEADLINE},
    plan::tenure::LEASE,
    trust::ca::{IDENTITY_LIFETIME, SERVING_LIFETIME},
};

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// A directory, as it is at any time.
    Directory(PathBuf),
    /// A branch of a local git repository, commit by commit.
    Branch {
        /// The repository.
        repository: PathBuf,
        /// The branch.
        branch: String,
    },
    /// From elsewhere: people and tools write the objects, and nothing is applied here.
    Nothing,
}

/// Where objects live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObjectsIn {
    /// In the embedded Kubernetes API of this process.
    #[default]
    Here,
    /// In a cluster.
    Cluster {
        /// How its API server is reached; otherwise as kubectl or a pod finds it.
        kubeconfig: Option<PathBuf>,
        /// Whether this database becomes the site's although the site's object names another.
        adopt: bool,
        /// The pod that this is, as `namespace/name`.
        pod: Option<String>,
        /// How the fleet's rows become a part of the cluster's API; without it they are reached at [`Listen::api`] alone.
        aggregate: Option<Aggregate>,
    },
}

/// How a cluster's API server reaches the fleet's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Namespace and name of the Service that leads to `listen`.
    pub service: (String, String),
    /// Where it is waited for.
    pub listen: SocketAddr,
}

/// The four listeners. Port 0 takes any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The Kubernetes API.
    pub api: SocketAddr,
    /// Clients, distribution points and access points.
    pub devices: SocketAddr,
    /// Enrolment.
    pub enrolment: SocketAddr,
    /// Health and metrics; loopback.
    pub health: SocketAddr,
}

impl Listen {
    /// Port of the Kubernetes API unless told otherwise; the others follow it.
    pub const FIRST_PORT: u16 = 7443;

    /// Devices and enrolment on `address` (its port, and the next one); on loopback the Kubernetes API on the port before
    /// and health on the port after them, so that sites on one machine differ in one word.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        let port = address.port();
        let (api, next, health) =
            if port == 0 { (0, 0, 0) } else { (port - 1, port.saturating_add(1), port.saturating_add(2)) };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            api: SocketAddr::new(loopback, api),
            devices: address,
            enrolment: SocketAddr::new(address.ip(), next),
            health: SocketAddr::new(loopback, health),
        }
    }
}

impl Default for Listen {
    /// Everything on loopback, ports from [`Listen::FIRST_PORT`] on.
    fn default() -> Self {
        Self::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::FIRST_PORT + 1))
    }
}

/// What a site server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its state directory.
    pub state: PathBuf,
    /// Where objects live.
    pub objects: ObjectsIn,
    /// Where manifests come from.
    pub served: Served,
    /// The name of its `Site` object, and of its built-in points; that of its state, or `main`, if it is not given.
    pub name: Option<String>,
    /// Where it listens.
    pub listen: Listen,
    /// Names and addresses under which devices reach it, besides those it listens on.
    pub advertise: Vec<String>,
    /// Directories that package sources may lie beneath, besides the served one.
    pub source_roots: Vec<PathBuf>,
    /// Life of device certificates.
    pub certificate_lifetime: Duration,
    /// Life of the listeners' certificates and of those in kubeconfigs.
    pub serving_lifetime: Duration,
    /// How long the Lease of a site beside a cluster lasts without a renewal.
    pub lease: Duration,
    /// After this time an API server ends each watch; one that gives no sign of life for twice as long is wedged.
    pub watch_timeout: Duration,
    /// A deleted package is let go after this time, although points have not confirmed that they removed its content.
    pub removal_deadline: Duration,
    /// Takes the place of every interval at which the site looks at something although nothing was announced. For tests:
    /// what still arrives, arrives by events.
    pub look_interval: Option<Duration>,
}

impl Options {
    /// Defaults for everything but the two directories.
    #[must_use]
    pub fn new(state: PathBuf, served: Served) -> Self {
        Self {
            state,
            objects: ObjectsIn::Here,
            served,
            name: None,
            listen: Listen::default(),
            advertise: Vec::new(),
            source_roots: Vec::new(),
            certificate_lifetime: IDENTITY_LIFETIME,
            serving_lifetime: SERVING_LIFETIME,
            lease: LEASE,
            watch_timeout: WATCH_TIMEOUT,
            removal_deadline: REMOVAL_DEADLINE,
            look_interval: None,
        }
    }
}

/// A site that is up.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where it listens.
    pub endpoints: Endpoints,
    /// What is still missing before anything is declared, in a sentence.
    pub notice: Option<String>,
}

/// Where a running site listens; written to `endpoints.json` in its state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Base URL of the Kubernetes API.
    pub api_url: String,
    /// Base URL for devices.
    pub device_url: String,
    /// Base URL of enrolment.
    pub enrolment_url: String,
    /// Base URL of health and metrics.
    pub health_url: String,
    /// The kubeconfig of the administrator.
    pub kubeconfig: PathBuf,
    /// Digest of the device authority's certificate, pinned by join files.
    pub ca_sha256: crate::content::Digest,
    /// The site's id.
    pub site_id: String,
    /// The process.
    pub pid: u32,
}

impl Endpoints {
    /// The file's name in the state directory.
    pub const FILE: &'static str = "endpoints.json";
}
