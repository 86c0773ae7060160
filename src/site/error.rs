//! Why a site server does not run, each with the remedy. What happens while it runs is in its log and status.

use std::{net::SocketAddr, path::PathBuf};

use super::state::StateError;
use crate::{
    apiserver::{OpenError, credentials::CredentialsError},
    content::{ContentError, anchor::Lost},
    db::DbError,
    dp,
    gitops::{start::SourceError, sync::SyncError},
    plan::tenure::{Displaced, OtherDatabase, SecondSite},
    transport::{kubernetes::NoWay, serving::ServingError, tls::TlsError},
    trust::{ca::CaError, keys::KeyError},
};

/// Why a site server does not run.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The site database.
    #[error("the site database cannot be used")]
    Database(#[from] DbError),
    /// There is no way to the cluster's API server.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// No client of the cluster's API server can be made.
    #[error("the way to the cluster's API server cannot be used")]
    Client(#[source] Box<kube::Error>),
    /// The Lease by which one instance of several acts.
    #[error(
        "the site's Lease cannot be taken: may the service account get, create and update Leases in its namespace?"
    )]
    Lease(#[source] Box<kube::Error>),
    /// The Lease went to another instance, or could not be renewed.
    #[error("this instance lost the site's Lease and may not act any more; start it again to stand by")]
    LeaseLost,
    /// The volume is not the site's.
    #[error(transparent)]
    OtherDatabase(#[from] OtherDatabase),
    /// Another database was made the site's.
    #[error(transparent)]
    Displaced(#[from] Displaced),
    /// Another server has the cluster.
    #[error(transparent)]
    SecondSite(#[from] SecondSite),
    /// The Kubernetes API's store.
    #[error("the embedded Kubernetes API cannot be opened")]
    Api(#[from] OpenError),
    /// The Kubernetes API's credentials.
    #[error("the credentials of the embedded Kubernetes API cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The content library.
    #[error("the content library cannot be opened")]
    Library(#[from] ContentError),
    /// The built-in distribution point.
    #[error("the built-in distribution point cannot be opened")]
    Point(#[from] dp::StoreError),
    /// The site's keys.
    #[error("the site's signing key cannot be used")]
    Key(#[from] KeyError),
    /// The device authority.
    #[error("the device authority cannot be used")]
    Authority(#[from] CaError),
    /// A listener's certificate.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// A listener's TLS.
    #[error("a listener's TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// A file for programs.
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] std::io::Error),
    /// An address is taken or not ours.
    #[error("cannot listen on {address} for {what}; is another site running? Choose another address with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        what: &'static str,
        /// The option that decides about it.
        option: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// What is to be served cannot be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A directory that was named does not exist.
    #[error("{0} does not exist or cannot be read")]
    Directory(PathBuf, #[source] std::io::Error),
    /// The site's own objects cannot be made.
    #[error("the site's own objects cannot be made")]
    OwnObjects(#[source] Box<kube::Error>),
    /// Git sync cannot begin.
    #[error("git sync cannot begin")]
    Sync(#[from] SyncError),
    /// Its state directory is not the one that it opened any more.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// A part ended although nobody asked it to.
    #[error("{0} ended unexpectedly; the log says more")]
    Ended(&'static str),
}
