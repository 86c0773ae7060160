//! Requests over https as they stand in the files: nothing is added, put right or read ahead. Each user has a connection of its
//! own; a watch has one for itself.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One server, reached as an administrator or as nobody.
#[derive(Clone)]
pub(super) struct Endpoint {
    address: String,
    admin: TlsConnector,
    nobody: TlsConnector,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Bytes>,
}

/// What came back, whole.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Endpoint {
    /// The server of a kubeconfig, as its user.
    pub(super) fn of(kubeconfig: &str) -> Endpoint {
        let config: Value = serde_json::from_str(kubeconfig).unwrap();
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let pem = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        let authority = pem(&cluster["certificate-authority-data"]);
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&pem(&user["client-certificate-data"])).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem(&user["client-key-data"])).unwrap();
        let builder = || ClientConfig::builder().with_root_certificates(roots.clone());
        let admin = builder().with_client_auth_cert(chain, key).unwrap();
        let nobody = builder().with_no_client_auth();
        let address = cluster["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
        Endpoint { address, admin: Arc::new(admin).into(), nobody: Arc::new(nobody).into() }
    }

    async fn connect(&self, as_nobody: bool) -> http1::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = if as_nobody { &self.nobody } else { &self.admin };
        let stream = connector.connect(name, stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends a request on a connection for it alone; the body is read by the caller.
    pub(super) async fn open(&self, sent: &Sent) -> http::Response<Incoming> {
        let as_nobody = sent.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let mut sender = self.connect(as_nobody).await;
        sender.send_request(self.request(sent)).await.unwrap()
    }

    fn request(&self, sent: &Sent) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(Method::from_bytes(sent.method.as_bytes()).unwrap())
            .uri(sent.target.parse::<Uri>().unwrap())
            .header("Host", &self.address);
        // an empty value in the files removes a header
        for (name, value) in sent.headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        request.body(Full::new(sent.body.clone().unwrap_or_default())).unwrap()
    }
}

/// One caller's connection to a server, used again as long as it lasts.
pub(super) struct Line {
    endpoint: Endpoint,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Line {
    pub(super) fn new(endpoint: Endpoint) -> Line {
        Line { endpoint, sender: None }
    }

    /// Sends a request and reads all of the answer.
    pub(super) async fn call(&mut self, sent: &Sent) -> Received {
        let answer = match self.kept(sent).await {
            Some(answer) => answer,
            None => self.endpoint.open(sent).await,
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Received { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// The answer on the kept connection; `None` for requests that want one of their own.
    async fn kept(&mut self, sent: &Sent) -> Option<http::Response<Incoming>> {
        /// A server may refuse a large body before it has come, and cut the line.
        const LARGE: usize = 1 << 20;
        let large = sent.body.as_ref().is_some_and(|body| body.len() > LARGE);
        if large || sent.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            return None;
        }
        let mut kept = self.sender.take();
        let usable = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept.filter(|_| usable) {
            Some(sender) => sender,
            None => self.endpoint.connect(false).await,
        };
        let answer = sender.send_request(self.endpoint.request(sent)).await.unwrap();
        self.sender = Some(sender);
        Some(answer)
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}
