//! The schema of what every object has: apiVersion, kind and ObjectMeta, as far as merging and ownership need it.

use super::SchemaError;
use super::node::Node;
use serde_json::{Value, json};

/// The nodes to put over a kind's own.
pub(super) fn type_and_metadata() -> Result<[(String, Node); 3], SchemaError> {
    let text = json!({"type": "string"});
    let read = |name: &str, schema: &Value| Ok((name.to_owned(), Node::read(schema, name, 0)?));
    Ok([read("apiVersion", &text)?, read("kind", &text)?, read("metadata", &object_meta())?])
}

fn object_meta() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let owner = json!({
        "type": "object", "x-kubernetes-map-type": "atomic",
        "properties": {
            "apiVersion": text, "kind": text, "name": text, "uid": text,
            "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
        },
    });
    let entry = json!({
        "type": "object",
        "properties": {
            "manager": text, "operation": text, "apiVersion": text, "time": text, "fieldsType": text, "subresource": text,
            "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    json!({"type": "object", "properties": {
        "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text, "resourceVersion": text,
        "generation": number, "creationTimestamp": text, "deletionTimestamp": text, "deletionGracePeriodSeconds": number,
        "labels": texts, "annotations": texts,
        "ownerReferences": {
            "type": "array", "items": owner, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
        },
        "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "managedFields": {"type": "array", "items": entry, "x-kubernetes-list-type": "atomic"},
    }})
}
