//! The embedded Kubernetes API: serves CRD-described kinds as the real API server does, or refuses.
//!
//! In reading order: `store` keeps objects and the watch log; `kinds` says what is served; `schema`, `metadata`, `fields`
//! and `patch` are the rules of objects; `server` takes a request apart and hands it to the verbs (`read`, `watch`,
//! `write` with `admit`, `delete`); `serve` puts it on a socket, [`ApiServer::client`] into a `kube::Client`.

mod store;

pub mod failure;
pub mod fields;
pub mod metadata;
pub mod patch;
pub mod schema;
pub mod selector;
mod shown;

mod kinds;

mod access;
mod body;
mod call;
mod decode;
mod negotiate;
mod options;
mod path;
mod protobuf;

mod answer;
mod discovery;
mod openapi;
mod pages;
mod table;

mod admit;
mod collector;
mod definitions;
mod delegated;
mod delete;
mod housekeeping;
mod identity;
mod impersonation;
mod last_applied;
mod namespaces;
mod read;
mod review;
mod server;
mod strategic;
mod watch;
mod write;

pub mod credentials;
pub mod fleet;
pub mod front_proxy;
mod serve;

use std::{path::PathBuf, sync::Arc};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use access::{ADMINS, COMPONENTS, Identity, VIEWERS};
pub use delegated::AUDIENCE;
pub use store::OpenError;

use access::{Access, Authority, User};
use call::Server;
use front_proxy::Believed;
use kinds::Kinds;
use store::Store;

use crate::transport::tls::ServerTls;

/// What a server is made of.
#[derive(Debug)]
pub struct Options {
    /// The database file; made if it does not exist, but not its directory.
    pub database: PathBuf,
    /// CustomResourceDefinition documents of the kinds to serve.
    pub crds: Vec<Value>,
    /// Resources served from elsewhere.
    pub fleet: Option<fleet::Fleet>,
    /// Who decides about callers.
    pub callers: Callers,
}

/// Who decides about callers.
#[derive(Clone, Default)]
pub enum Callers {
    /// This server: its own certificates, fixed rules.
    #[default]
    Own,
    /// The API server of a cluster, asked through this client: tokens of audience [`AUDIENCE`], and the cluster's rules. The
    /// built-in kinds are the cluster's too, and not served here.
    Cluster(kube::Client),
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Callers::Own) { "Own" } else { "Cluster" })
    }
}

/// The API server. A clone is another handle on the same one; it ends with its last handle and client.
#[derive(Clone)]
pub struct ApiServer {
    server: Arc<Server>,
}

impl ApiServer {
    /// Opens the database and makes ready to answer. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// If the file is in use, foreign, of another layout or damaged, or if a CRD document cannot be served; the message
    /// says what to do.
    pub fn open(options: Options) -> Result<ApiServer, OpenError> {
        let more = options.fleet.as_ref().map(fleet::kinds).transpose();
        let more = more.map_err(|(name, reason)| OpenError::Definition { name, reason })?.unwrap_or_default();
        let builtin = match options.callers {
            Callers::Own => kinds::builtin::kinds(),
            Callers::Cluster(_) => vec![],
        };
        let mut crds = options.crds;
        crds.iter_mut().for_each(decode::whole);
        let kinds =
            Kinds::new(builtin, &crds, more).map_err(|e| OpenError::Definition { name: e.name, reason: e.reason })?;
        let store = Store::open(&options.database, &|resource, object| {
            if let Some(kind) = kinds.stored_as(resource) {
                kinds::view(kind, object);
            }
        })?;
        let failed =
            |e: store::Refusal| OpenError::Definition { name: "the initial objects".into(), reason: e.to_string() };
        let authority = match options.callers {
            Callers::Own => {
                namespaces::prepare(&store).map_err(failed)?;
                definitions::publish(&store, &crds).map_err(failed)?;
                Authority::Own(Access::new(kinds.iter().map(|k| k.group.clone())))
            }
            Callers::Cluster(client) => Authority::Cluster(Arc::new(delegated::Delegated::new(client))),
        };
        let server =
            Arc::new(Server { store: Arc::new(store), kinds, authority, fleet: options.fleet, front_proxy: None });
        tokio::spawn(housekeeping::keep(Arc::downgrade(&server)));
        Ok(ApiServer { server })
    }

    /// The same rows for users of the cluster whom its API server hands on, and for nobody else: reading and asking alone, for a
    /// resource that could be deleted there would be by every namespace that goes.
    ///
    /// # Errors
    /// [`OpenError::Definition`] if the rows cannot be served, or if callers are not a cluster's.
    pub fn aggregated(&self, front_proxy: Believed) -> Result<ApiServer, OpenError> {
        let failed = |name, reason| OpenError::Definition { name, reason };
        let Authority::Cluster(cluster) = &self.server.authority else {
            return Err(failed("the fleet API".into(), "no cluster's API server hands anybody on".into()));
        };
        let rows = self.server.fleet.clone().map(fleet::Fleet::reading_and_asking);
        let more = rows.as_ref().map(fleet::kinds).transpose();
        let more = more.map_err(|(name, reason)| failed(name, reason))?.unwrap_or_default();
        let kinds = Kinds::new(vec![], &[], more).map_err(|e| failed(e.name, e.reason))?;
        let (store, authority) = (self.server.store.clone(), Authority::Cluster(cluster.clone()));
        Ok(ApiServer {
            server: Arc::new(Server { store, kinds, authority, fleet: rows, front_proxy: Some(front_proxy) }),
        })
    }

    /// A client in this process; its default namespace is `default`.
    #[must_use]
    pub fn client(&self, identity: Identity) -> kube::Client {
        let (server, user) = (self.server.clone(), User::from(&identity));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (server, user) = (server.clone(), user.clone());
            async move { Ok::<_, std::convert::Infallible>(server.handle(Some(user), request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Whether writes are taken; otherwise why not, for whoever looks after the machine.
    ///
    /// # Errors
    /// What the database says.
    pub async fn writable(&self) -> Result<(), String> {
        self.server.store.writable().await.map_err(|refusal| refusal.to_string())
    }

    /// Serves https on `listener` until `shutdown` is cancelled. `tls` is [`ServerTls::kubernetes`], where who shows no
    /// certificate reaches health and version only; [`ServerTls::anybody`] beside a cluster; [`ServerTls::front_proxy`] for
    /// [`ApiServer::aggregated`].
    pub async fn serve(self, listener: tokio::net::TcpListener, tls: ServerTls, shutdown: CancellationToken) {
        serve::serve(self.server, listener, tls, shutdown).await;
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}
