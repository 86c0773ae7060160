//! Makes the answers of two servers comparable: identities become names, versions become relations to the last one seen, and what
//! differs from run to run (times, made-up suffixes, ports) becomes a word. Compares nothing.

use std::{collections::HashMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::{Map, Value};

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static UUID: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"));
/// What differs from run to run inside text: suffixes of generated names, resource versions, ports, ages, digests
/// of certificates.
static NOISE: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        (regex(r"\b([Gg]en[-_]\.?|long-x+|x{58})[a-z0-9]{5}\b"), "$1*****"),
        (regex(r"(in record\W+|[vV]ersion\W+)\d+( \(\d+\)|, current: \d+)?"), "${1}N"),
        (regex(r"(localhost|127\.0\.0\.1):\d+"), "HOST"),
        (regex(r"^\ds$"), "<age>"),
        (regex(r"X509SHA256=[0-9a-f]{64}"), "<certificate>"),
    ]
});
/// A real server lists several faults in no fixed order.
static FAULTS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)is invalid: \[(.*)\]$"));
static NEXT_FAULT: LazyLock<Regex> = LazyLock::new(|| regex(r", ([^ ]+: [A-Z])"));

/// What has been seen of one server, in one group.
#[derive(Default)]
pub(super) struct Normal {
    uids: HashMap<String, String>,
    versions: HashMap<String, u64>,
}

impl Normal {
    pub(super) fn text(&self, text: &str) -> String {
        let text = UUID.replace_all(text, |found: &Captures<'_>| {
            self.uids.get(&found[0]).cloned().unwrap_or_else(|| found[0].to_owned())
        });
        let mut text = TIME
            .replace_all(&text, |found: &Captures<'_>| if found.get(1).is_some() { "<microtime>" } else { "<time>" })
            .into_owned();
        for (pattern, word) in NOISE.iter() {
            text = pattern.replace_all(&text, *word).into_owned();
        }
        sorted_faults(text)
    }

    pub(super) fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect()),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, field)| {
                        let field = match field.as_object() {
                            Some(metadata) if name.trim_start_matches('/') == "metadata" => self.metadata(metadata),
                            _ => field.clone(),
                        };
                        (self.text(name), self.value(&field))
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn metadata(&mut self, metadata: &Map<String, Value>) -> Value {
        let mut metadata = metadata.clone();
        if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            // those of one second have no order of their own
            entries.sort_by_key(|entry| ["manager", "operation", "subresource"].map(|name| entry[name].to_string()));
        }
        if let Some(uid) = metadata.get("uid").and_then(Value::as_str)
            && !self.uids.contains_key(uid)
        {
            let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
            let owner = format!("<uid of {}", self.text(name));
            let others = self.uids.values().filter(|other| other.starts_with(&owner)).count();
            let called = format!("{owner}{}>", "'".repeat(others));
            self.uids.insert(uid.to_owned(), called);
        }
        if metadata.contains_key("resourceVersion") {
            let version = self.version(&metadata);
            metadata.insert("resourceVersion".to_owned(), version);
        }
        if metadata.get("continue").and_then(Value::as_str).is_some_and(|token| !token.is_empty()) {
            metadata.insert("continue".to_owned(), "<token>".into());
        }
        Value::Object(metadata)
    }

    /// How a version stands to the last one seen of its object; of a list, to all seen.
    fn version(&mut self, metadata: &Map<String, Value>) -> Value {
        let text = metadata["resourceVersion"].as_str().unwrap_or_default();
        let Some(version) = text.parse::<u64>().ok().filter(|version| *version > 0) else {
            return metadata["resourceVersion"].clone();
        };
        let Some(uid) = metadata.get("uid").and_then(Value::as_str) else {
            let highest = self.versions.values().max().copied().unwrap_or_default();
            return if version < highest { "<behind>" } else { "<current>" }.into();
        };
        match self.versions.insert(uid.to_owned(), version) {
            None => "<first>",
            Some(before) if version == before => "<same>",
            Some(before) if version > before => "<greater>",
            Some(_) => "<less>",
        }
        .into()
    }
}

/// The resources of a group have no order that one can rely on; `scale` is a class that the embedded API leaves out.
pub(super) fn sort_resources(answer: &mut Value) {
    if answer["kind"] != "APIResourceList" {
        return;
    }
    if let Some(resources) = answer["resources"].as_array_mut() {
        resources.retain(|resource| resource["kind"] != "Scale");
        resources.sort_by_key(|resource| resource["name"].to_string());
    }
}

fn sorted_faults(text: String) -> String {
    let Some(found) = FAULTS.captures(&text) else { return text };
    let list = found.get(1).unwrap();
    let marked = NEXT_FAULT.replace_all(list.as_str(), "\u{0}$1");
    let mut faults: Vec<&str> = marked.split('\u{0}').collect();
    faults.sort_unstable();
    format!("{}{}{}", &text[..list.start()], faults.join(", "), &text[list.end()..])
}

#[test]
fn what_differs_from_run_to_run_becomes_a_word_and_nothing_else_does() {
    let mut normal = Normal::default();
    let object = |version: &str| {
        serde_json::json!({"metadata": {"name": "a", "uid": "01234567-89ab-cdef-0123-456789abcdef", "resourceVersion": version,
            "creationTimestamp": "2024-01-02T03:04:05Z"}, "spec": {"text": "x"}})
    };
    let first = normal.value(&object("7"));
    assert_eq!(first["metadata"]["resourceVersion"], "<first>");
    assert_eq!((&first["metadata"]["uid"], &first["spec"]["text"]), (&"<uid of a>".into(), &"x".into()));
    assert_eq!(first["metadata"]["creationTimestamp"], "<time>");
    for (version, relation) in [("7", "<same>"), ("9", "<greater>"), ("8", "<less>")] {
        assert_eq!(normal.value(&object(version))["metadata"]["resourceVersion"], relation);
    }
    let faults = normal.text("X is invalid: [spec.b: Required value, spec.a: Invalid value: 1, 2: no, <nil>: Bad]");
    assert_eq!(faults, "X is invalid: [<nil>: Bad, spec.a: Invalid value: 1, 2: no, spec.b: Required value]");
    assert_eq!(normal.text("gen-ab3de on 127.0.0.1:4711"), "gen-***** on HOST");
}
