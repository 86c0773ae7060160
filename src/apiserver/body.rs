//! From a request's bytes to an object: size limit, content types, and what is no object. Texts are read by `decode`.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

pub(super) use super::decode::Decoded;
use super::{
    decode::{self, Fault},
    failure::Failure,
    kinds::Kind,
    protobuf,
};

/// Largest body that is read; the real server's limit.
pub(super) const BODY_BYTES: usize = 3 << 20;

/// Largest object that is stored; what etcd takes in one request.
pub(super) const OBJECT_BYTES: usize = 3 << 19;

/// What a refusal names; like the real server it names protobuf also for custom kinds, which have no such form.
const ALL_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Reads a body to its end, or refuses it.
pub(super) async fn collect<B>(body: B) -> Result<Bytes, Failure>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => {
            Err(Failure::too_large(format!("Request entity too large: limit is {BODY_BYTES}")))
        }
        Err(e) => Err(Failure::bad_request(format!("the body of the request could not be read: {e}"))),
    }
}

/// Decodes a body that is an object of `kind`, by its content type.
pub(super) fn decode(kind: &Kind, content_type: &str, bytes: &[u8]) -> Result<Decoded, Failure> {
    let refused = |problem: Problem| problem.refusal(kind, bytes);
    let mut decoded = match media(content_type).as_str() {
        "" | "application/json" => decode::json(bytes).map_err(|fault| unreadable(kind, fault, bytes))?,
        "application/yaml" => decode::yaml(bytes).map_err(|told| refused(Problem::Yaml(told)))?,
        "application/vnd.kubernetes.protobuf" if !kind.is_custom() => {
            let object = protobuf::read(bytes).map_err(|e| Failure::bad_request(e.to_string()))?;
            Decoded { object, duplicates: vec![] }
        }
        _ => {
            return Err(Failure::unsupported_media_type(ALL_TYPES));
        }
    };
    if !decoded.object.is_object() {
        return Err(refused(if decoded.object.is_null() {
            Problem::Missing("Kind")
        } else {
            Problem::NoObject(decoded.object)
        }));
    }
    match &decoded.object["kind"] {
        Value::String(text) if !text.is_empty() => {}
        Value::String(_) | Value::Null => return Err(refused(Problem::Missing("Kind"))),
        other => return Err(refused(mistyped("kind", other))),
    }
    match &decoded.object["apiVersion"] {
        Value::String(_) => {}
        // a built-in type knows its own; of a custom kind the caller compares it with the path
        Value::Null if !kind.is_custom() => decoded.object["apiVersion"] = kind.api_version().into(),
        Value::Null => {}
        other => return Err(refused(mistyped("apiVersion", other))),
    }
    Ok(decoded)
}

/// The media type of a header, without its parameters; upper and lower case are the same.
fn media(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_lowercase()
}

fn mistyped(field: &str, value: &Value) -> Problem {
    let found = word(value);
    Problem::Json(format!("json: cannot unmarshal {found} into Go struct field .{field} of type string"))
}

/// Why a text is no JSON. A number that is too large is only met when the object is built.
fn unreadable(kind: &Kind, fault: Fault, bytes: &[u8]) -> Failure {
    match fault {
        Fault::Text(told) => Problem::Json(told).refusal(kind, bytes),
        Fault::Number(text) => {
            let why = format!("json: cannot unmarshal number {text} into Go value of type float64");
            super::admit::undecodable(kind, &why)
        }
    }
}

/// Decodes an apply's body: YAML, of which JSON is a part; a second document is ignored.
pub(super) fn decode_apply(bytes: &[u8]) -> Result<Decoded, Failure> {
    let decoded = if bytes.trim_ascii_start().starts_with(b"{") {
        decode::json(bytes).or_else(|_| decode::yaml(bytes))
    } else {
        decode::yaml(bytes)
    };
    let fault = |e: String| Failure::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}"));
    let decoded = decoded.map_err(fault)?;
    match &decoded.object {
        Value::Object(_) => Ok(decoded),
        Value::Null => Ok(Decoded { object: Value::Object(Map::new()), duplicates: vec![] }),
        other => Err(Failure::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value \
             of type map[string]interface {{}}",
            word(other)
        ))),
    }
}

/// The keys that a JSON text has twice; none if it is no JSON, which is somebody else's to say.
pub(super) fn duplicates(bytes: &[u8]) -> Vec<String> {
    decode::json(bytes).map(|d| d.duplicates).unwrap_or_default()
}

/// Decodes the options of a deletion.
pub(super) fn decode_options(bytes: &[u8], content_type: &str) -> Result<Value, Failure> {
    let decoded = match media(content_type).as_str() {
        "application/yaml" => decode::yaml(bytes),
        "" | "application/json" => {
            decode::json(bytes).map_err(|fault| format!("couldn't get version/kind; json parse error: {fault}"))
        }
        _ => return Err(Failure::unsupported_media_type(ALL_TYPES)),
    };
    decoded.map(|d| d.object).map_err(Failure::bad_request)
}

/// Why a text is no object.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("couldn't get version/kind; json parse error: {0}")]
    Json(String),
    #[error("{0}")]
    Yaml(String),
    #[error("couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}", word(.0))]
    NoObject(Value),
    #[error("Object '{0}' is missing")]
    Missing(&'static str),
}

pub(super) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is said of a JSON value that should be an object with a kind.
pub(super) fn no_object(value: &Value) -> String {
    Problem::NoObject(value.clone()).to_string()
}

impl Problem {
    fn refusal(self, kind: &Kind, bytes: &[u8]) -> Failure {
        let shown = match &self {
            Problem::Missing(what) => format!("Object '{what}' is missing in '{}'", String::from_utf8_lossy(bytes)),
            other => other.to_string(),
        };
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {shown} ({})",
            kind.kind,
            summary(bytes)
        ))
    }
}

/// The start of a body, for messages.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let hex = |b: &[u8]| b.iter().map(|x| format!("{x:02x}")).collect::<String>();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let show = if bytes.starts_with(b"{") { &text as &dyn Fn(&[u8]) -> String } else { &hex };
    match bytes {
        [] => "<empty>".into(),
        long if long.len() > SHOWN => format!("{} ...", show(&long[..SHOWN])),
        short => show(short),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_first_document_of_an_apply_counts() {
        let read = decode_apply(b"---\na: 1\n---\nb: 2\n").unwrap();
        assert_eq!(read.object, json!({"a": 1}));
    }
}
