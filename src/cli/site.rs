//! `waybill site`: a site whose objects live in a Kubernetes cluster. Says nothing on the terminal but its log: it runs in a pod.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    messages::span,
    point::{self, stop_on_signal},
    release::namespaced,
    up::{listen_address, site_name},
};
use crate::{
    model::duration::Span,
    site::{self, Aggregate, Listen, ObjectsIn, Options, Served},
};

/// Serve a site whose objects live in a Kubernetes cluster: controllers, distribution point and access point in one process
#[derive(Debug, clap::Args)]
pub(super) struct Site {
    /// Where the site keeps everything but its objects: databases, keys, content; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./state")]
    state: PathBuf,
    /// How to reach the cluster's API server; without it as a pod does, by its service account, or as kubectl does
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Make this state's database the site's although another one served it; clients and points then have to join anew
    #[arg(long)]
    adopt: bool,
    /// The pod that this is, for users who reach its rows by a forwarded port
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pod)]
    pod: Option<String>,
    /// Name of the Site object and of the built-in points
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = site_name)]
    site: String,
    /// Address for clients and other points (enrolment is on the next port); port 0 takes free ones, and the
    /// same ones at every later start
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Address at which the cluster's users reach the fleet's rows
    #[arg(long, value_name = "ADDR")]
    api_listen: Option<SocketAddr>,
    /// Make the rows a part of the cluster's own API: the Service that leads to --aggregate-listen. The APIService
    /// v1alpha1.fleet.waybill.dev has to name it; the site gives it its authority
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    aggregate: Option<(String, String)>,
    /// Address at which the cluster's API server, and nobody else, gets the rows; by default on the third port after that
    /// of --listen
    #[arg(long, value_name = "ADDR", requires = "aggregate")]
    aggregate_listen: Option<SocketAddr>,
    /// Address of health and metrics, which say nothing of the fleet
    #[arg(long, value_name = "ADDR")]
    health_listen: Option<SocketAddr>,
    /// Name or address under which others reach this machine; may be given several times
    #[arg(long, value_name = "NAME")]
    advertise: Vec<String>,
    /// Directory that package sources may lie beneath; relative ones are taken from the first; may be given several times
    #[arg(long, value_name = "DIR")]
    source_root: Vec<PathBuf>,
    /// Apply the manifests of this directory; without it people and tools write the objects, and nothing is applied
    #[arg(long, value_name = "DIR")]
    sync_directory: Option<PathBuf>,
    /// Apply this branch of the repository in --sync-directory, commit by commit
    #[arg(long, value_name = "NAME", requires = "sync_directory")]
    branch: Option<String>,
    /// How long the site's Lease lasts without a renewal
    #[arg(long, value_name = "SPAN", default_value = "40s", value_parser = span, hide = true)]
    lease: Span,
    /// How long a watch lasts until the API server ends it
    #[arg(long, value_name = "SPAN", default_value = "200s", value_parser = span, hide = true)]
    watch_timeout: Span,
    /// A deleted package is let go after this time, although points have not confirmed that they removed its content
    #[arg(long, value_name = "SPAN", default_value = "72h", value_parser = span, hide = true)]
    removal_deadline: Span,
}

/// As it is written in the site's status.
fn pod(text: &str) -> Result<String, String> {
    namespaced(text).map(|(namespace, name)| format!("{namespace}/{name}"))
}

/// Port 0, any free port, stays so.
fn third_port_after(devices: SocketAddr) -> SocketAddr {
    let port = devices.port();
    SocketAddr::new(devices.ip(), if port == 0 { 0 } else { port.saturating_add(3) })
}

impl Site {
    /// Runs until the process is asked to stop.
    ///
    /// # Errors
    /// If the site cannot start, or a part of it ends.
    pub(super) fn run(self) -> Result<()> {
        point::serving(async {
            let (ready, _started) = oneshot::channel();
            let shutdown = CancellationToken::new();
            stop_on_signal(shutdown.clone())?;
            site::run(self.options(), ready, shutdown).await.context("the site does not run")
        })
    }

    fn options(self) -> Options {
        let served = match (self.sync_directory, self.branch) {
            (None, _) => Served::Nothing,
            (Some(directory), None) => Served::Directory(directory),
            (Some(repository), Some(branch)) => Served::Branch { repository, branch },
        };
        let mut listen = self.listen.map_or_else(Listen::default, Listen::new);
        listen.api = self.api_listen.unwrap_or(listen.api);
        listen.health = self.health_listen.unwrap_or(listen.health);
        let aggregate = self.aggregate.map(|service| {
            let listen = self.aggregate_listen.unwrap_or_else(|| third_port_after(listen.devices));
            Aggregate { service, listen }
        });
        Options {
            objects: ObjectsIn::Cluster { kubeconfig: self.kubeconfig, adopt: self.adopt, pod: self.pod, aggregate },
            name: Some(self.site),
            listen,
            advertise: self.advertise,
            source_roots: self.source_root,
            lease: self.lease.as_duration(),
            watch_timeout: self.watch_timeout.as_duration(),
            removal_deadline: self.removal_deadline.as_duration(),
            ..Options::new(self.state, served)
        }
    }
}
