//! What the group's resources have in common: an object's outer form, schemas and columns in one line each, times as text.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::apiserver::fleet::{FleetColumn, GROUP, VERSION};

/// An object as it is answered. Members that are null are left out.
pub(super) fn object(kind: &str, namespace: &str, name: &str, created_ms: i64, status: Value) -> Value {
    let mut metadata = json!({"name": name, "creationTimestamp": seconds(created_ms)});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": metadata, "status": without_null(status)})
}

fn without_null(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

/// The answer to a review: the object that asked, with a status.
pub(super) fn reviewed(mut body: Value, status: Value) -> Value {
    body["status"] = without_null(status);
    body
}

/// RFC 3339 in whole seconds, as `creationTimestamp` is.
pub(super) fn seconds(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or_default();
    Timestamp::from_second(time.as_second()).unwrap_or_default().to_string()
}

/// RFC 3339 with milliseconds where there are any.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// A schema of an object whose `status` has these members.
pub(super) fn observed(description: &str, status: &[(&str, Value)]) -> Value {
    json!({"type": "object", "description": description, "properties": {"status": members("What was observed.", status)}})
}

/// A schema of an object with `spec` and `status`.
pub(super) fn asked(description: &str, required: &[&str], spec: &[(&str, Value)], status: &[(&str, Value)]) -> Value {
    let mut spec = members("What is asked for.", spec);
    spec["required"] = json!(required);
    json!({"type": "object", "description": description, "required": ["spec"],
        "properties": {"spec": spec, "status": members("The answer, set by the server.", status)}})
}

fn members(description: &str, of: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = of.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "description": description, "properties": properties})
}

pub(super) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

pub(super) fn number(description: &str) -> Value {
    json!({"type": "integer", "format": "int64", "description": description})
}

pub(super) fn truth(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

pub(super) fn instant(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}

pub(super) fn texts(description: &str) -> Value {
    json!({"type": "object", "description": description, "additionalProperties": {"type": "string"}})
}

/// A name that must be given.
pub(super) fn name(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 253, "description": description})
}

/// A column that is always shown.
pub(super) fn column(name: &str, kind: &str, json_path: &str) -> FleetColumn {
    FleetColumn { name: name.into(), kind: kind.into(), json_path: json_path.into(), priority: 0 }
}

/// A column of `-o wide`.
pub(super) fn wide(name: &str, kind: &str, json_path: &str) -> FleetColumn {
    FleetColumn { priority: 1, ..column(name, kind, json_path) }
}
