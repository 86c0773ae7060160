//! A server under test: a database in a scratch directory, the fixture kinds, and https with certificates of its own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill::{
    apiserver::{ApiServer, OpenError, Options, credentials::Credentials},
    clock,
    transport::{serving::Serving, tls::ServerTls},
    trust::ca::{SERVING_LIFETIME, USER_LIFETIME},
};

/// The fixture kinds, as documents.
pub(super) fn crds() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap()).collect()
}

pub(super) fn open(directory: &Path) -> ApiServer {
    ApiServer::open(Options {
        database: directory.join("api.db"),
        crds: crds(),
        fleet: None,
        callers: Default::default(),
    })
    .unwrap()
}

/// Opens a database whose last client has just been dropped: its worker lets go of it a moment later.
pub(super) async fn reopen(directory: &Path) -> ApiServer {
    for _ in 0..500 {
        let options =
            Options { database: directory.join("api.db"), crds: crds(), fleet: None, callers: Default::default() };
        match ApiServer::open(options) {
            Err(OpenError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the database stays busy");
}

/// The fixture kind most tests use.
pub(super) fn programs() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("content.example.dev", "v1", "Program"))
}

pub(super) fn program(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "content.example.dev/v1", "kind": "Program",
        "metadata": {"name": name}, "spec": spec}))
    .unwrap()
}

/// A server on a socket; it stops when this is dropped.
pub(super) struct Served {
    pub(super) directory: tempfile::TempDir,
    shutdown: CancellationToken,
}

impl Served {
    /// Starts a server with an admin's `kubeconfig` and a viewer's `viewer.kubeconfig` in its directory.
    pub(super) async fn start() -> Served {
        waybill::transport::install_crypto();
        let directory = tempfile::tempdir().unwrap();
        let server = open(directory.path());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let credentials =
            Credentials::load_or_create(&directory.path().join("api"), USER_LIFETIME, clock::now()).unwrap();
        credentials.kubeconfigs(directory.path(), &url).unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let serving = Serving::new(credentials.authority().clone(), names, SERVING_LIFETIME).unwrap();
        let tls = ServerTls::kubernetes(serving.certificate(), credentials.authority().certificate_pem()).unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(server.serve(listener, tls, shutdown.clone()));
        Served { directory, shutdown }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
