//! The one request of a machine that joins or comes back. What is in it, and what is made of the answer, is the session's.

use std::time::Duration;

use super::{
    answer,
    backoff::Backoff,
    client::{Timeouts, enrolment_client},
    fault::Fault,
    session::SessionError,
};
use crate::{
    clock,
    content::Digest,
    wire::enrol::{ENROL_ANSWER_BYTES_MAX, ENROL_PATH, EnrolAnswer, EnrolRequest, JoinFile},
};

/// Time for the whole enrolment request.
const ENROL_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries to reach the enrolment listener while it starts up beside this process.
const ENROL_TRIES: u32 = 20;
/// Pause between them.
const ENROL_PAUSE: Duration = Duration::from_millis(250);

/// Asks until the site can be reached: an image may start before its site does. The join file's end is an end.
pub(super) async fn enrol_patiently(join: &JoinFile, request: &EnrolRequest) -> Result<EnrolAnswer, SessionError> {
    let mut backoff = Backoff::default();
    loop {
        match enrol(&join.url, join.ca_sha256, request).await {
            Err(SessionError::Unreachable(url, fault)) if !fault.is_stranger() && join.expires > clock::now() => {
                tracing::warn!(%url, %fault, "the site's enrolment cannot be reached; trying again");
                tokio::time::sleep(backoff.next()).await;
            }
            done => return done,
        }
    }
}

/// One try, which waits for a listener that starts up beside this process.
pub(super) async fn enrol(url: &str, ca_sha256: Digest, request: &EnrolRequest) -> Result<EnrolAnswer, SessionError> {
    let http = enrolment_client(ca_sha256, Timeouts::default())?;
    let mut tries = 0;
    let answer = loop {
        let sent = http.post(format!("{url}{ENROL_PATH}")).timeout(ENROL_TIMEOUT).json(request).send().await;
        match sent {
            Ok(answer) => break answer,
            Err(error) if error.is_connect() && tries < ENROL_TRIES => {
                tries += 1;
                tokio::time::sleep(ENROL_PAUSE).await;
            }
            Err(error) => return Err(SessionError::Unreachable(url.to_owned(), error.into())),
        }
    };
    if let Some(why) = answer::turned_away(&answer) {
        return Err(SessionError::TurnedAway(why));
    }
    // It is busy or cannot write: neither is about this machine.
    if answer.status().is_server_error() || answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS {
        return Err(SessionError::Unreachable(url.to_owned(), Fault::of_status(answer.status())));
    }
    if !answer.status().is_success() {
        return Err(SessionError::Refused(answer::refusal(answer).await));
    }
    answer::json(answer, ENROL_ANSWER_BYTES_MAX).await.map_err(SessionError::Unusable)
}
