//! Reads the answers of other processes, none of which may be longer than somebody expects: an answer without an end must
//! not fill the memory of whoever asked. What an answer means is decided by whoever asked.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::wire::turned_away::{TURNED_AWAY_HEADER, TurnedAway};

/// Characters kept of a refusal's text: it goes into logs and messages.
const REFUSAL_CHARS_MAX: usize = 500;
/// Bytes read of a refusal: enough for the characters, whatever they are.
const REFUSAL_BYTES_MAX: usize = 4 * REFUSAL_CHARS_MAX;

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is longer than anything that was asked for.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// It was cut off, or came too slowly.
    #[error("the answer did not come whole")]
    Cut(#[from] Fault),
    /// It is not what was asked for.
    #[error("the answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

/// The whole body, of `limit_bytes` at most. How long that may take is set on the request.
///
/// # Errors
/// [`AnswerError::TooLong`], [`AnswerError::Cut`].
pub async fn bytes(mut answer: reqwest::Response, limit_bytes: usize) -> Result<Bytes, AnswerError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(Fault::from)? {
        if bytes.len() + chunk.len() > limit_bytes {
            return Err(AnswerError::TooLong(limit_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// The body read as JSON, of `limit_bytes` at most.
///
/// # Errors
/// [`AnswerError`].
pub async fn json<T: DeserializeOwned>(answer: reqwest::Response, limit_bytes: usize) -> Result<T, AnswerError> {
    Ok(serde_json::from_slice(&bytes(answer, limit_bytes).await?)?)
}

/// Why the other side turns this device away, if that is what its answer says.
#[must_use]
pub fn turned_away(answer: &reqwest::Response) -> Option<TurnedAway> {
    if answer.status() != reqwest::StatusCode::FORBIDDEN {
        return None;
    }
    TurnedAway::parse(answer.headers().get(TURNED_AWAY_HEADER)?.to_str().ok()?)
}

/// The beginning of what a refusal says, the rest is not waited for; what its code means if it says nothing.
pub async fn refusal(mut answer: reqwest::Response) -> String {
    let status = answer.status();
    let mut bytes = Vec::new();
    while bytes.len() < REFUSAL_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES_MAX - bytes.len())]);
    }
    let said: String = String::from_utf8_lossy(&bytes).trim().chars().take(REFUSAL_CHARS_MAX).collect();
    if said.is_empty() { Fault::of_status(status).to_string() } else { said }
}

/// What a refusal's code means between our processes, for those that come without a word.
#[must_use]
pub fn meaning(status: reqwest::StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "it sends elsewhere, which is not followed: something else than a site listens there",
        401 | 403 => "it does not admit this device, or not to this",
        404 => "it does not know what was asked for",
        408 | 504 => "it waited too long",
        413 => "what was sent is more than it takes",
        429 | 503 => "it has too much to do or is just starting; it is asked again",
        400..=499 => "it does not understand the question: are both of one version?",
        507 => "its disk is full",
        _ => "it failed; its own log says why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_without_a_word_is_told_by_what_its_code_means() {
        let answered = |status: u16, body: &'static str| {
            let answer = http::Response::builder().status(status).body(body).unwrap();
            refusal(reqwest::Response::from(answer))
        };
        assert_eq!(answered(403, " the token is used up\n").await, "the token is used up");
        assert_eq!(answered(503, "").await, "it has too much to do or is just starting; it is asked again (503)");
        assert_eq!(answered(500, "\n").await, "it failed; its own log says why (500)");
    }
}
