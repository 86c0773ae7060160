//! What differs between two versions of an object, as field sets.

use super::set::Set;
use super::shape::{Shape, items, member, members, shape, steps};
use super::step::Step;
use crate::apiserver::schema::Node;
use crate::apiserver::shown::same;
use serde_json::Value;

/// The fields that a change added, changed and took away.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    /// The comparison without these top-level fields.
    pub(super) fn without(&self, fields: &[&str]) -> Self {
        Self {
            added: self.added.without(fields),
            modified: self.modified.without(fields),
            removed: self.removed.without(fields),
        }
    }

    /// What now has another value than before.
    pub(super) fn written(&self) -> Set {
        self.added.union(&self.modified)
    }
}

/// Compares two objects of a kind.
pub(super) fn compare(node: &Node, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    walk(node, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

fn walk(node: &Node, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Step>, out: &mut Comparison) {
    let was = old.map(|old| shape(node, old));
    let is = new.map(|new| shape(node, new));
    match (was, is) {
        (Some(was), Some(is)) if was != is => {
            // the value changed its nature: what was in it goes, what is in it comes
            visit(was, node, old, new, path, out);
            visit(is, node, old, new, path, out);
        }
        (_, Some(shape)) | (Some(shape), None) => {
            let leaf = visit(shape, node, old, new, path, out);
            if !leaf && old.is_none() {
                out.added.insert(path);
            }
            if !leaf && new.is_none() {
                out.removed.insert(path);
            }
        }
        (None, None) => {}
    }
}

/// Answers whether the value was taken as one field. Two empty containers are, so that empty and absent stay apart.
fn visit(
    s: Shape,
    node: &Node,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> bool {
    match s {
        Shape::Leaf => leaf(old, new, path, out),
        Shape::Members => {
            let (before, after) = (members(old), members(new));
            let empty = |m: Option<&serde_json::Map<String, Value>>| m.is_none_or(serde_json::Map::is_empty);
            if empty(before) && empty(after) {
                return leaf(old, new, path, out);
            }
            let added = after.into_iter().flatten().filter(|(name, _)| before.is_none_or(|m| !m.contains_key(*name)));
            for name in before.into_iter().flatten().chain(added).map(|(name, _)| name) {
                path.push(Step::field(name));
                let (old, new) = (before.and_then(|m| m.get(name)), after.and_then(|m| m.get(name)));
                walk(member(node, name), old, new, path, out);
                path.pop();
            }
            false
        }
        Shape::Items => {
            if items(old).is_empty() && items(new).is_empty() {
                return leaf(old, new, path, out);
            }
            list(node, items(old), items(new), path, out);
            false
        }
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>, path: &[Step], out: &mut Comparison) -> bool {
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        (Some(old), Some(new)) if !same(old, new) => out.modified.insert(path),
        _ => {}
    }
    true
}

/// Items that are there more than once (in an object that was stored before its schema forbade it) count as one field.
fn list(node: &Node, old: &[Value], new: &[Value], path: &mut Vec<Step>, out: &mut Comparison) {
    let (old, new) = (steps(node, old), steps(node, new));
    let mut done: Vec<&Step> = Vec::new();
    for step in old.iter().chain(&new).map(|(step, _)| step) {
        if done.contains(&step) {
            continue;
        }
        done.push(step);
        let of = |list: &[(Step, &Value)]| -> Vec<Value> {
            list.iter().filter(|(other, _)| other == step).map(|(_, item)| (*item).clone()).collect()
        };
        let (before, after) = (of(&old), of(&new));
        path.push(step.clone());
        match (&before[..], &after[..]) {
            ([] | [_], [] | [_]) => walk(node.item(), before.first(), after.first(), path, out),
            ([_, _, ..], [_, _, ..]) => {
                let equal = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| same(a, b));
                if !equal {
                    out.modified.insert(path);
                }
            }
            ([_, _, ..], _) => {
                walk(node.item(), None, after.first(), path, out);
                out.removed.insert(path);
            }
            (_, _) => {
                walk(node.item(), before.first(), None, path, out);
                out.added.insert(path);
            }
        }
        path.pop();
    }
}
