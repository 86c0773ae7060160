//! A server under test: a database in a scratch directory, the fixture kinds, and https with certificates of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use waybill::apiserver::{ApiServer, Identity, OpenError, Options};

/// The fixture kinds, as documents.
pub(super) fn crds() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap()).collect()
}

pub(super) fn open(directory: &Path) -> ApiServer {
    ApiServer::open(Options { database: directory.join("api.db"), crds: crds(), fleet: None }).unwrap()
}

/// Opens a database whose last client has just been dropped: its worker lets go of it a moment later.
pub(super) async fn reopen(directory: &Path) -> ApiServer {
    for _ in 0..500 {
        let options = Options { database: directory.join("api.db"), crds: crds(), fleet: None };
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
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Served {
    /// Starts a server with an admin's `kubeconfig` and a viewer's `viewer.kubeconfig` in its directory.
    pub(super) async fn start() -> Served {
        // another test of this binary may have installed it already
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let server = open(directory.path());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let ca = Ca::new();
        for (identity, file) in [(Identity::Admin, "kubeconfig"), (Identity::Viewer, "viewer.kubeconfig")] {
            std::fs::write(directory.path().join(file), ca.kubeconfig(&url, &identity).to_string()).unwrap();
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(server.serve(listener, ca.server(), async {
            stopped.await.ok();
        }));
        Served { directory, stop: Some(stop) }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take().map(|s| s.send(()));
    }
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Ca {
    fn new() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let certificate = params.self_signed(&key).unwrap();
        Ca { issuer: Issuer::new(params, key), certificate }
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn kubeconfig(&self, url: &str, identity: &Identity) -> Value {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.user());
        params.distinguished_name.push(DnType::OrganizationName, identity.group());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{"name": "t", "cluster": {"server": url,
                "certificate-authority-data": STANDARD.encode(self.certificate.pem())}}],
            "users": [{"name": "t", "user": {"client-certificate-data": STANDARD.encode(certificate.pem()),
                "client-key-data": STANDARD.encode(key.serialize_pem())}}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t", "namespace": "default"}}]})
    }
}
