//! The server that a sync of these suites writes to: the embedded one, in this process.

use std::path::Path;

use kube::Client;
use waybill::{
    api,
    apiserver::{ApiServer, Identity, Options},
};

/// A server for the calling test alone.
pub(super) struct Server {
    /// What somebody with kubectl is.
    pub(super) admin: Client,
    /// What git sync is.
    pub(super) sync: Client,
}

impl Server {
    /// A server with Waybill's kinds and its database in `directory`; it ends with its last client.
    pub(super) async fn start(directory: &Path) -> Option<Server> {
        let crds = api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
        let options = Options { database: directory.join("api.db"), crds, fleet: None, callers: Default::default() };
        let server = ApiServer::open(options).unwrap();
        let sync = Identity::Component("sync".to_owned());
        Some(Server { admin: server.client(Identity::Admin), sync: server.client(sync) })
    }
}
