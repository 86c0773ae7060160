//! A separate distribution point's way to its site: over HTTPS with its own certificate.

use std::{
    io::{self, Read},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::{SiteEnd, SiteEndError};
use crate::{
    content::{Digest, Manifest, manifest::MAX_ENCODED_BYTES},
    transport::{answer, download::Download},
    wire::{
        access::{ASSIGNMENT_PATH, REPORT_PATH, SITE_FILE_PATH, SITE_MANIFEST_PATH},
        points::{Assignment, PointReport},
        status::StatusAck,
    },
};

/// Time for anything but a long poll.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer at most: an assignment names every version and its readers.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The line to one site.
pub struct Remote {
    http: Mutex<reqwest::Client>,
    site_url: String,
    runtime: Handle,
}

impl Remote {
    /// `http` carries the point's certificate; `runtime` drives what the blocking calls need.
    #[must_use]
    pub fn new(http: reqwest::Client, site_url: String, runtime: Handle) -> Self {
        Self { http: Mutex::new(http), site_url, runtime }
    }

    /// Uses a renewed certificate from now on.
    pub fn replace_client(&self, http: reqwest::Client) {
        *self.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
    }

    fn http(&self) -> reqwest::Client {
        self.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_assignment(&self, have: Option<String>, wait: Duration) -> Result<Option<Assignment>, SiteEndError> {
        let url = format!("{}{ASSIGNMENT_PATH}?wait={}", self.site_url, wait.as_secs());
        let mut request = self.http().get(url).timeout(wait + REQUEST_TIMEOUT);
        if let Some(have) = have {
            request = request.header(reqwest::header::IF_NONE_MATCH, format!("\"{have}\""));
        }
        let answer = request.send().await.map_err(|error| SiteEndError::Unavailable(Box::new(error)))?;
        if answer.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        read(answer).await.map(Some)
    }

    async fn send_report(&self, report: PointReport) -> Result<StatusAck, SiteEndError> {
        let request = self.http().post(format!("{}{REPORT_PATH}", self.site_url)).timeout(REQUEST_TIMEOUT);
        let answer = request.json(&report).send().await.map_err(|error| SiteEndError::Unavailable(Box::new(error)))?;
        read(answer).await
    }
}

impl SiteEnd for Remote {
    fn assignment(
        &self,
        have: Option<String>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<Assignment>, SiteEndError>> {
        Box::pin(self.ask_assignment(have, wait))
    }

    fn report(&self, report: PointReport) -> BoxFuture<'_, Result<StatusAck, SiteEndError>> {
        Box::pin(self.send_report(report))
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Manifest> {
        let url = format!("{}{SITE_MANIFEST_PATH}/{digest}", self.site_url);
        let mut bytes = Vec::new();
        let download = Download::open(&self.runtime, &self.http(), &url, 0)?;
        download.take(MAX_ENCODED_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if Digest::of(&bytes) != *digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{url} gave bytes of another digest")));
        }
        Manifest::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn open_file(&self, digest: &Digest, offset_bytes: u64) -> io::Result<Box<dyn Read>> {
        let url = format!("{}{SITE_FILE_PATH}/{digest}", self.site_url);
        Ok(Box::new(Download::open(&self.runtime, &self.http(), &url, offset_bytes)?))
    }
}

/// Reads a JSON answer of bounded size.
async fn read<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, SiteEndError> {
    if let Some(why) = answer::turned_away(&answer) {
        return Err(SiteEndError::Refused(format!("it turns this point away: {why}")));
    }
    let status = answer.status();
    if !status.is_success() {
        return Err(SiteEndError::Refused(format!("{status} {}", answer::refusal(answer).await)));
    }
    answer::json(answer, ANSWER_BYTES_MAX).await.map_err(|error| SiteEndError::Unavailable(Box::new(error)))
}
