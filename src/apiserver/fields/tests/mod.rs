//! Ownership and server-side apply as the real API server was seen to do them; each test says what it holds to.

mod conflicts;
mod lifecycle;
mod lists;
mod properties;
mod sets;

use super::*;
pub(super) use super::{merge, set, shape, step};
use crate::apiserver::failure::Failure;
pub(super) use serde_json::json;

const GV: &str = "example.dev/v1";

fn schema() -> Schema {
    let text = json!({"type": "string"});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "command": text, "mode": {"type": "string", "default": "Once"}, "priority": {"type": "integer"},
            "note": {"type": "string", "nullable": true}, "flag": {"type": "boolean"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "vars": {"type": "object", "additionalProperties": text},
            "window": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"from": text, "to": text}},
            "nested": {"type": "object", "properties": {"a": {"type": "object", "properties": {
                "b": {"type": "string", "default": "deep"}, "c": text}}}},
            "steps": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": text, "run": text, "retries": {"type": "integer", "default": 3}}}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {
                    "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "label": text}}},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "args": {"type": "array", "items": text},
        }},
        "status": {"type": "object", "properties": {"phase": text, "count": {"type": "integer"}}},
    }});
    Schema::new(&schema).unwrap()
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", api_version: GV, now: "2026-01-01T00:00:00Z", status_subresource: true }
}

fn status_writer(manager: &str) -> Writer<'_> {
    Writer { subresource: "status", ..writer(manager) }
}

fn at<'a>(now: &'a str, manager: &'a str) -> Writer<'a> {
    Writer { now, ..writer(manager) }
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": GV, "kind": "Program", "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn meta(metadata: Value) -> Value {
    let mut out = json!({"apiVersion": GV, "kind": "Program", "metadata": {"name": "a", "namespace": "n"}});
    for (name, value) in metadata.as_object().unwrap() {
        out["metadata"][name] = value.clone();
    }
    out
}

/// A store of one object: applies and updates in turn, with defaults as the server fills them in.
struct Story {
    schema: Schema,
    live: Option<Value>,
}

impl Story {
    fn new() -> Self {
        Self { schema: schema(), live: None }
    }

    fn try_apply(&mut self, manager: &str, applied: &Value, force: bool) -> Result<&Value, Failure> {
        self.apply_as(writer(manager), applied, force)
    }

    fn apply_as(&mut self, writer: Writer<'_>, applied: &Value, force: bool) -> Result<&Value, Failure> {
        let mut out = apply(&self.schema, self.live.as_ref(), applied, writer, force)?;
        self.schema.default(&mut out);
        self.live = Some(out);
        Ok(self.live.as_ref().unwrap())
    }

    fn apply(&mut self, manager: &str, spec: Value) -> &Value {
        self.try_apply(manager, &object(spec), false).unwrap()
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) -> &Value {
        self.update_as(writer(manager), change)
    }

    fn update_as(&mut self, writer: Writer<'_>, change: impl FnOnce(&mut Value)) -> &Value {
        let mut new = self.live.clone().unwrap_or_else(|| object(json!({})));
        change(&mut new);
        self.schema.default(&mut new);
        track_update(&self.schema, self.live.as_ref(), &mut new, writer);
        self.live = Some(new);
        self.live.as_ref().unwrap()
    }

    fn spec(&self) -> &Value {
        &self.live.as_ref().unwrap()["spec"]
    }

    /// The fields of `manager/Operation[/subresource]`.
    fn owned(&self, who: &str) -> Value {
        self.entry(who)["fieldsV1"].clone()
    }

    fn entry(&self, who: &str) -> Value {
        let name = |e: &Value| {
            let sub = e["subresource"].as_str().map(|s| format!("/{s}")).unwrap_or_default();
            format!("{}/{}{sub}", e["manager"].as_str().unwrap(), e["operation"].as_str().unwrap())
        };
        let entries = self.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|e| name(e) == who).unwrap_or(Value::Null)
    }

    fn entries(&self) -> Vec<Value> {
        self.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().cloned().unwrap_or_default()
    }
}
