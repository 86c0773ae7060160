//! What a decoded object loses and gains: members the schema does not know and nulls where null is no value go, defaults
//! come.

use super::node::Node;
use serde_json::Value;

/// Members that every object has whatever its schema says; metadata is decoded elsewhere.
const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops unknown members of an object of the kind; the paths of those dropped are sorted.
pub(super) fn drop_unknown(root: &Node, object: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    let Some(members) = object.as_object_mut() else { return dropped };
    let known = |name: &str| TYPE_AND_METADATA.contains(&name);
    if !root.preserve && !root.closed && root.values.is_none() {
        members.retain(|name, _| {
            let keep = known(name) || root.properties.contains_key(name);
            if !keep {
                dropped.push(name.clone());
            }
            keep
        });
    }
    for (name, value) in members.iter_mut().filter(|(name, _)| !known(name)) {
        drop_below(root.properties.get(name).or(root.values.as_deref()), value, name, root.preserve, &mut dropped);
    }
    dropped.sort();
    dropped
}

/// `kept` says that what no schema describes is kept here.
fn drop_below(node: Option<&Node>, value: &mut Value, path: &str, kept: bool, dropped: &mut Vec<String>) {
    let keep_unknown = node.map_or(kept, |node| node.preserve);
    match value {
        Value::Object(members) => {
            let child = |name: &str| node.and_then(|node| node.properties.get(name).or(node.values.as_deref()));
            members.retain(|name, _| {
                let refused = node.is_some_and(|node| node.closed);
                let keep = keep_unknown || refused || child(name).is_some();
                if !keep {
                    dropped.push(format!("{path}.{name}"));
                }
                keep
            });
            for (name, value) in members {
                drop_below(child(name), value, &format!("{path}.{name}"), keep_unknown, dropped);
            }
        }
        Value::Array(items) => {
            let child = node.and_then(|node| node.items.as_deref());
            for (i, item) in items.iter_mut().enumerate() {
                drop_below(child, item, &format!("{path}[{i}]"), keep_unknown, dropped);
            }
        }
        _ => {}
    }
}

/// Drops nulls where null is no value and no default stands in for it.
pub(super) fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            let child = |name: &str| node.properties.get(name).or(node.values.as_deref());
            members.retain(|name, value| {
                !value.is_null() || child(name).is_none_or(|node| node.allows_null() || node.default.is_some())
            });
            for (name, value) in members {
                if let Some(node) = child(name) {
                    drop_nulls(node, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(node) = &node.items {
                items.iter_mut().for_each(|item| drop_nulls(node, item));
            }
        }
        _ => {}
    }
}

/// Sets what is missing, or null where null is no value, to the schema's default.
pub(super) fn fill_defaults(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, node) in &node.properties {
                let Some(default) = &node.default else { continue };
                if members.get(name).is_none_or(|value| value.is_null() && !node.allows_null()) {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members.iter_mut() {
                match (node.properties.get(name), &node.values) {
                    (Some(node), _) => fill_defaults(node, value),
                    (None, Some(node)) => fill_item(node, value),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(node) = &node.items {
                items.iter_mut().for_each(|item| fill_item(node, item));
            }
        }
        _ => {}
    }
}

fn fill_item(node: &Node, value: &mut Value) {
    if let (true, false, Some(default)) = (value.is_null(), node.allows_null(), &node.default) {
        *value = default.clone();
    }
    fill_defaults(node, value);
}
