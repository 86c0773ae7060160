//! `events.k8s.io/v1` and `v1` events are one store: the newer form is translated to and from the stored older one.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Kind, Nature};
use crate::apiserver::store::Object;

/// Members whose names differ: (events.k8s.io/v1, v1).
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Texts that `v1` always has.
const OPTIONAL: [&str; 2] = ["reportingController", "reportingInstance"];

/// The form in which the store keeps an object of this kind.
pub(in super::super) fn to_stored(kind: &Kind, object: Value) -> Value {
    match kind.nature {
        Nature::NewEvent => renamed(object, "v1", |(new, old)| (new, old)),
        _ => object,
    }
}

/// The form in which this kind serves what the store keeps.
pub(in super::super) fn from_stored(kind: &Kind, object: Value) -> Value {
    match kind.nature {
        Nature::NewEvent => {
            let mut event = renamed(object, "events.k8s.io/v1", |(new, old)| (old, new));
            // members that this form leaves out when they say nothing
            if let Some(members) = event.as_object_mut() {
                members.retain(|name, value| !(OPTIONAL.contains(&name.as_str()) && value == ""));
            }
            event
        }
        _ => object,
    }
}

/// A stored object as its kind serves it.
pub(in super::super) fn served(kind: &Kind, object: &Object) -> Object {
    match kind.nature {
        Nature::NewEvent => Arc::new(from_stored(kind, (**object).clone())),
        _ => object.clone(),
    }
}

/// A field selector's text in the names of the stored form.
pub(in super::super) fn selector_to_stored(kind: &Kind, text: &str) -> String {
    match kind.nature {
        Nature::NewEvent => {
            text.replace("regarding.", "involvedObject.").replace("reportingController", "reportingComponent")
        }
        _ => text.to_owned(),
    }
}

fn renamed(
    object: Value,
    api_version: &str,
    way: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(members) = object else { return object };
    let mut out = Map::new();
    for (name, value) in members {
        let to = RENAMED.iter().map(|pair| way(*pair)).find(|(from, _)| *from == name);
        out.insert(to.map_or(name, |(_, to)| to.to_owned()), value);
    }
    out.insert("apiVersion".into(), api_version.into());
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_its_meaning_in_both_forms() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "a"}, "note": "n",
            "reportingController": "c", "deprecatedCount": 3, "reason": "R"});
        let old = renamed(new.clone(), "v1", |(new, old)| (new, old));
        assert_eq!(old["involvedObject"]["name"], "a");
        assert_eq!(old["message"], "n");
        assert_eq!(old["count"], 3);
        assert_eq!(renamed(old, "events.k8s.io/v1", |(new, old)| (old, new)), new);
    }
}
