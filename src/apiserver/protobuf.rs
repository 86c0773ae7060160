//! Reads the protobuf bodies that kubectl's typed commands send for built-in kinds, by tables of field numbers.
//! It writes none, and knows no custom kind: those have no protobuf form anywhere.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Every protobuf body of the API starts with this, then comes a `runtime.Unknown`.
pub(super) const MAGIC: &[u8] = b"k8s\0";

/// Messages inside messages; deeper than any built-in kind goes.
const DEPTH_MAX: usize = 16;

/// How a field is read and what it becomes.
enum Type {
    Text,
    Bool,
    Int,
    /// Bytes, as base64.
    Bytes,
    /// Seconds and nanoseconds, as RFC 3339 with whole seconds.
    Time,
    /// The same with microseconds.
    MicroTime,
    Message(Fields),
    Texts,
    Messages(Fields),
    TextMap,
    BytesMap,
}

/// Field number, JSON name, type.
type Fields = &'static [(u64, &'static str, Type)];

use Type::{Bool, Bytes, BytesMap, Int, Message, Messages, MicroTime, Text, TextMap, Texts, Time};

const OWNER: Fields = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
];
const METADATA: Fields = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Int),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Int),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
];
const REFERENCE: Fields = &[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
];
const SERIES: Fields = &[(1, "count", Int), (2, "lastObservedTime", MicroTime)];
const SOURCE: Fields = &[(1, "component", Text), (2, "host", Text)];
const LEASE_SPEC: Fields = &[
    (1, "holderIdentity", Text),
    (2, "leaseDurationSeconds", Int),
    (3, "acquireTime", MicroTime),
    (4, "renewTime", MicroTime),
    (5, "leaseTransitions", Int),
    (6, "strategy", Text),
    (7, "preferredHolder", Text),
];
const RESOURCE_ATTRIBUTES: Fields = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const PATH_ATTRIBUTES: Fields = &[(1, "path", Text), (2, "verb", Text)];
const ACCESS_SPEC: Fields =
    &[(1, "resourceAttributes", Message(RESOURCE_ATTRIBUTES)), (2, "nonResourceAttributes", Message(PATH_ATTRIBUTES))];

/// The fields of the kinds whose protobuf form is read.
fn fields(api_version: &str, kind: &str) -> Option<Fields> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => &[(1, "metadata", Message(METADATA)), (2, "spec", Message(&[(1, "finalizers", Texts)]))],
        ("v1", "Secret") => &[
            (1, "metadata", Message(METADATA)),
            (2, "data", BytesMap),
            (3, "type", Text),
            (4, "stringData", TextMap),
            (5, "immutable", Bool),
        ],
        ("v1", "ConfigMap") => &[
            (1, "metadata", Message(METADATA)),
            (2, "data", TextMap),
            (3, "binaryData", BytesMap),
            (4, "immutable", Bool),
        ],
        ("v1", "Event") => &[
            (1, "metadata", Message(METADATA)),
            (2, "involvedObject", Message(REFERENCE)),
            (3, "reason", Text),
            (4, "message", Text),
            (5, "source", Message(SOURCE)),
            (6, "firstTimestamp", Time),
            (7, "lastTimestamp", Time),
            (8, "count", Int),
            (9, "type", Text),
            (10, "eventTime", MicroTime),
            (11, "series", Message(SERIES)),
            (12, "action", Text),
            (13, "related", Message(REFERENCE)),
            (14, "reportingComponent", Text),
            (15, "reportingInstance", Text),
        ],
        ("events.k8s.io/v1", "Event") => &[
            (1, "metadata", Message(METADATA)),
            (2, "eventTime", MicroTime),
            (3, "series", Message(SERIES)),
            (4, "reportingController", Text),
            (5, "reportingInstance", Text),
            (6, "action", Text),
            (7, "reason", Text),
            (8, "regarding", Message(REFERENCE)),
            (9, "related", Message(REFERENCE)),
            (10, "note", Text),
            (11, "type", Text),
            (12, "deprecatedSource", Message(SOURCE)),
            (13, "deprecatedFirstTimestamp", Time),
            (14, "deprecatedLastTimestamp", Time),
            (15, "deprecatedCount", Int),
        ],
        ("coordination.k8s.io/v1", "Lease") => &[(1, "metadata", Message(METADATA)), (2, "spec", Message(LEASE_SPEC))],
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => {
            &[(1, "metadata", Message(METADATA)), (2, "spec", Message(ACCESS_SPEC))]
        }
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => {
            &[(1, "metadata", Message(METADATA)), (2, "spec", Message(&[(1, "namespace", Text)]))]
        }
        ("authentication.k8s.io/v1", "SelfSubjectReview") => &[(1, "metadata", Message(METADATA))],
        (_, "DeleteOptions") => &[
            (1, "gracePeriodSeconds", Int),
            (2, "preconditions", Message(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
            (3, "orphanDependents", Bool),
            (4, "propagationPolicy", Text),
            (5, "dryRun", Texts),
        ],
        _ => return None,
    })
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the protobuf body is damaged")]
    Damaged,
    #[error("this kind has no protobuf form here")]
    UnknownKind,
}

/// The object of a protobuf body, with apiVersion and kind.
pub(super) fn read(body: &[u8]) -> Result<Value, Unreadable> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Unreadable::Damaged)?;
    let type_meta: Fields = &[(1, "apiVersion", Text), (2, "kind", Text)];
    let (mut meta, mut raw) = (Value::Null, [].as_slice());
    for field in Wire(envelope) {
        match field? {
            (1, Raw::Bytes(b)) => meta = message(b, type_meta, 0)?,
            (2, Raw::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let mut object = message(raw, fields(&api_version, &kind).ok_or(Unreadable::UnknownKind)?, 0)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn message(bytes: &[u8], fields: Fields, depth: usize) -> Result<Value, Unreadable> {
    if depth > DEPTH_MAX {
        return Err(Unreadable::Damaged);
    }
    let mut out = Map::new();
    for field in Wire(bytes) {
        let (number, raw) = field?;
        let Some((_, name, kind)) = fields.iter().find(|(n, ..)| *n == number) else { continue };
        let value = match (kind, raw) {
            // An unset text is sent as an empty one.
            (Text, Raw::Bytes([])) => continue,
            (Text, Raw::Bytes(b)) => text(b)?,
            (Bool, Raw::Number(n)) => json!(n != 0),
            (Int, Raw::Number(n)) => json!(n.cast_signed()),
            (Bytes, Raw::Bytes(b)) => json!(STANDARD.encode(b)),
            (Time, Raw::Bytes(b)) => time(b, depth, 0)?,
            (MicroTime, Raw::Bytes(b)) => time(b, depth, 6)?,
            (Message(inner), Raw::Bytes(b)) => message(b, inner, depth + 1)?,
            (Texts, Raw::Bytes(b)) => appended(&mut out, name, text(b)?),
            (Messages(inner), Raw::Bytes(b)) => appended(&mut out, name, message(b, inner, depth + 1)?),
            (TextMap, Raw::Bytes(b)) => {
                inserted(&mut out, name, message(b, &[(1, "k", Text), (2, "v", Text)], depth + 1)?, "")
            }
            (BytesMap, Raw::Bytes(b)) => {
                inserted(&mut out, name, message(b, &[(1, "k", Text), (2, "v", Bytes)], depth + 1)?, "")
            }
            _ => return Err(Unreadable::Damaged),
        };
        out.insert((*name).into(), value);
    }
    out.retain(|_, v| !v.is_null());
    Ok(Value::Object(out))
}

fn text(bytes: &[u8]) -> Result<Value, Unreadable> {
    std::str::from_utf8(bytes).map(Value::from).map_err(|_| Unreadable::Damaged)
}

/// A list with one more item, taken out of the message under construction.
fn appended(out: &mut Map<String, Value>, name: &str, item: Value) -> Value {
    let mut list = out.remove(name).unwrap_or_else(|| json!([]));
    if let Some(items) = list.as_array_mut() {
        items.push(item);
    }
    list
}

/// A map with one more entry `{k, v}`.
fn inserted(out: &mut Map<String, Value>, name: &str, entry: Value, unset: &str) -> Value {
    let mut map = out.remove(name).unwrap_or_else(|| json!({}));
    let value = if entry["v"].is_null() { json!(unset) } else { entry["v"].clone() };
    map[entry["k"].as_str().unwrap_or_default()] = value;
    map
}

/// A time; the zero time, which stands for none, is null.
fn time(bytes: &[u8], depth: usize, digits: usize) -> Result<Value, Unreadable> {
    let parts = message(bytes, &[(1, "s", Int), (2, "n", Int)], depth + 1)?;
    let seconds = parts["s"].as_i64().unwrap_or(0);
    let nanos = i32::try_from(parts["n"].as_i64().unwrap_or(0)).map_err(|_| Unreadable::Damaged)?;
    if parts["s"].is_null() && nanos == 0 {
        return Ok(Value::Null);
    }
    let at = jiff::Timestamp::new(seconds, nanos).map_err(|_| Unreadable::Damaged)?;
    Ok(match digits {
        0 => json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        _ => json!(at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()),
    })
}

enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message as they lie on the wire.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Raw<'a>)> {
        let tag = self.varint()?;
        let raw = match tag & 7 {
            0 => Raw::Number(self.varint()?),
            1 => Raw::Bytes(self.take(8)?),
            2 => {
                let count = self.varint()?;
                Raw::Bytes(self.take(count)?)
            }
            5 => Raw::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, raw))
    }
}

impl<'a> Iterator for Wire<'a> {
    type Item = Result<(u64, Raw<'a>), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Unreadable::Damaged);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
        out.extend(body);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &field(1, b"name")), field(2, &entry)].concat();
        let read = read(&body("v1", "ConfigMap", &raw)).unwrap();
        assert_eq!(
            read,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "name"}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn damage_and_unknown_kinds_are_refused() {
        assert_eq!(read(b"k8s\0\x0a\xff"), Err(Unreadable::Damaged));
        assert_eq!(read(b"{}"), Err(Unreadable::Damaged));
        assert_eq!(read(&body("content.example.dev/v1", "Program", b"")), Err(Unreadable::UnknownKind));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&body("v1", "Event", &raw));
        }
    }
}
