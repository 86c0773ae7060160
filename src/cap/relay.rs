//! A separate access point's ties to its site: it follows the site's policy snapshot, keeps it on disk so that it can
//! serve while cut off, and passes on what clients leave. It verifies the site's signature and can forge nothing.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::{
    Refusal, Upstream,
    encoded::{self, DecodeError},
    published::Published,
};
use crate::{
    content::{digest::Digest, durable},
    transport::answer::{self, AnswerError},
    trust::{envelope::Envelope, keys::TrustedKeys},
    wire::{
        access::{
            BadContent, Heard, RELAY_BAD_CONTENT_PATH, RELAY_HEARD_PATH, RELAY_INVENTORY_PATH, RELAY_STATUS_PATH,
            Relayed, SITE_RECORD_PATH, SNAPSHOT_PATH, Snapshot,
        },
        inventory::SignedInventory,
        policy::{PolicyRoot, ROOT_TYPE},
        record::RECORD_TYPE,
        status::SignedBatch,
        turned_away::TurnedAway,
    },
};

/// Seconds a snapshot poll waits at the site.
const SNAPSHOT_WAIT_SECS: u64 = 55;
/// Pause after a failed poll, doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause: a site that is back is noticed within half a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Time for anything but a long poll.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer at most, but a snapshot: a record with all programs of a package.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a snapshot was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The site did not answer as expected.
    #[error("the site did not answer {0}")]
    Http(&'static str, #[source] reqwest::Error),
    /// The site's answer was cut off, too long or no answer.
    #[error("the site's answer to {0} cannot be read")]
    Answer(&'static str, #[source] AnswerError),
    /// The site lets this access point in no more.
    #[error("the site turns this access point away: {0}")]
    TurnedAway(TurnedAway),
    /// The site answered with an error.
    #[error("the site answered {1} to {0}")]
    Status(&'static str, reqwest::StatusCode),
    /// The snapshot cannot be read.
    #[error("the site's snapshot cannot be read")]
    Snapshot(#[from] DecodeError),
    /// A signature does not verify, or parts do not fit.
    #[error("the snapshot is not trustworthy: {0}")]
    Untrusted(String),
    /// The snapshot is older than the one held.
    #[error("the site offers policy version {}.{}, older than {}.{}; it is refused", offered.0, offered.1, held.0, held.1)]
    Rollback {
        /// Epoch and version that the site offered.
        offered: (u64, u64),
        /// Those that are held.
        held: (u64, u64),
    },
    /// The copy on disk could not be written or read.
    #[error("the copy of the snapshot in {0} failed")]
    Copy(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The ties to one site.
pub struct Relay {
    http: Mutex<reqwest::Client>,
    site_url: String,
    own_url: String,
    keys: TrustedKeys,
    copy: PathBuf,
}

/// What lies on disk.
#[derive(Serialize, serde::Deserialize)]
struct Copy {
    snapshot: Snapshot,
    records: Vec<(Digest, Envelope)>,
}

impl Relay {
    /// `http` carries this access point's certificate; clients reach it at `own_url`, which the site passes on to them;
    /// `copy` is the file that keeps the snapshot.
    #[must_use]
    pub fn new(http: reqwest::Client, site_url: String, own_url: String, keys: TrustedKeys, copy: PathBuf) -> Self {
        Self { http: Mutex::new(http), site_url, own_url, keys, copy }
    }

    /// Uses a renewed certificate from now on.
    pub fn replace_client(&self, http: reqwest::Client) {
        *self.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
    }

    fn http(&self) -> reqwest::Client {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The snapshot kept on disk, for a start while the site is away; empty if there is none.
    ///
    /// # Errors
    /// If there is one that cannot be read or trusted: delete the file then.
    pub fn stored(&self) -> Result<Published, RelayError> {
        let failed = |error| RelayError::Copy(self.copy.clone(), error);
        let bytes = match std::fs::read(&self.copy) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Published::default()),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let copy: Copy = serde_json::from_slice(&bytes).map_err(|error| failed(Box::new(error)))?;
        self.check_root(&copy.snapshot)?;
        let records = copy.records.into_iter().collect();
        Published::new(copy.snapshot, records).map_err(|error| RelayError::Untrusted(error.to_string()))
    }

    /// Follows the site's snapshots until the receiver side of `publish` is gone or the task is dropped.
    pub async fn follow(&self, publish: watch::Sender<Arc<Published>>) {
        let mut tag: Option<String> = None;
        let mut pause = RETRY_FIRST;
        loop {
            match self.next(&mut tag, &publish).await {
                Ok(()) => pause = RETRY_FIRST,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(error, "policy was not refreshed as it should be; serving what is held");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// One poll: what is new is verified, kept on disk, then published.
    pub(super) async fn next(
        &self,
        tag: &mut Option<String>,
        publish: &watch::Sender<Arc<Published>>,
    ) -> Result<(), RelayError> {
        let own_url: String = form_urlencoded::byte_serialize(self.own_url.as_bytes()).collect();
        let mut request = self
            .http()
            .get(format!("{}{SNAPSHOT_PATH}?wait={SNAPSHOT_WAIT_SECS}&url={own_url}", self.site_url))
            .header(reqwest::header::ACCEPT_ENCODING, encoded::ENCODING)
            .timeout(Duration::from_secs(SNAPSHOT_WAIT_SECS) + REQUEST_TIMEOUT);
        if let Some(tag) = tag.as_deref() {
            request = request.header(reqwest::header::IF_NONE_MATCH, tag);
        }
        let answer = request.send().await.map_err(|error| RelayError::Http("a snapshot poll", error))?;
        if answer.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        if let Some(why) = answer::turned_away(&answer) {
            return Err(RelayError::TurnedAway(why));
        }
        if !answer.status().is_success() {
            return Err(RelayError::Status("a snapshot poll", answer.status()));
        }
        let new_tag = answer.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let snapshot = read_snapshot(answer).await?;
        let root = self.check_root(&snapshot)?;
        let (offered, held) = ((root.epoch, root.version), publish.borrow().place());
        if offered < held {
            return Err(RelayError::Rollback { offered, held });
        }
        let records = self.records(&snapshot, &publish.borrow().clone()).await?;
        let copy = Copy { snapshot: snapshot.clone(), records: records.iter().map(|(d, e)| (*d, e.clone())).collect() };
        let published = Published::new(snapshot, records).map_err(|error| RelayError::Untrusted(error.to_string()))?;
        // Clients are served what is new also where it cannot be kept; with the old tag it is fetched and kept later.
        publish.send_replace(Arc::new(published));
        let failed = |error| RelayError::Copy(self.copy.clone(), error);
        let bytes = serde_json::to_vec(&copy).map_err(|error| failed(Box::new(error)))?;
        durable::replace(&self.copy, &bytes, 0o600).map_err(|error| failed(Box::new(error)))?;
        *tag = new_tag;
        Ok(())
    }

    fn check_root(&self, snapshot: &Snapshot) -> Result<PolicyRoot, RelayError> {
        let payload =
            snapshot.root.open(ROOT_TYPE, &self.keys).map_err(|error| RelayError::Untrusted(error.to_string()))?;
        serde_json::from_str(payload).map_err(|error| RelayError::Untrusted(error.to_string()))
    }

    /// The records of a snapshot: those held already, the others fetched and verified.
    async fn records(&self, snapshot: &Snapshot, held: &Published) -> Result<HashMap<Digest, Envelope>, RelayError> {
        let known: HashMap<_, _> = held.held_records().collect();
        let mut records = HashMap::with_capacity(snapshot.records.len());
        for digest in &snapshot.records {
            let envelope = match known.get(digest) {
                Some(envelope) => (*envelope).clone(),
                None => self.get(&format!("{SITE_RECORD_PATH}/{digest}"), "a record request").await?,
            };
            let payload =
                envelope.open(RECORD_TYPE, &self.keys).map_err(|error| RelayError::Untrusted(error.to_string()))?;
            if Digest::of(payload.as_bytes()) != *digest {
                return Err(RelayError::Untrusted(format!("record {digest} has another digest")));
            }
            records.insert(*digest, envelope);
        }
        Ok(records)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, what: &'static str) -> Result<T, RelayError> {
        let request = self.http().get(format!("{}{path}", self.site_url)).timeout(REQUEST_TIMEOUT);
        let answer = request.send().await.map_err(|error| RelayError::Http(what, error))?;
        if !answer.status().is_success() {
            return Err(RelayError::Status(what, answer.status()));
        }
        answer::json(answer, ANSWER_BYTES_MAX).await.map_err(|error| RelayError::Answer(what, error))
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<reqwest::Response, Refusal> {
        let request = self.http().post(format!("{}{path}", self.site_url)).timeout(REQUEST_TIMEOUT).json(body);
        let answer =
            request.send().await.map_err(|_| Refusal::Unavailable("the site is not reachable; keep it".to_owned()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer::refusal(answer).await;
        Err(match status.as_u16() {
            403 => Refusal::Forbidden(text),
            400..=499 => Refusal::Invalid(text),
            _ => Refusal::Unavailable(text),
        })
    }
}

impl Relay {
    /// Passes something on that its client signed, and gives the site's receipt.
    async fn pass_on<T: Serialize>(&self, path: &str, relayed: Relayed<T>) -> Result<Envelope, Refusal> {
        let answer = self.post(path, &relayed).await?;
        let receipt = answer::json(answer, ANSWER_BYTES_MAX).await;
        receipt.map_err(|_| Refusal::Unavailable("the site's answer was cut off; keep it".to_owned()))
    }
}

/// Reads a snapshot of bounded size, on a thread that may take its time.
async fn read_snapshot(answer: reqwest::Response) -> Result<Snapshot, RelayError> {
    let encoding = answer.headers().get(reqwest::header::CONTENT_ENCODING);
    let encoding = encoding.map(|encoding| String::from_utf8_lossy(encoding.as_bytes()).into_owned());
    let body = answer::bytes(answer, encoded::ENCODED_BYTES_MAX).await;
    let body = body.map_err(|error| RelayError::Answer("a snapshot poll", error))?;
    let decoded =
        tokio::task::spawn_blocking(move || encoded::decode(&body, encoding.as_deref(), encoded::DECODED_BYTES_MAX));
    Ok(decoded.await.map_err(|error| DecodeError::Damaged(std::io::Error::other(error)))??)
}

impl Upstream for Relay {
    fn status(&self, client: String, batch: SignedBatch) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(self.pass_on(RELAY_STATUS_PATH, Relayed { client, body: batch }))
    }

    fn inventory(&self, client: String, inventory: SignedInventory) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(self.pass_on(RELAY_INVENTORY_PATH, Relayed { client, body: inventory }))
    }

    fn bad_content(&self, client: String, complaint: BadContent) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(
            async move { self.post(RELAY_BAD_CONTENT_PATH, &Relayed { client, body: complaint }).await.map(|_| ()) },
        )
    }

    fn heard(&self, heard: Heard) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.post(RELAY_HEARD_PATH, &heard).await.map(|_| ()) })
    }
}
