//! The OpenAPI documents of both servers, compared by what clients derive from them: `kubectl explain` reads the fields of a kind,
//! `kubectl apply` and `diff` ask which options a patch knows. How a document is cut into named parts counts for nothing, but the
//! names are compared: explain prints them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Pair,
    wire::{Endpoint, Line, Sent},
};
use crate::api_level::RealApi;

/// The real server publishes a new kind's schema a moment after it serves it.
const LIMIT: Duration = Duration::from_secs(60);
/// Deeper than any schema here; a type that refers to itself ends there.
const DEPTH: usize = 12;
/// Documents, and the kinds of each that both servers have.
const DOCUMENTS: [(&str, &[&str]); 5] = [
    ("apis/content.example.dev/v1", &["Package", "Program", "Site"]),
    (
        "apis/waybill.dev/v1alpha1",
        &[
            "Advertisement",
            "ClientAgentConfig",
            "Collection",
            "Distribution",
            "DistributionPoint",
            "Package",
            "Program",
            "Site",
        ],
    ),
    ("api/v1", &["ConfigMap", "Event", "Namespace", "Secret"]),
    ("apis/coordination.k8s.io/v1", &["Lease"]),
    ("apis/events.k8s.io/v1", &["Event"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_and_validation_derive_the_same() {
    let Some(real) = RealApi::shared() else { return };
    let pair = Pair::of(real).await;
    let mut faults = Vec::new();
    for (path, kinds) in DOCUMENTS {
        let [expected, got] =
            [document(&pair.endpoints[0], path, kinds).await, document(&pair.endpoints[1], path, kinds).await];
        for kind in kinds {
            let (expected, got) = (derived(&expected, kind), derived(&got, kind));
            assert!(expected.len() > 5, "{path} {kind} describes something: {expected:?}");
            let places: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            for place in places.into_iter().filter(|place| expected.get(*place) != got.get(*place)) {
                let (real, embedded) = (json!(expected.get(place)), json!(got.get(place)));
                faults.push(format!("{path} {kind} {place}\n      real     {real}\n      embedded {embedded}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} places differ:\n  {}", faults.len(), faults.join("\n  "));
}

async fn document(endpoint: &Endpoint, path: &str, kinds: &[&str]) -> Value {
    let mut line = Line::new(endpoint.clone());
    let headers = vec![("Accept".to_owned(), "application/json".to_owned())];
    let sent = Sent { method: "GET".to_owned(), target: format!("/openapi/v3/{path}"), headers, body: None };
    let end = Instant::now() + LIMIT;
    loop {
        let answer = line.call(&sent).await;
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if kinds.iter().all(|kind| of_kind(&document, kind).is_some()) {
            return document;
        }
        assert!(Instant::now() < end, "{path} does not describe {kinds:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The schema of a kind.
fn of_kind<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        // types of the library are of every group; a kind of its own is of one
        kinds.is_some_and(|kinds| kinds.len() == 1 && kinds[0]["kind"] == kind)
    })
}

/// What is said of every field of a kind, and of the ways to write it.
fn derived(document: &Value, kind: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    walk(document, of_kind(document, kind).unwrap(), "", DEPTH, &mut found);
    let operations = document["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
    });
    for (path, method, operation) in operations {
        let about = operation["x-kubernetes-group-version-kind"]["kind"] == kind;
        if about && method == "patch" && !path.ends_with("/scale") {
            let names: BTreeSet<&str> =
                operation["parameters"].as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
            let asked = ["dryRun", "fieldManager", "fieldValidation", "force"].map(|name| (name, names.contains(name)));
            let types: Vec<&String> =
                operation["requestBody"]["content"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
            // CBOR is a class that is not served
            let types: Vec<&String> = types.into_iter().filter(|name| !name.contains("cbor")).collect();
            let action = &operation["x-kubernetes-action"];
            found.insert(format!("{method} {path}"), json!({"options": asked, "types": types, "action": action}));
        }
    }
    found
}

fn walk(document: &Value, schema: &Value, path: &str, depth: usize, found: &mut BTreeMap<String, Value>) {
    let (schema, name) = resolved(document, schema);
    let structure = ["properties", "items", "additionalProperties", "x-kubernetes-group-version-kind"];
    let mut said: Map<String, Value> = schema
        .iter()
        .filter(|(keyword, _)| !structure.contains(&keyword.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    said.insert("name".to_owned(), json!(name));
    if let Some(required) = said.get_mut("required").and_then(Value::as_array_mut) {
        required.sort_by_key(ToString::to_string);
    }
    found.insert(format!("{path}."), said.into());
    if depth == 0 {
        return;
    }
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(document, member, &format!("{path}.{name}"), depth - 1, found);
    }
    for (keyword, step) in [("items", "[]"), ("additionalProperties", "[*]")] {
        if let Some(below) = schema.get(keyword).filter(|below| below.is_object()) {
            walk(document, below, &format!("{path}{step}"), depth - 1, found);
        }
    }
}

/// A schema with the one it refers to put in, and the last word of that one's name.
fn resolved(document: &Value, schema: &Value) -> (Map<String, Value>, String) {
    let mut own = schema.as_object().cloned().unwrap_or_default();
    let reference =
        own.remove("$ref").or_else(|| match own.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) if !one["$ref"].is_null() => own.remove("allOf").map(|all| all[0]["$ref"].clone()),
            _ => None,
        });
    let Some(reference) = reference.as_ref().and_then(Value::as_str) else { return (own, String::new()) };
    let name = reference.rsplit('/').next().unwrap_or_default();
    let mut whole = document["components"]["schemas"][name].as_object().cloned().unwrap_or_default();
    // what is said at the place counts before what is said of the type
    whole.extend(own);
    (whole, name.rsplit('.').next().unwrap_or_default().to_owned())
}
