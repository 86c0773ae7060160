//! ObjectMeta as the typed decoder sees it: another JSON type is an error that names the Go field, what says nothing
//! vanishes, unknown members are dropped and told.

use crate::apiserver::shown;
use serde_json::{Map, Value};

/// What a member of ObjectMeta, an owner reference or a managedFields entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Uid,
    Integer,
    Boolean,
    Time,
    Texts,
    TextMap,
    Owners,
    Entries,
    /// Kept as sent.
    Raw,
}

type Members = &'static [(&'static str, Kind)];

const OBJECT_META: Members = &[
    ("name", Kind::Text),
    ("generateName", Kind::Text),
    ("namespace", Kind::Text),
    ("selfLink", Kind::Text),
    ("uid", Kind::Uid),
    ("resourceVersion", Kind::Text),
    ("generation", Kind::Integer),
    ("creationTimestamp", Kind::Time),
    ("deletionTimestamp", Kind::Time),
    ("deletionGracePeriodSeconds", Kind::Integer),
    ("labels", Kind::TextMap),
    ("annotations", Kind::TextMap),
    ("ownerReferences", Kind::Owners),
    ("finalizers", Kind::Texts),
    ("managedFields", Kind::Entries),
];

const OWNER: Members = &[
    ("apiVersion", Kind::Text),
    ("kind", Kind::Text),
    ("name", Kind::Text),
    ("uid", Kind::Uid),
    ("controller", Kind::Boolean),
    ("blockOwnerDeletion", Kind::Boolean),
];

const ENTRY: Members = &[
    ("manager", Kind::Text),
    ("operation", Kind::Text),
    ("apiVersion", Kind::Text),
    ("time", Kind::Time),
    ("fieldsType", Kind::Text),
    ("fieldsV1", Kind::Raw),
    ("subresource", Kind::Text),
];

/// Decodes a metadata in place; the unknown members' paths, or the decoder's sentence.
pub(super) fn decode(metadata: &mut Value) -> Result<Vec<String>, String> {
    match metadata {
        Value::Null => *metadata = Value::Object(Map::new()),
        Value::Object(_) => {}
        other => return Err(format!("json: cannot unmarshal {} into Go value of type v1.ObjectMeta", found(other))),
    }
    let unknown = drop_unknown(metadata);
    let Some(members) = metadata.as_object_mut() else { return Ok(unknown) };
    for (name, kind) in OBJECT_META {
        if let Some(value) = members.get_mut(*name) {
            member(value, *kind, "ObjectMeta", name)?;
        }
    }
    // of an object's metadata only what says something is kept; label values may be empty
    members.retain(|_, value| !says_nothing(value));
    Ok(unknown)
}

/// Drops the members that ObjectMeta, its owner references and its managedFields lack; answers their paths.
pub(super) fn drop_unknown(metadata: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    drop_from(metadata, OBJECT_META, "metadata", &mut unknown);
    for (name, known) in [("ownerReferences", OWNER), ("managedFields", ENTRY)] {
        let Some(list) = metadata.get_mut(name).and_then(Value::as_array_mut) else { continue };
        for (i, item) in list.iter_mut().enumerate() {
            drop_from(item, known, &format!("metadata.{name}[{i}]"), &mut unknown);
        }
    }
    unknown
}

fn drop_from(value: &mut Value, known: Members, path: &str, unknown: &mut Vec<String>) {
    let Some(members) = value.as_object_mut() else { return };
    members.retain(|name, _| {
        let keep = known.iter().any(|(other, _)| other == name);
        if !keep {
            unknown.push(format!("{path}.{name}"));
        }
        keep
    });
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// The Go name of a JSON type in the decoder's sentences.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mismatch(value: &Value, owner: &str, field: &str, wanted: &str) -> String {
    let precise = match (value, wanted) {
        (Value::Number(n), "int64") => format!("number {n}"),
        (value, _) => found(value).to_owned(),
    };
    format!("json: cannot unmarshal {precise} into Go struct field {owner}.{field} of type {wanted}")
}

fn member(value: &mut Value, kind: Kind, owner: &str, field: &str) -> Result<(), String> {
    let wrong = |value: &Value, wanted: &str| Err(mismatch(value, owner, field, wanted));
    match (kind, &mut *value) {
        (Kind::Raw, _) | (_, Value::Null) => Ok(()),
        (Kind::Text | Kind::Uid, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => Ok(()),
        (Kind::Text, other) => wrong(other, "string"),
        (Kind::Uid, other) => wrong(other, "types.UID"),
        (Kind::Boolean, other) => wrong(other, "bool"),
        (Kind::Integer, Value::Number(n)) if n.is_i64() => Ok(()),
        (Kind::Integer, other) => wrong(other, "int64"),
        (Kind::Time, Value::String(text)) => {
            *text = time(text)?;
            Ok(())
        }
        (Kind::Time, other) => wrong(other, "string"),
        (Kind::Texts, Value::Array(list)) => texts(list.iter_mut(), owner, field),
        (Kind::Texts, other) => wrong(other, "[]string"),
        (Kind::TextMap, Value::Object(map)) => texts(map.values_mut(), owner, field),
        (Kind::TextMap, other) => wrong(other, "map[string]string"),
        (Kind::Owners, Value::Array(list)) => structs(list, OWNER, "OwnerReference", field),
        (Kind::Owners, other) => wrong(other, "[]v1.OwnerReference"),
        (Kind::Entries, Value::Array(list)) => structs(list, ENTRY, "ManagedFieldsEntry", field),
        (Kind::Entries, other) => wrong(other, "[]v1.ManagedFieldsEntry"),
    }
}

/// Null is the empty string here.
fn texts<'a>(values: impl Iterator<Item = &'a mut Value>, owner: &str, field: &str) -> Result<(), String> {
    for value in values {
        match value {
            Value::String(_) => {}
            Value::Null => *value = Value::String(String::new()),
            other => return Err(mismatch(other, owner, field, "string")),
        }
    }
    Ok(())
}

fn structs(list: &mut [Value], members: Members, go_type: &str, field: &str) -> Result<(), String> {
    for item in list {
        let object = match item {
            Value::Object(object) => object,
            Value::Null => {
                *item = Value::Object(Map::new());
                continue;
            }
            other => return Err(mismatch(other, "ObjectMeta", field, &format!("v1.{go_type}"))),
        };
        for (name, kind) in members {
            if let Some(value) = object.get_mut(*name) {
                member(value, *kind, go_type, &format!("{field}.{name}"))?;
            }
        }
        object.retain(|_, value| !value.is_null());
    }
    Ok(())
}

/// A time in whole seconds and UTC, as it is stored.
fn time(text: &str) -> Result<String, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        Err(_) => {
            let quoted = shown::quoted(text);
            Err(format!("parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted} as \"2006\""))
        }
    }
}
