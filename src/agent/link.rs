//! The agent's line to its site: a list of access points, of which one is used until it fails. Decides nothing about
//! what it carries; what comes back is verified by whoever asked.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    content::digest::Digest,
    trust::envelope::Envelope,
    wire::{
        access::{
            BAD_CONTENT_PATH, BadContent, INVENTORY_PATH, LOCATIONS_PATH, Locations, POLICY_PATH, RECORD_PATH,
            RENEW_PATH, STATUS_PATH,
        },
        enrol::{RenewAnswer, RenewRequest},
        inventory::Inventory,
        policy::PolicyAnswer,
        status::{SignedBatch, StatusAck},
    },
};

/// Time for a request that does not wait for a change.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Added to the waiting time of a long poll: the answer still has to travel.
const LONG_POLL_GRACE: Duration = Duration::from_secs(20);
/// Bytes of an answer at most: a policy body, its proof, and room.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why no access point gave an answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// None could be reached.
    #[error("no access point of the site can be reached")]
    Unreachable(#[source] Option<reqwest::Error>),
    /// One answered with a refusal.
    #[error("the site answered {status}: {text}")]
    Refused {
        /// The status code.
        status: u16,
        /// What it said.
        text: String,
    },
    /// One answered something that is no answer.
    #[error("the answer of {url} cannot be read: {text}")]
    Unreadable {
        /// Which.
        url: String,
        /// Why.
        text: String,
    },
}

/// The line to the site.
pub struct Link {
    http: Mutex<reqwest::Client>,
    urls: Mutex<Vec<String>>,
    current: AtomicUsize,
}

/// What a poll gave.
pub enum Polled {
    /// Nothing new.
    Unchanged,
    /// The site does not know this client's policy yet.
    Unknown,
    /// An answer with its entity tag, not verified.
    Changed(Box<PolicyAnswer>, String),
}

impl Link {
    /// `http` carries the client's certificate.
    #[must_use]
    pub fn new(http: reqwest::Client, urls: Vec<String>) -> Self {
        Self { http: Mutex::new(http), urls: Mutex::new(urls), current: AtomicUsize::new(0) }
    }

    /// Uses a renewed certificate from now on.
    pub fn replace_client(&self, http: reqwest::Client) {
        *self.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
    }

    /// Asks another access point from now on.
    pub fn next_point(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    fn http(&self) -> reqwest::Client {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Learns of further access points; those it knows stay, as policy from a cut-off one may be old.
    pub fn add_urls(&self, more: &[String]) {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        for url in more {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
    }

    fn urls(&self) -> Vec<String> {
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.current.load(Ordering::Relaxed);
        (0..urls.len()).map(|step| urls[(first + step) % urls.len()].clone()).collect()
    }

    /// Sends to the access point in use, and to the next when it cannot be reached or is broken.
    async fn send(
        &self,
        make: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<(reqwest::Response, String), LinkError> {
        let http = self.http();
        let mut last = None;
        for url in self.urls() {
            match make(&http, &url).send().await {
                Ok(answer) if answer.status().is_server_error() => {
                    tracing::debug!(%url, status = %answer.status(), "an access point is not well");
                }
                Ok(answer) => return Ok((answer, url)),
                Err(error) => {
                    tracing::debug!(%url, %error, "an access point cannot be reached");
                    last = Some(error);
                }
            }
            self.current.fetch_add(1, Ordering::Relaxed);
        }
        Err(LinkError::Unreachable(last))
    }

    /// Asks for policy; waits up to `wait` for a change of what `tag` stands for.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn poll(&self, tag: Option<&str>, wait: Duration) -> Result<Polled, LinkError> {
        let (answer, url) = self
            .send(|http, url| {
                let request =
                    http.get(format!("{url}{POLICY_PATH}?wait={}", wait.as_secs())).timeout(wait + LONG_POLL_GRACE);
                match tag {
                    Some(tag) => request.header(reqwest::header::IF_NONE_MATCH, tag),
                    None => request,
                }
            })
            .await?;
        match answer.status() {
            reqwest::StatusCode::NOT_MODIFIED => return Ok(Polled::Unchanged),
            reqwest::StatusCode::NOT_FOUND => return Ok(Polled::Unknown),
            _ => {}
        }
        let tag = answer.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let policy = read(answer, &url).await?;
        Ok(Polled::Changed(Box::new(policy), tag.unwrap_or_default()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LinkError> {
        let (answer, url) = self.send(|http, url| http.get(format!("{url}{path}")).timeout(REQUEST_TIMEOUT)).await?;
        read(answer, &url).await
    }

    async fn post<T: Serialize + Sync>(&self, path: &str, body: &T) -> Result<(reqwest::Response, String), LinkError> {
        let (answer, url) =
            self.send(|http, url| http.post(format!("{url}{path}")).timeout(REQUEST_TIMEOUT).json(body)).await?;
        if answer.status().is_success() {
            return Ok((answer, url));
        }
        Err(refused(answer).await)
    }

    /// A package record, not verified.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn record(&self, digest: &Digest) -> Result<Envelope, LinkError> {
        self.get(&format!("{RECORD_PATH}/{digest}")).await
    }

    /// The distribution points that hold some content now.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn locations(&self, content: &Digest) -> Result<Locations, LinkError> {
        self.get(&format!("{LOCATIONS_PATH}/{content}")).await
    }

    /// Leaves a batch of messages; the answer says what is stored.
    ///
    /// # Errors
    /// [`LinkError`]: keep the messages then.
    pub async fn status(&self, batch: &SignedBatch) -> Result<StatusAck, LinkError> {
        let (answer, url) = self.post(STATUS_PATH, batch).await?;
        read(answer, &url).await
    }

    /// Leaves the inventory.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn inventory(&self, inventory: &Inventory) -> Result<(), LinkError> {
        self.post(INVENTORY_PATH, inventory).await.map(|_| ())
    }

    /// Tells of bytes that do not match their digest.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn bad_content(&self, complaint: &BadContent) -> Result<(), LinkError> {
        self.post(BAD_CONTENT_PATH, complaint).await.map(|_| ())
    }

    /// Asks for the next certificate.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn renew(&self, site_url: &str, request: &RenewRequest) -> Result<RenewAnswer, LinkError> {
        let sent = self.http().post(format!("{site_url}{RENEW_PATH}")).timeout(REQUEST_TIMEOUT).json(request).send();
        let answer = sent.await.map_err(|error| LinkError::Unreachable(Some(error)))?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        read(answer, site_url).await
    }
}

async fn refused(answer: reqwest::Response) -> LinkError {
    const TEXT_CHARS_MAX: usize = 500;
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    LinkError::Refused { status, text: text.trim().chars().take(TEXT_CHARS_MAX).collect() }
}

/// Reads a JSON answer of bounded size.
async fn read<T: DeserializeOwned>(mut answer: reqwest::Response, url: &str) -> Result<T, LinkError> {
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let unreadable = |text: String| LinkError::Unreadable { url: url.to_owned(), text };
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreadable(error.to_string()))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(unreadable(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}
