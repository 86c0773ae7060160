//! Uniqueness in lists that are sets or keyed: a second appearance is a fault at its index.

use super::node::{ListType, Node};
use crate::apiserver::failure::Cause;
use crate::apiserver::shown::same;
use serde_json::{Map, Value};

/// The duplicates anywhere in a value; `path` is empty at the root.
pub(super) fn duplicates(node: &Node, value: &Value, path: &str, found: &mut Vec<Cause>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(node) = node.properties.get(name) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    duplicates(node, value, &path, found);
                } else if let Some(node) = &node.values {
                    duplicates(node, value, &format!("{path}[{name}]"), found);
                }
            }
        }
        Value::Array(items) => {
            match &node.list {
                ListType::Atomic => {}
                ListType::Set => second_appearances(items, path, found),
                ListType::Map(keys) => second_keys(keys, items, path, found),
            }
            if let Some(node) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    duplicates(node, item, &format!("{path}[{i}]"), found);
                }
            }
        }
        _ => {}
    }
}

fn second_keys(keys: &[String], items: &[Value], path: &str, found: &mut Vec<Cause>) {
    let wrong = |item: &Value| !item.is_object() && !item.is_null();
    if let Some(i) = items.iter().position(wrong) {
        let why = "must be an object for an array of list-type map";
        return found.push(Cause::invalid(format!("{path}[{i}]"), &items[i], why));
    }
    let key_of = |item: &Value| -> Value {
        let present = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(present.collect::<Map<_, _>>())
    };
    second_appearances(&items.iter().map(key_of).collect::<Vec<_>>(), path, found);
}

/// Third and later ones are not told: the second says enough.
fn second_appearances(items: &[Value], path: &str, found: &mut Vec<Cause>) {
    for (i, item) in items.iter().enumerate() {
        if items[..i].iter().filter(|other| same(other, item)).count() == 1 {
            found.push(Cause::duplicate(format!("{path}[{i}]"), item));
        }
    }
}
