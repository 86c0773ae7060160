//! A site as an agent sees it, made of the real access point, transport and authority; what it offers and how its
//! distribution points misbehave is the test's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill::{
    agent::session::Session,
    cap::{Cap, Refusal, Upstream, published::Published, routes},
    clock,
    content::{Digest, Entry, Manifest},
    model::{
        duration::Span,
        identity::{ObjectName, ProgramIdentity},
        message::StatusMessage,
        schedule::{Assignment, Rerun},
        state::RunState,
    },
    transport::{
        limits::Limits,
        server::serve,
        tls::{ServerTls, ServingCertificate},
    },
    trust::{
        ca::{CertificateAuthority, Grant},
        device::{self, DeviceKey},
        envelope::Envelope,
        identity::{PeerIdentity, Role, certificates},
        keys::{SiteKey, TrustedKeys},
        merkle::MerkleTree,
        names::ServerNames,
    },
    wire::{
        access::{BadContent, Heard, PointRef, Snapshot},
        enrol::{Endpoints, RenewAnswer, RenewRequest},
        inventory::{INVENTORY_PURPOSE, Inventory, InventoryReport, SignedInventory},
        points::VersionRef,
        policy::{AgentConfig, Leaf, Offer, PolicyBody, PolicyRoot, ROOT_TYPE},
        record::{PackageRecord, RECORD_TYPE, RecordProgram},
        status::{Outcome, RECEIPT_TYPE, Receipt, STATUS_PURPOSE, SignedBatch, StatusBatch},
    },
};

mod impostor;
mod objects;

pub(crate) use impostor::Evil;
pub(crate) use objects::{assigned, program, record};

const SITE_ID: &str = "s01";
const CLIENT: &str = "c-1";

/// What the site was left.
#[derive(Default)]
pub(crate) struct Received {
    /// By outbox and number: a message stored twice would show as a different count.
    messages: BTreeMap<(String, u64), StatusMessage>,
    order: Vec<StatusMessage>,
    pub(crate) inventories: Vec<Inventory>,
    inventory_sequence: u64,
    pub(crate) complaints: Vec<BadContent>,
    /// Batches are answered with 503 while this is set.
    pub(crate) away: bool,
    /// A batch with a message whose text contains this is refused for good.
    pub(crate) poison: Option<String>,
    files: HashMap<Digest, Vec<u8>>,
    manifests: HashMap<Digest, Vec<u8>>,
    /// Manifests asked for: one for each try of a fetch.
    pub(crate) downloads: usize,
    /// Files asked for.
    pub(crate) files_asked: usize,
}

#[derive(Clone)]
struct Store(Arc<Mutex<Received>>, Arc<SiteKey>);

impl Upstream for Store {
    fn status(&self, client: String, signed: SignedBatch) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        let (sender, digest) = (client.clone(), Digest::of(signed.batch.as_bytes()));
        let receipt = move |outcome| {
            let receipt = serde_json::to_string(&Receipt { sender, batch: digest, outcome }).unwrap();
            Ok(Envelope::sign(RECEIPT_TYPE, receipt, &self.1).unwrap())
        };
        Box::pin(async move {
            let mut received = self.0.lock().unwrap();
            if received.away {
                return Err(Refusal::Unavailable("away".into()));
            }
            let chain = certificates(&signed.certificate).unwrap();
            device::verify(&chain[0], STATUS_PURPOSE, signed.batch.as_bytes(), &signed.signature)
                .map_err(|error| Refusal::Forbidden(error.to_string()))?;
            let batch: StatusBatch = serde_json::from_str(&signed.batch).unwrap();
            assert_eq!(batch.sender, client);
            if let Some(poison) = &received.poison
                && batch.messages.iter().any(|(_, message)| message.text.contains(poison.as_str()))
            {
                return receipt(Outcome::Refused { why: "this text is not taken".into() });
            }
            let mut acked = 0;
            for (seq, message) in batch.messages {
                acked = seq;
                if received.messages.insert((batch.outbox.clone(), seq), message.clone()).is_none() {
                    received.order.push(message);
                }
            }
            receipt(Outcome::Stored { through: acked })
        })
    }

    fn inventory(&self, client: String, signed: SignedInventory) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        let chain = certificates(&signed.certificate).unwrap();
        device::verify(&chain[0], INVENTORY_PURPOSE, signed.report.as_bytes(), &signed.signature).unwrap();
        let report: InventoryReport = serde_json::from_str(&signed.report).unwrap();
        assert_eq!(report.client, client);
        let mut received = self.0.lock().unwrap();
        assert!(report.sequence > received.inventory_sequence, "{} again", report.sequence);
        received.inventory_sequence = report.sequence;
        received.inventories.push(report.inventory);
        let outcome = Outcome::Stored { through: report.sequence };
        let receipt = Receipt { sender: client, batch: Digest::of(signed.report.as_bytes()), outcome };
        let envelope = Envelope::sign(RECEIPT_TYPE, serde_json::to_string(&receipt).unwrap(), &self.1).unwrap();
        Box::pin(async { Ok(envelope) })
    }

    fn bad_content(&self, _: String, complaint: BadContent) -> BoxFuture<'_, Result<(), Refusal>> {
        self.0.lock().unwrap().complaints.push(complaint);
        Box::pin(async { Ok(()) })
    }

    fn heard(&self, _: Heard) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

async fn manifest(State(store): State<Store>, Path(digest): Path<Digest>) -> Response {
    let mut received = store.0.lock().unwrap();
    received.downloads += 1;
    let found = received.manifests.get(&digest).cloned();
    found.map_or(StatusCode::NOT_FOUND.into_response(), |bytes| Bytes::from(bytes).into_response())
}

async fn file(
    State(store): State<Store>,
    Path((_, digest)): Path<(Digest, Digest)>,
    headers: axum::http::HeaderMap,
) -> Response {
    let found = {
        let mut received = store.0.lock().unwrap();
        received.files_asked += 1;
        received.files.get(&digest).cloned()
    };
    let Some(bytes) = found else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    match range.map(|from| from.parse::<usize>().unwrap()) {
        Some(from) => (StatusCode::PARTIAL_CONTENT, Bytes::from(bytes).slice(from..)).into_response(),
        None => Bytes::from(bytes).into_response(),
    }
}

/// The right manifest and other bytes of the right length.
async fn wrong_file(State(store): State<Store>, Path((_, digest)): Path<(Digest, Digest)>) -> Response {
    let found = store.0.lock().unwrap().files.get(&digest).cloned();
    found.map_or(StatusCode::NOT_FOUND.into_response(), |bytes| {
        Bytes::from(bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).into_response()
    })
}

fn points(store: Store) -> Router {
    Router::new()
        .route("/dp/v1/manifests/{digest}", get(manifest))
        .route("/dp/v1/files/{manifest}/{digest}", get(file))
        .route("/bad/dp/v1/manifests/{digest}", get(manifest))
        .route("/bad/dp/v1/files/{manifest}/{digest}", get(wrong_file))
        .with_state(store)
}

fn endpoints(url: &str) -> Endpoints {
    Endpoints { site_url: url.to_owned(), cap_urls: vec![url.to_owned()] }
}

#[derive(Clone)]
struct Renewals {
    authority: Arc<CertificateAuthority>,
    endpoints: Endpoints,
}

async fn renew(
    State(site): State<Renewals>,
    peer: PeerIdentity,
    Json(request): Json<RenewRequest>,
) -> Json<RenewAnswer> {
    let certificate_pem = issue(&site.authority, &peer.id, &request.csr_pem, Duration::from_secs(3_600));
    Json(RenewAnswer { certificate_pem, endpoints: site.endpoints })
}

fn issue(authority: &CertificateAuthority, id: &str, csr_pem: &str, lifetime: Duration) -> String {
    let names = ServerNames::default();
    let grant = Grant { site_id: SITE_ID, role: Role::Client, id, names: &names, lifetime };
    authority.issue_identity(csr_pem, &grant, clock::now()).unwrap().chain_pem
}

/// A site with one client.
pub(crate) struct Site {
    runtime: tokio::runtime::Runtime,
    authority: Arc<CertificateAuthority>,
    key: Arc<SiteKey>,
    pub(crate) url: String,
    published: watch::Sender<Arc<Published>>,
    store: Store,
    version: u64,
    shutdown: CancellationToken,
    records: HashMap<Digest, Envelope>,
    locations: Vec<(VersionRef, Vec<PointRef>)>,
    /// What clients are told about their agent.
    pub(crate) config: AgentConfig,
    /// Access points that clients ask before the site's own.
    pub(crate) first_access_points: Vec<String>,
}

impl Site {
    pub(crate) fn start() -> Self {
        waybill::transport::install_crypto();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let authority = Arc::new(CertificateAuthority::create("test", clock::now()).unwrap());
        let serving = DeviceKey::generate().unwrap();
        let names = ServerNames::parse(&["127.0.0.1"]).unwrap();
        let issued = authority.issue_serving(&serving, &names, clock::now()).unwrap();
        let certificate = ServingCertificate::new(&issued.chain_pem, &serving).unwrap();
        let tls = ServerTls::devices(certificate, authority.certificate_pem()).unwrap();
        let (published, receiver) = watch::channel(Arc::new(Published::default()));
        let key = Arc::new(SiteKey::generate().unwrap());
        let store = Store(Arc::default(), key.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let renewals = Router::new()
            .route("/v1/renew", post(renew))
            .with_state(Renewals { authority: authority.clone(), endpoints: endpoints(&url) });
        let points = points(store.clone());
        let router = routes::router(Cap::new(receiver, Arc::new(store.clone()))).merge(points).merge(renewals);
        let shutdown = CancellationToken::new();
        runtime.spawn(serve(listener, tls, router, Limits::default(), Arc::new(|_| Ok(())), shutdown.clone()));
        let config = AgentConfig { poll_interval: Span::from_secs(30), ..AgentConfig::default() };
        let (records, locations) = (HashMap::new(), Vec::new());
        let first_access_points = Vec::new();
        Self {
            runtime,
            authority,
            key,
            url,
            published,
            store,
            version: 0,
            shutdown,
            records,
            locations,
            config,
            first_access_points,
        }
    }

    /// Makes the state directory of a client that has joined, with a certificate of this life.
    pub(crate) fn join(&self, state: &std::path::Path, lifetime: Duration) {
        waybill::content::private::make(state).unwrap();
        let key = DeviceKey::load_or_create(&state.join("device.key")).unwrap();
        let mut endpoints = endpoints(&self.url);
        endpoints.cap_urls.splice(0..0, self.first_access_points.clone());
        let session = Session {
            id: CLIENT.into(),
            name: None,
            site_id: SITE_ID.into(),
            certificate_pem: issue(&self.authority, CLIENT, &key.csr_pem().unwrap(), lifetime),
            ca_pem: self.authority.certificate_pem().into(),
            keys: TrustedKeys::from_iter([self.key.public()]),
            endpoints,
            enrolment_url: self.url.clone(),
            epoch: 1,
            joined_with: None,
        };
        session.save(state).unwrap();
    }

    pub(crate) fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.store.0.lock().unwrap()
    }

    /// Holds a package's files; gives the manifest's digest. `points` are the beginnings of the points' URLs after the
    /// site's own, or whole URLs.
    pub(crate) fn publish(&mut self, files: &[(&str, &str)], points: &[&str]) -> Digest {
        let entry = |(path, text): &(&str, &str)| Entry {
            path: path.parse().unwrap(),
            size_bytes: text.len() as u64,
            executable: true,
            digest: Digest::of(text.as_bytes()),
        };
        let manifest = Manifest::new(files.iter().map(entry).collect()).unwrap();
        let content = manifest.digest();
        {
            let mut received = self.received();
            for (_, text) in files {
                received.files.insert(Digest::of(text.as_bytes()), text.as_bytes().to_vec());
            }
            received.manifests.insert(content, manifest.encode().unwrap());
        }
        let url = |point: &str| {
            if point.starts_with("https:") { point.to_owned() } else { format!("{}{point}", self.url) }
        };
        let points = points.iter().map(|point| PointRef { name: format!("dp{point}"), url: url(point) }).collect();
        let version = VersionRef { package: ObjectName::new("default", "tool"), source_version: 1, content };
        self.locations.push((version, points));
        content
    }

    /// Signs a record; gives its digest.
    pub(crate) fn record(&mut self, record: &PackageRecord) -> Digest {
        let payload = String::from_utf8(record.encode().unwrap()).unwrap();
        let digest = Digest::of(payload.as_bytes());
        self.records.insert(digest, Envelope::sign(RECORD_TYPE, payload, &self.key).unwrap());
        digest
    }

    /// Offers exactly these, from now on.
    pub(crate) fn offer(&mut self, offers: &[Offer]) {
        self.offer_signed(offers, None);
    }

    /// As [`Self::offer`], with another version of the root.
    pub(crate) fn offer_signed(&mut self, offers: &[Offer], version: Option<u64>) {
        self.version += 1;
        let version = version.unwrap_or(self.version);
        let body = PolicyBody { config: self.config.clone(), offers: offers.to_vec(), dependencies: vec![] };
        let body = serde_json::to_string(&body).unwrap();
        let leaf = Leaf { client: CLIENT.into(), version, body: Digest::of(body.as_bytes()) };
        let tree = MerkleTree::new([serde_json::to_vec(&leaf).unwrap()]);
        let root = PolicyRoot {
            site: SITE_ID.into(),
            epoch: 1,
            version,
            leaves_root: tree.root(),
            leaves: 1,
            issued_at: clock::now(),
        };
        let root = Envelope::sign(ROOT_TYPE, serde_json::to_string(&root).unwrap(), &self.key).unwrap();
        let snapshot = Snapshot {
            root,
            leaves: vec![leaf],
            bodies: vec![body],
            records: self.records.keys().copied().collect(),
            locations: self.locations.clone(),
            blocked: vec![],
            deleted: vec![],
        };
        self.published.send_replace(Arc::new(Published::new(snapshot, self.records.clone()).unwrap()));
    }

    /// The states that an advertisement went through, in the order in which they were stored.
    pub(crate) fn states(&self, advertisement: &str) -> Vec<RunState> {
        let received = self.received();
        let of = |message: &&StatusMessage| {
            message.attributes.get("advertisement").is_some_and(|name| name == &format!("default/{advertisement}"))
        };
        received.order.iter().filter(of).filter_map(|message| message.state).collect()
    }

    /// All messages, in the order in which they were stored.
    pub(crate) fn messages(&self) -> Vec<StatusMessage> {
        self.received().order.clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
        // The runtime field is dropped afterwards and would wait for open long polls.
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::mem::replace(&mut self.runtime, other).shutdown_background();
    }
}
