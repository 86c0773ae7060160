//! The embedded server under test: a database in a scratch directory, the fixture kinds, and https with certificates of its own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill::{
    apiserver::{ApiServer, Identity, OpenError, Options, credentials::Credentials},
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

/// A server under test, and a namespace for the calling test alone. `tests/cluster` compiles the same suites with a module of
/// this name whose server is the real one; a suite that uses anything else of this file is about the embedded server.
pub(super) struct Served {
    pub(super) directory: tempfile::TempDir,
    server: ApiServer,
    shutdown: CancellationToken,
}

impl Served {
    /// A server in this process. (It is there; the real one may not be, and then a suite skips.)
    pub(super) async fn start() -> Option<Served> {
        let directory = tempfile::tempdir().unwrap();
        let server = open(directory.path());
        Some(Served { directory, server, shutdown: CancellationToken::new() })
    }

    /// The same on a socket, with an admin's `kubeconfig` and a viewer's `viewer.kubeconfig` in its directory.
    pub(super) async fn listening() -> Option<Served> {
        waybill::transport::install_crypto();
        let served = Served::start().await?;
        let directory = served.directory();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let credentials = Credentials::load_or_create(&directory.join("api"), USER_LIFETIME, clock::now()).unwrap();
        credentials.kubeconfigs(directory, &url).unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let serving = Serving::new(credentials.authority().clone(), names, SERVING_LIFETIME).unwrap();
        let tls = ServerTls::kubernetes(serving.certificate(), credentials.authority().certificate_pem()).unwrap();
        tokio::spawn(served.server.clone().serve(listener, tls, served.shutdown.clone()));
        Some(served)
    }

    /// Scratch space of the calling test.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    pub(super) fn viewers_kubeconfig(&self) -> PathBuf {
        self.directory().join("viewer.kubeconfig")
    }

    /// An administrator's client; its default namespace is the test's.
    pub(super) async fn admin(&self) -> Client {
        self.server.client(Identity::Admin)
    }

    /// The fixture kind most tests use, in the test's namespace.
    pub(super) async fn programs(&self) -> Api<DynamicObject> {
        Api::default_namespaced_with(self.admin().await, &programs())
    }

    /// The path of a namespaced fixture kind in the test's namespace.
    pub(super) fn path(&self, plural: &str) -> String {
        format!("/apis/content.example.dev/v1/namespaces/{}/{plural}", self.namespace())
    }

    pub(super) fn namespace(&self) -> &str {
        "default"
    }

    /// `name` as no other test of this server has it, for what lies in no namespace.
    pub(super) fn unique(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whether owner references are followed and deleted namespaces emptied.
    pub(super) fn collects(&self) -> bool {
        true
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
