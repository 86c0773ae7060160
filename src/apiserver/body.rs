//! From a request's bytes to an object: size limit, content types, JSON, YAML, protobuf, duplicate keys.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{failure::Failure, kinds::Kind, protobuf};

/// Largest body that is read; the real server's limit.
pub(super) const BODY_BYTES: usize = 3 << 20;

/// Largest object that is stored; what etcd takes in one request.
pub(super) const OBJECT_BYTES: usize = 3 << 19;

/// What a refusal names; like the real server it names protobuf also for custom kinds, which have no such form.
const ALL_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// An object and the keys that its text has twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    pub(super) object: Value,
    pub(super) duplicates: Vec<String>,
}

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
    let mut decoded = match content_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => json(bytes).map_err(refused)?,
        "application/yaml" => yaml(bytes).map_err(refused)?,
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
    if decoded.object["kind"].as_str().is_none_or(str::is_empty) {
        return Err(refused(Problem::Missing("Kind")));
    }
    match &decoded.object["apiVersion"] {
        Value::String(_) => {}
        // a built-in type knows its own; of a custom kind the caller compares it with the path
        Value::Null if !kind.is_custom() => decoded.object["apiVersion"] = kind.api_version().into(),
        Value::Null => {}
        other => {
            let found = word(other);
            return Err(refused(Problem::Json(format!(
                "json: cannot unmarshal {found} into Go struct field .apiVersion of type string"
            ))));
        }
    }
    Ok(decoded)
}

/// Decodes an apply's body: YAML, of which JSON is a part; a second document is ignored.
pub(super) fn decode_apply(bytes: &[u8]) -> Result<Decoded, Failure> {
    let decoded =
        if bytes.trim_ascii_start().starts_with(b"{") { json(bytes).or_else(|_| yaml(bytes)) } else { yaml(bytes) };
    let fault = |e: String| Failure::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}"));
    let decoded = decoded.map_err(|p| fault(p.to_string()))?;
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
    json(bytes).map(|d| d.duplicates).unwrap_or_default()
}

/// Decodes the options of a deletion.
pub(super) fn decode_options(bytes: &[u8], content_type: &str) -> Result<Value, Failure> {
    let decoded = match content_type.split(';').next().unwrap_or_default().trim() {
        "application/yaml" => yaml(bytes),
        "" | "application/json" => json(bytes),
        _ => return Err(Failure::unsupported_media_type(ALL_TYPES)),
    };
    decoded.map(|d| d.object).map_err(|p| Failure::bad_request(p.to_string()))
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

fn json(bytes: &[u8]) -> Result<Decoded, Problem> {
    let mut duplicates = vec![];
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Tree { path: String::new(), duplicates: &mut duplicates };
    let object = seed
        .deserialize(&mut reader)
        .and_then(|v| reader.end().map(|()| v))
        .map_err(|e| Problem::Json(broken_json(bytes, &e)))?;
    Ok(Decoded { object, duplicates })
}

/// What is wrong with a JSON text, in the words that clients know.
fn broken_json(bytes: &[u8], error: &serde_json::Error) -> String {
    let told = error.to_string();
    let at = error.column().saturating_sub(1);
    let line = bytes.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = line.get(at).map_or(' ', |b| char::from(*b));
    match () {
        () if error.is_eof() => "unexpected end of JSON input".into(),
        () if told.starts_with("trailing characters") => format!("invalid character {found:?} after top-level value"),
        () if told.starts_with("expected value") => {
            format!("invalid character {found:?} looking for beginning of value")
        }
        () if told.starts_with("key must be a string") => {
            format!("invalid character {found:?} looking for beginning of object key string")
        }
        () => told,
    }
}

fn yaml(bytes: &[u8]) -> Result<Decoded, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|e| Problem::Yaml(e.to_string()))?;
    let mut duplicates = vec![];
    let options = serde_yaml::options! { duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins };
    let read = serde_yaml::with_deserializer_from_str_with_options(first_document(text), options, |reader| {
        Tree { path: String::new(), duplicates: &mut duplicates }.deserialize(reader)
    });
    let object = read.map_err(|e| Problem::Yaml(broken_yaml(&e)))?;
    Ok(Decoded { object, duplicates })
}

/// What is wrong with a YAML text: the line and the reason, without the picture that a terminal would get.
fn broken_yaml(error: &serde_yaml::Error) -> String {
    let line = error.location().map_or(0, |at| at.line());
    let told = error.without_snippet().to_string();
    let why = told.lines().next().unwrap_or_default();
    let syntax =
        ["unclosed bracket", "unexpected end", "unexpected eof"].iter().any(|s| why.to_lowercase().contains(s));
    let why = if syntax { "did not find expected node content" } else { why };
    format!("yaml: line {line}: {why}")
}

/// The text up to the second document.
fn first_document(text: &str) -> &str {
    let body = text.strip_prefix("---\n").map_or(0, |_| 4);
    text[body..].find("\n---\n").map_or(text, |end| &text[..body + end + 1])
}

/// Builds a value and notes the keys that occur twice in one object; the last one counts.
struct Tree<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        loop {
            let seed = Tree { path: format!("{}[{}]", self.path, list.len()), duplicates: self.duplicates };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if map.contains_key(&key) {
                self.duplicates.push(path.clone());
            }
            let value = entries.next_value_seed(Tree { path, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_occur_twice_are_named() {
        let read = json(br#"{"a": {"b": 1, "b": 2}, "l": [{"c": 1, "c": 3}]}"#).unwrap();
        assert_eq!(read.duplicates, ["a.b", "l[0].c"]);
        assert_eq!(read.object, json!({"a": {"b": 2}, "l": [{"c": 3}]}));
    }

    #[test]
    fn only_the_first_document_of_an_apply_counts() {
        let read = decode_apply(b"---\na: 1\n---\nb: 2\n").unwrap();
        assert_eq!(read.object, json!({"a": 1}));
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(json(b"9007199254740993").unwrap().object, json!(9_007_199_254_740_993_i64));
    }
}
