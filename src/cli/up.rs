//! `waybill up`: a whole site in one process, from a directory or a repository's branch.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::point::{self, stop_on_signal};
use crate::{
    apiserver::metadata::{self, NameRule},
    model::duration::Span,
    site::{self, Listen, Options, Served},
};

/// Longest name of a site: names of points have no more.
const SITE_NAME_BYTES_MAX: usize = 50;

/// Serve a directory or a git branch as a site: Kubernetes API, distribution point and access point in one process
#[derive(Debug, clap::Args)]
pub(super) struct Up {
    /// The directory with manifests and package sources, or a git repository with --branch
    directory: PathBuf,
    /// Where the site keeps everything: databases, keys, content; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./state")]
    state: PathBuf,
    /// Serve this branch, commit by commit, instead of the directory's present files
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Address for clients and other points; joining is on the next port, health on the one after; port 0 takes free ones, and the
    /// same ones at every later start
    /// [default: 127.0.0.1:7444]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Address of the Kubernetes API [default: 127.0.0.1 and the port before that of --listen]
    #[arg(long, value_name = "ADDR")]
    api_listen: Option<SocketAddr>,
    /// Name or address under which others reach this machine; may be given several times
    #[arg(long, value_name = "NAME")]
    advertise: Vec<String>,
    /// Directory that package sources may lie beneath, besides the served one; may be given several times
    #[arg(long, value_name = "DIR")]
    source_root: Vec<PathBuf>,
    /// Name of the Site object and of the built-in points, kept by the state directory [default: main]
    #[arg(long, value_name = "NAME", value_parser = site_name)]
    site: Option<String>,
    /// Life of device certificates
    #[arg(long, value_name = "SPAN", default_value = "720h", value_parser = super::messages::span, hide = true)]
    certificate_lifetime: Span,
    /// Life of the listeners' certificates and of those in kubeconfigs
    #[arg(long, value_name = "SPAN", default_value = "8760h", value_parser = super::messages::span, hide = true)]
    serving_lifetime: Span,
}

/// `10.0.0.5` is `10.0.0.5` with the usual port.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let usual = Listen::FIRST_PORT + 1;
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, usual)))
        .map_err(|_| format!("'{text}' is no address; write for instance 0.0.0.0:{usual}"))
}

/// Names of objects, and short enough to become part of other names.
pub(super) fn site_name(text: &str) -> Result<String, String> {
    if text.len() > SITE_NAME_BYTES_MAX {
        return Err(format!("a site's name has at most {SITE_NAME_BYTES_MAX} letters"));
    }
    let object = json!({"metadata": {"name": text}});
    match metadata::validate(&object, NameRule::Label, false).into_iter().next() {
        Some(_) => Err(format!("'{text}' is no name for a site: use lower-case letters, digits and -, as in north-2")),
        None => Ok(text.to_owned()),
    }
}

impl Up {
    /// Runs until the process is asked to stop.
    ///
    /// # Errors
    /// If the site cannot start, or a part of it ends.
    pub(super) fn run(self) -> Result<()> {
        point::serving(self.serve())
    }

    fn options(self) -> Options {
        let served = match self.branch {
            Some(branch) => Served::Branch { repository: self.directory, branch },
            None => Served::Directory(self.directory),
        };
        let mut listen = self.listen.map_or_else(Listen::default, Listen::new);
        if let Some(api) = self.api_listen {
            listen.api = api;
        }
        Options {
            name: self.site,
            listen,
            advertise: self.advertise,
            source_roots: self.source_root,
            certificate_lifetime: self.certificate_lifetime.as_duration(),
            serving_lifetime: self.serving_lifetime.as_duration(),
            ..Options::new(self.state, served)
        }
    }

    async fn serve(self) -> Result<()> {
        let (ready, started) = oneshot::channel();
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        tokio::spawn(async move {
            if let Ok(started) = started.await {
                say(&started);
            }
        });
        site::run(self.options(), ready, shutdown).await.context("the site does not run")
    }
}

/// What the user needs to go on. A site does not end because nobody reads this.
fn say(started: &site::Started) {
    let endpoints = &started.endpoints;
    let mut text = format!(
        "The site is up.\n  kubectl --kubeconfig {} get packages,advertisements\n  \
         clients and points: {}   joining: {}\n  health: {}/healthz\n",
        endpoints.kubeconfig.display(),
        endpoints.device_url,
        endpoints.enrolment_url,
        endpoints.health_url
    );
    if let Some(notice) = &started.notice {
        text.push_str(&format!("But {notice}.\n"));
    }
    let _ = io::stdout().write_all(text.as_bytes());
}
