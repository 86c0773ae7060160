//! Reads the answers of other processes, none of which may be longer than somebody expects: an answer without an end must
//! not fill the memory of whoever asked. What an answer means is decided by whoever asked.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;

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
    #[error("the answer was cut off")]
    Cut(#[from] reqwest::Error),
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
    while let Some(chunk) = answer.chunk().await? {
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

/// The beginning of what a refusal says; the rest is not waited for.
pub async fn refusal(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < REFUSAL_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES_MAX - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).trim().chars().take(REFUSAL_CHARS_MAX).collect()
}
