//! Serves one open file over HTTP with ranges and an entity tag, the digest: a transfer resumes where it stopped and
//! never mixes two versions. The open descriptor keeps serving what it was opened for, whatever happens to the name.

use std::{fs::File, io::SeekFrom};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::TryFutureExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::content::digest::Digest;

/// Bytes read from disk and handed to TLS at a time: large enough that system calls do not count.
const CHUNK_BYTES: usize = 256 << 10;

/// Answers a request for the file whose content has this digest.
pub fn serve(file: File, size_bytes: u64, digest: &Digest, headers: &HeaderMap) -> Response {
    let tag = format!("\"{digest}\"");
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|had| had == tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    // A range asked of another version is answered with the whole of this one.
    let same = text(header::IF_RANGE).is_none_or(|had| had == tag);
    let range = text(header::RANGE).filter(|_| same).map(|range| parse_range(range, size_bytes));
    let (status, start, length) = match range {
        Some(Some((start, length))) => (StatusCode::PARTIAL_CONTENT, start, length),
        Some(None) => {
            let whole = format!("bytes */{size_bytes}");
            return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, whole)]).into_response();
        }
        None => (StatusCode::OK, 0, size_bytes),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::ETAG, tag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + length.saturating_sub(1);
        response = response.header(header::CONTENT_RANGE, format!("bytes {start}-{last}/{size_bytes}"));
    }
    let opened = async move {
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(start)).await?;
        Ok::<_, std::io::Error>(ReaderStream::with_capacity(file.take(length), CHUNK_BYTES))
    };
    let body = Body::from_stream(opened.try_flatten_stream());
    response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// One range of bytes as (start, length); `None` if it cannot be satisfied. Several ranges are served as the first.
fn parse_range(text: &str, size_bytes: u64) -> Option<(u64, u64)> {
    let first = text.strip_prefix("bytes=")?.split(',').next()?.trim();
    let (from, to) = first.split_once('-')?;
    if from.is_empty() {
        let length = to.parse::<u64>().ok()?.min(size_bytes);
        return (length > 0).then_some((size_bytes - length, length));
    }
    let start: u64 = from.parse().ok()?;
    let last = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    (start < size_bytes && start <= last).then(|| (start, last.min(size_bytes - 1) - start + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, expected) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=4-", Some((4, 6))),
            ("bytes=4-5", Some((4, 2))),
            ("bytes=4-99", Some((4, 6))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=10-", None),
            ("bytes=5-4", None),
            ("bytes=-0", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
    }
}
