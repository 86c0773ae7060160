//! How a value is looked at when it is merged and owned: by its schema where that decides, else by what it is.

use super::set::Set;
use super::step::Step;
use crate::apiserver::schema::{ANYTHING, ListType, Node, Type};
use serde_json::Value;

/// The view of a value at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Scalars, atomic maps and atomic lists: one field, replaced as a whole.
    Leaf,
    /// A struct or map whose members are fields of their own.
    Members,
    /// A keyed list or a set.
    Items,
}

/// The shape of a value; null takes the shape its schema says.
pub(super) fn shape(node: &Node, value: &Value) -> Shape {
    let wants = |wanted: Type| node.types.contains(&wanted);
    let object = match value {
        Value::Object(_) => true,
        Value::Array(_) => false,
        _ => wants(Type::Object),
    };
    let array = match value {
        Value::Array(_) => true,
        Value::Object(_) => false,
        _ => wants(Type::Array),
    };
    if object && (node.types.is_empty() || wants(Type::Object)) {
        return if node.atomic_map { Shape::Leaf } else { Shape::Members };
    }
    if array && node.list != ListType::Atomic {
        return Shape::Items;
    }
    Shape::Leaf
}

/// The node of a member, for objects that may hold what no schema describes.
pub(super) fn member<'a>(node: &'a Node, name: &str) -> &'a Node {
    node.member(name).unwrap_or(&ANYTHING)
}

/// A list's items with the steps to them; items without an identity are left out.
pub(super) fn steps<'a>(node: &Node, items: &'a [Value]) -> Vec<(Step, &'a Value)> {
    items.iter().filter_map(|item| Some((Step::item(node, item).ok()?, item))).collect()
}

/// The members of an object; none of anything else.
pub(super) fn members(value: Option<&Value>) -> Option<&serde_json::Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// The items of a list; none of anything else.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The fields that an applied object claims: leaves, list items, members of maps, and what is empty or null.
pub(super) fn fields(node: &Node, value: &Value) -> Set {
    let mut out = Set::default();
    collect(node, value, &mut Vec::new(), &mut out);
    out
}

fn collect(node: &Node, value: &Value, path: &mut Vec<Step>, out: &mut Set) {
    match shape(node, value) {
        Shape::Leaf => out.insert(path),
        Shape::Members => {
            for (name, value) in value.as_object().into_iter().flatten() {
                path.push(Step::field(name));
                collect(member(node, name), value, path, out);
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                if empty || !node.properties.contains_key(name) {
                    out.insert(path);
                }
                path.pop();
            }
        }
        Shape::Items => {
            let all = steps(node, items(Some(value)));
            for (step, item) in &all {
                path.push(step.clone());
                // of items that are there twice only the place is owned
                if all.iter().filter(|(other, _)| other == step).count() == 1 {
                    collect(node.item(), item, path, out);
                }
                out.insert(path);
                path.pop();
            }
        }
    }
}

/// Why an applied object cannot be looked at by its schema: undeclared fields, wrong types, list items without identity or
/// there twice. Each as `path: sentence`.
pub(super) fn faults(node: &Node, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    inspect(node, value, String::new(), &mut out);
    out
}

fn inspect(node: &Node, value: &Value, path: String, out: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if let Some(why) = mismatch(node, value) {
        let colon = if path.is_empty() { "" } else { ": " };
        return out.push(format!("{path}{colon}{why}"));
    }
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match node.member(name) {
                    Some(node) => inspect(node, value, format!("{path}.{name}"), out),
                    // the first one is told, and what comes after it is not looked at
                    None => return out.push(format!("{path}.{name}: field not declared in schema")),
                }
            }
        }
        Value::Array(list) => inspect_items(node, list, &path, out),
        _ => {}
    }
}

fn inspect_items(node: &Node, list: &[Value], path: &str, out: &mut Vec<String>) {
    let mut seen = Vec::new();
    for (i, item) in list.iter().enumerate() {
        let step = match node.list {
            ListType::Atomic => Step::Position(i),
            _ => match Step::item(node, item) {
                Ok(step) => step,
                Err(why) => return out.push(format!("{path}: element {i}: {why}")),
            },
        };
        if seen.contains(&step) {
            out.push(format!("{path}: duplicate entries for key {step}"));
        }
        inspect(node.item(), item, format!("{path}{step}"), out);
        seen.push(step);
    }
}

/// What is wrong with a value's JSON type. Integers and numbers are one here; validation tells them apart.
fn mismatch(node: &Node, value: &Value) -> Option<String> {
    let fits = |wanted: &Type| match wanted {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Integer | Type::Number => value.is_number(),
    };
    if node.types.is_empty() || node.types.iter().any(fits) {
        return None;
    }
    let got = crate::apiserver::shown::go(value);
    let kind = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Number(n) if n.is_i64() => "int64",
        _ => "float64",
    };
    Some(match node.types[..] {
        [Type::Object] => format!("expected map, got &{{{got}}}"),
        [Type::Array] => format!("expected list, got &{{{got}}}"),
        [Type::Boolean] => format!("expected boolean, got &{{{got}}}"),
        [Type::String] => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", crate::apiserver::shown::json(value))
        }
        [Type::Integer | Type::Number] => format!("expected numeric (int or float), got {kind}"),
        _ => format!("expected any scalar, got &{{{got}}}"),
    })
}
