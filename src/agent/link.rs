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

use tokio::sync::Notify;

use crate::{
    content::digest::Digest,
    transport::{
        answer::{self, AnswerError},
        backoff::{Backoff, jitter},
    },
    trust::envelope::Envelope,
    wire::{
        access::{
            BAD_CONTENT_PATH, BadContent, INVENTORY_PATH, LOCATIONS_PATH, Locations, POLICY_PATH, RECORD_PATH,
            STATUS_PATH,
        },
        inventory::SignedInventory,
        policy::PolicyAnswer,
        status::SignedBatch,
        turned_away::TurnedAway,
    },
};

/// Time for a request that does not wait for a change.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Added to the waiting time of a long poll: the answer still has to travel.
const LONG_POLL_GRACE: Duration = Duration::from_secs(20);
/// A client that its site turns away asks again about so often: nobody is served by more.
const TURNED_AWAY_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of an answer at most: a policy body, its proof, and room.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why no access point gave an answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// None could be reached.
    #[error("no access point of the site can be reached")]
    Unreachable(#[source] Option<reqwest::Error>),
    /// One says that the site lets this client in no more.
    #[error("the site turns this client away: {0}")]
    TurnedAway(TurnedAway),
    /// One answered with a refusal.
    #[error("the site answered {status}: {text}")]
    Refused {
        /// The status code.
        status: u16,
        /// What it said.
        text: String,
    },
    /// One answered something that is no answer.
    #[error("the answer of {url} cannot be used")]
    Unreadable {
        /// Which.
        url: String,
        /// Why.
        source: AnswerError,
    },
}

impl LinkError {
    /// Whether the site, and no fault on the way, is behind it: that is said once, by the line itself.
    #[must_use]
    pub const fn is_turned_away(&self) -> bool {
        matches!(self, Self::TurnedAway(_))
    }
}

/// The line to the site.
pub struct Link {
    http: Mutex<reqwest::Client>,
    urls: Mutex<Vec<String>>,
    current: AtomicUsize,
    /// Why the site turns this client away, as it said last.
    turned_away: Mutex<Option<TurnedAway>>,
    /// The site lets it in again.
    welcome: Notify,
}

/// What a poll gave, and which access point it was.
pub struct Polled {
    /// What it says.
    pub said: Said,
    /// Its URL, for [`Link::leave`].
    pub url: String,
}

/// What an access point says to a poll.
pub enum Said {
    /// Nothing new.
    Unchanged,
    /// It does not know this client's policy yet.
    Unknown,
    /// An answer with its entity tag, not verified.
    Changed(Box<PolicyAnswer>, String),
}

impl Link {
    /// `http` carries the client's certificate.
    #[must_use]
    pub fn new(http: reqwest::Client, urls: Vec<String>) -> Self {
        Self {
            http: Mutex::new(http),
            urls: Mutex::new(urls),
            current: AtomicUsize::new(0),
            turned_away: Mutex::default(),
            welcome: Notify::new(),
        }
    }

    /// Waits before the next try: as `backoff` says, or long, but until it is let in again, if this client is turned away.
    pub async fn rest(&self, error: &LinkError, backoff: &mut Backoff) {
        if !error.is_turned_away() {
            return tokio::time::sleep(backoff.next()).await;
        }
        tokio::select! {
            () = self.welcome.notified() => {}
            () = tokio::time::sleep(TURNED_AWAY_PAUSE + jitter(TURNED_AWAY_PAUSE / 4)) => {}
        }
    }

    /// Notes whether the site lets this client in, and says so when that changes.
    fn note(&self, now: Option<TurnedAway>) {
        let before = std::mem::replace(&mut *self.turned_away.lock().unwrap_or_else(PoisonError::into_inner), now);
        match now {
            Some(why) if before != now => {
                let pause = TURNED_AWAY_PAUSE.as_secs();
                tracing::warn!("the site turns this client away: {why}; asking again every {pause} s");
            }
            None if before.is_some() => {
                tracing::info!("the site lets this client in again");
                self.welcome.notify_waiters();
            }
            _ => {}
        }
    }

    /// Uses a renewed certificate from now on.
    pub fn replace_client(&self, http: reqwest::Client) {
        *self.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
    }

    /// Asks another access point than this one from now on; nothing if another one is in use already.
    pub fn leave(&self, url: &str) {
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load(Ordering::Relaxed);
        if urls.get(current % urls.len().max(1)).is_some_and(|used| used == url) {
            // Whoever else leaves it waits for the list above, and finds another one in use.
            self.current.store(current + 1, Ordering::Relaxed);
        }
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
                Ok(answer) if is_broken(answer.status()) => {
                    tracing::debug!(%url, status = %answer.status(), "an access point is not well");
                }
                Ok(answer) => return Ok((answer, url)),
                Err(error) => {
                    tracing::debug!(%url, %error, "an access point cannot be reached");
                    last = Some(error);
                }
            }
            self.leave(&url);
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
        let said = match answer.status() {
            reqwest::StatusCode::NOT_MODIFIED => {
                self.note(None);
                Said::Unchanged
            }
            reqwest::StatusCode::NOT_FOUND => Said::Unknown,
            _ => {
                let tag = answer.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok());
                let tag = tag.unwrap_or_default().to_owned();
                Said::Changed(Box::new(self.read(answer, &url).await?), tag)
            }
        };
        Ok(Polled { said, url })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(T, String), LinkError> {
        let (answer, url) = self.send(|http, url| http.get(format!("{url}{path}")).timeout(REQUEST_TIMEOUT)).await?;
        Ok((self.read(answer, &url).await?, url))
    }

    async fn post<T: Serialize + Sync>(&self, path: &str, body: &T) -> Result<(reqwest::Response, String), LinkError> {
        let (answer, url) =
            self.send(|http, url| http.post(format!("{url}{path}")).timeout(REQUEST_TIMEOUT).json(body)).await?;
        if !answer.status().is_success() {
            return Err(self.refused(answer, &url).await);
        }
        self.note(None);
        Ok((answer, url))
    }

    /// Another access point may say something else to what this one refuses.
    async fn refused(&self, answer: reqwest::Response, url: &str) -> LinkError {
        self.leave(url);
        if let Some(why) = answer::turned_away(&answer) {
            self.note(Some(why));
            return LinkError::TurnedAway(why);
        }
        LinkError::Refused { status: answer.status().as_u16(), text: answer::refusal(answer).await }
    }

    /// Reads a JSON answer of bounded size. Who does not give one is left.
    async fn read<T: DeserializeOwned>(&self, answer: reqwest::Response, url: &str) -> Result<T, LinkError> {
        if !answer.status().is_success() {
            return Err(self.refused(answer, url).await);
        }
        self.note(None);
        answer::json(answer, ANSWER_BYTES_MAX).await.map_err(|source| {
            self.leave(url);
            LinkError::Unreadable { url: url.to_owned(), source }
        })
    }

    /// A package record, not verified, and who gave it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn record(&self, digest: &Digest) -> Result<(Envelope, String), LinkError> {
        self.get(&format!("{RECORD_PATH}/{digest}")).await
    }

    /// The distribution points that hold some content now, as one access point says, and which one.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn locations(&self, content: &Digest) -> Result<(Locations, String), LinkError> {
        self.get(&format!("{LOCATIONS_PATH}/{content}")).await
    }

    /// Leaves a batch of messages; gives the receipt, not verified, and who gave it.
    ///
    /// # Errors
    /// [`LinkError`]: keep the messages then.
    pub async fn status(&self, batch: &SignedBatch) -> Result<(Envelope, String), LinkError> {
        let (answer, url) = self.post(STATUS_PATH, batch).await?;
        Ok((self.read(answer, &url).await?, url))
    }

    /// Leaves the inventory; gives the receipt, not verified, and who gave it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn inventory(&self, inventory: &SignedInventory) -> Result<(Envelope, String), LinkError> {
        let (answer, url) = self.post(INVENTORY_PATH, inventory).await?;
        Ok((self.read(answer, &url).await?, url))
    }

    /// Tells of bytes that do not match their digest.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn bad_content(&self, complaint: &BadContent) -> Result<(), LinkError> {
        self.post(BAD_CONTENT_PATH, complaint).await.map(|_| ())
    }
}

/// Whether an access point is not well: our own answer with an error of theirs, or would send us elsewhere.
fn is_broken(status: reqwest::StatusCode) -> bool {
    status.is_server_error() || (status.is_redirection() && status != reqwest::StatusCode::NOT_MODIFIED)
}
