//! Two answers to one request: in what they differ, field by field. The real server's is the expected one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::play::Answer;

/// What is compared; everything else of an answer is noise.
const ASPECTS: [&str; 9] =
    ["code", "reason", "message", "details", "type", "warnings", "object", "managedFields", "events"];

/// One field that differs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) group: String,
    pub(super) id: String,
    /// The aspect, and the way into it: `message`, `details/causes/0/message`.
    pub(super) field: String,
    pub(super) real: Value,
    pub(super) embedded: Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { group, id, field, real, embedded } = self;
        write!(f, "{group}/{id}: {field}\n      real     {real}\n      embedded {embedded}")
    }
}

/// The fields in which two answers differ; where already the codes do, only what is said.
pub(super) fn differences(group: &str, id: &str, real: &Answer, embedded: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    let told = if real.get("code") == embedded.get("code") { &ASPECTS[..] } else { &ASPECTS[..3] };
    for &aspect in told {
        let (real, embedded) = (real.get(aspect), embedded.get(aspect));
        let (real, embedded) = (real.unwrap_or(&Value::Null), embedded.unwrap_or(&Value::Null));
        walk(real, embedded, aspect, &mut |field, real, embedded| {
            found.push(Difference {
                group: group.to_owned(),
                id: id.to_owned(),
                field,
                real: real.clone(),
                embedded: embedded.clone(),
            });
        });
    }
    found
}

fn walk(real: &Value, embedded: &Value, path: &str, found: &mut impl FnMut(String, &Value, &Value)) {
    match (real, embedded) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                walk(a, b, &format!("{path}/{name}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                walk(a, b, &format!("{path}/{at}"), found);
            }
        }
        _ if real != embedded => found(path.to_owned(), real, embedded),
        _ => {}
    }
}

#[test]
fn every_field_is_compared() {
    let answer = |value: Value| value.as_object().unwrap().clone();
    let a = answer(
        serde_json::json!({"code": 200, "type": "a", "object": {"spec": {"a": [1, 2]}, "x": null}, "events": [1]}),
    );
    let b = answer(serde_json::json!({"code": 200, "type": "b", "object": {"spec": {"a": [1, 3]}}, "events": [1, 2]}));
    let fields: Vec<String> = differences("g", "i", &a, &b).into_iter().map(|d| d.field).collect();
    assert_eq!(fields, ["type", "object/spec/a/1", "events"]);
    let c = answer(serde_json::json!({"code": 404, "reason": "NotFound", "object": {}}));
    let fields: Vec<String> = differences("g", "i", &a, &c).into_iter().map(|d| d.field).collect();
    assert_eq!(fields, ["code", "reason"]);
    assert!(differences("g", "i", &a, &a).is_empty());
}
