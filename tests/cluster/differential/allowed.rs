//! The differences that are meant, one a line in `differences.jsonl`: one request and one field each, both texts quoted, with a
//! reason. What a client acts on never differs, so no entry may be about it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::compare::Difference;

/// More than these, and the API is another one.
const MOST: usize = 25;
/// What clients act on: code, reason, object, ownership and events are the same, always.
const NEVER: [&str; 5] = ["code", "reason", "object", "managedFields", "events"];

/// One entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allowed {
    group: String,
    id: String,
    field: String,
    real: Value,
    embedded: Value,
    reason: String,
}

impl Allowed {
    fn covers(&self, found: &Difference) -> bool {
        (&self.group, &self.id, &self.field) == (&found.group, &found.id, &found.field)
            && (&self.real, &self.embedded) == (&found.real, &found.embedded)
    }
}

/// The list of the tree.
pub(super) fn list() -> Vec<Allowed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/differential/differences.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let list: Vec<Allowed> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let faults = faults(&list);
    assert!(faults.is_empty(), "differences.jsonl:\n  {}", faults.join("\n  "));
    list
}

fn faults(list: &[Allowed]) -> Vec<String> {
    let mut faults = Vec::new();
    if list.len() > MOST {
        faults.push(format!("{} entries; {MOST} at most", list.len()));
    }
    for entry in list {
        let aspect = entry.field.split('/').next().unwrap_or_default();
        let name = format!("{}/{} {}", entry.group, entry.id, entry.field);
        if NEVER.contains(&aspect) {
            faults.push(format!("{name}: {aspect} must not differ"));
        }
        if entry.reason.len() < 20 {
            faults.push(format!("{name}: says no reason"));
        }
        if entry.real == entry.embedded {
            faults.push(format!("{name}: is no difference"));
        }
    }
    faults
}

/// The differences that no entry covers, and the entries that cover none.
pub(super) fn unexplained(found: &[Difference], list: &[Allowed]) -> Vec<String> {
    let new = found.iter().filter(|difference| !list.iter().any(|entry| entry.covers(difference)));
    let old = list.iter().filter(|entry| !found.iter().any(|difference| entry.covers(difference)));
    let old = old.map(|entry| {
        format!(
            "{}/{}: {} does not differ so any more; take it off differences.jsonl",
            entry.group, entry.id, entry.field
        )
    });
    new.map(ToString::to_string).chain(old).collect()
}

#[test]
fn an_entry_covers_one_field_of_one_request_and_never_what_clients_act_on() {
    let entry = |field: &str| Allowed {
        group: "g".into(),
        id: "i".into(),
        field: field.into(),
        real: "a".into(),
        embedded: "b".into(),
        reason: "a reason that says something".into(),
    };
    let difference = |id: &str, field: &str, embedded: &str| Difference {
        group: "g".into(),
        id: id.into(),
        field: field.into(),
        real: "a".into(),
        embedded: embedded.into(),
    };
    let list = [entry("message")];
    assert!(faults(&list).is_empty());
    assert!(unexplained(&[difference("i", "message", "b")], &list).is_empty());
    // another text, another request, another field: two lines, the new and the one that covers nothing
    for other in [difference("i", "message", "c"), difference("j", "message", "b"), difference("i", "type", "b")] {
        assert_eq!(unexplained(&[other], &list).len(), 2);
    }
    for aspect in NEVER {
        assert_eq!(faults(&[entry(aspect), entry(&format!("{aspect}/x"))]).len(), 2);
    }
    assert_eq!(faults(&vec![entry("message"); MOST + 1]).len(), 1);
    assert_eq!(faults(&[Allowed { reason: "why".into(), ..entry("type") }]).len(), 1);
    assert_eq!(faults(&[Allowed { embedded: "a".into(), ..entry("type") }]).len(), 1);
}
