//! Answers as HTTP responses: JSON in the style the client asked for, refusals, plain pages and streams.

use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde::Serialize;
use serde_json::Value;

use super::{failure::Failure, options::Query};

/// Answers from this size on are compressed when the client takes it; below, it costs more than it saves.
const GZIP_FROM_BYTES: usize = 128 << 10;

/// The type of a text; the index of OpenAPI documents is called one, too.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What a request is answered with.
pub(super) enum Answer {
    Json { code: u16, body: Vec<u8>, content_type: &'static str, warnings: Vec<String> },
    Text { code: u16, body: String },
    Stream(Body),
}

/// How JSON is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pretty: bool,
    gzip: bool,
}

impl Style {
    pub(super) fn of(parts: &Parts, query: &Query) -> Style {
        let agent = text(&parts.headers, header::USER_AGENT);
        let person = ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| agent.starts_with(p));
        let pretty = if query.has("pretty") { query.flag("pretty") } else { person };
        let encodings = text(&parts.headers, header::ACCEPT_ENCODING);
        Style {
            pretty,
            gzip: parts.method == http::Method::GET && encodings.split(',').any(|e| e.trim().starts_with("gzip")),
        }
    }
}

/// A header's text; empty if it is absent or no text.
pub(super) fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

impl Answer {
    /// A JSON answer.
    pub(super) fn json(code: u16, body: &impl Serialize) -> Result<Answer, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::internal(e.to_string()))?;
        Ok(Answer::Json { code, body, content_type: "application/json", warnings: vec![] })
    }

    /// The page for paths that nothing serves.
    pub(super) fn no_such_page() -> Answer {
        Answer::Text { code: 404, body: "404 page not found\n".into() }
    }

    /// The same answer with warnings for the person at the client.
    pub(super) fn warning(self, more: Vec<String>) -> Answer {
        match self {
            Answer::Json { code, body, content_type, .. } => Answer::Json { code, body, content_type, warnings: more },
            other => other,
        }
    }

    /// The same JSON under another type.
    pub(super) fn typed(self, content_type: &'static str) -> Answer {
        match self {
            Answer::Json { code, body, warnings, .. } => Answer::Json { code, body, warnings, content_type },
            other => other,
        }
    }

    pub(super) fn into_response(self, style: Style) -> Response<Body> {
        let mut response = match self {
            Answer::Json { code, body, content_type, warnings } => {
                json_response(code, body, content_type, &warnings, style)
            }
            Answer::Text { code, body } => {
                let is_text = !body.is_empty();
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
                if is_text {
                    set(&mut response, header::CONTENT_TYPE, TEXT);
                    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
                }
                response
            }
            Answer::Stream(body) => {
                let mut response = Response::new(body);
                set(&mut response, header::CONTENT_TYPE, "application/json");
                response
            }
        };
        set(&mut response, header::CACHE_CONTROL, "no-cache, private");
        response
    }
}

/// The `Status` of a refusal.
pub(super) fn refusal(failure: &Failure, style: Style) -> Response<Body> {
    let body = serde_json::to_vec(failure).unwrap_or_default();
    let mut response = json_response(failure.code, body, "application/json", &failure.warnings, style);
    if let Some(seconds) = failure.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    set(&mut response, header::CACHE_CONTROL, "no-cache, private");
    response
}

fn json_response(
    code: u16,
    body: Vec<u8>,
    content_type: &'static str,
    warnings: &[String],
    style: Style,
) -> Response<Body> {
    let mut body = if style.pretty { pretty(&body).unwrap_or(body) } else { body };
    body.push(b'\n');
    let compressed = (style.gzip && body.len() >= GZIP_FROM_BYTES).then(|| gzip(&body)).flatten();
    let encoded = compressed.is_some();
    let mut response = Response::new(Body::from(Bytes::from(compressed.unwrap_or(body))));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE, content_type);
    if encoded {
        set(&mut response, header::CONTENT_ENCODING, "gzip");
        set(&mut response, header::VARY, "Accept-Encoding");
    }
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn pretty(body: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(body).ok()?).ok()
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
