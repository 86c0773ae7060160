//! Laying an applied object over the live one, and taking fields out of an object.

use super::set::Set;
use super::shape::{Shape, items, member, members, shape, steps};
use super::step::Step;
use crate::apiserver::schema::Node;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// `live` with `applied` laid over it.
pub(super) fn merge(node: &Node, live: &Value, applied: &Value) -> Value {
    match shape(node, applied) {
        Shape::Members => {
            let (below, above) = (members(Some(live)), members(Some(applied)));
            match (below, above) {
                (Some(below), Some(above)) => merge_members(node, below, above),
                (Some(below), None) if !below.is_empty() => live.clone(),
                _ => applied.clone(),
            }
        }
        Shape::Items if items(Some(live)).is_empty() => applied.clone(),
        Shape::Items => Value::Array(merge_items(node, items(Some(live)), items(Some(applied)))),
        Shape::Leaf => applied.clone(),
    }
}

fn merge_members(node: &Node, live: &Map<String, Value>, applied: &Map<String, Value>) -> Value {
    let mut out = live.clone();
    for (name, value) in applied {
        let merged = match live.get(name) {
            Some(live) => merge(member(node, name), live, value),
            None => value.clone(),
        };
        out.insert(name.clone(), merged);
    }
    Value::Object(out)
}

/// Both orders are kept as far as they agree; where they do not, the applied one wins.
fn merge_items(node: &Node, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (live, applied) = (steps(node, live), steps(node, applied));
    let applied_has = |step: &Step| applied.iter().any(|(other, _)| other == step);
    let only = |step: &Step| {
        let mut found = live.iter().filter(|(other, _)| other == step);
        // items that are there twice are replaced, not merged
        found.next().filter(|_| found.next().is_none()).map(|(_, item)| *item)
    };
    let over = |step: &Step, item: &Value| match only(step) {
        Some(live) => merge(node.item(), live, item),
        None => item.clone(),
    };
    // what both have, in the applied order: whose turn it is
    let mut shared: VecDeque<&Step> =
        applied.iter().map(|(step, _)| step).filter(|step| live.iter().any(|(other, _)| other == *step)).collect();
    let mut out = Vec::with_capacity(live.len() + applied.len());
    let mut placed: Vec<&Step> = Vec::new();
    let (mut l, mut a) = (0, 0);
    while l < live.len() || a < applied.len() {
        if let (Some((ours, _)), Some((theirs, item))) = (live.get(l), applied.get(a)) {
            if ours == theirs {
                out.push(over(theirs, item));
                placed.push(theirs);
                shared.pop_front();
                (l, a) = (l + 1, a + 1);
                continue;
            }
            if applied_has(ours) && shared.front().is_some_and(|turn| *turn != ours) {
                l += 1; // it comes when the applied order comes to it
                continue;
            }
        }
        if let Some((ours, item)) = live.get(l) {
            if !applied_has(ours) {
                out.push((*item).clone());
                l += 1;
                continue;
            }
            if placed.contains(&ours) {
                l += 1;
            }
        }
        if let Some((theirs, item)) = applied.get(a) {
            out.push(over(theirs, item));
            placed.push(theirs);
            if shared.front() == Some(&theirs) {
                shared.pop_front();
            }
            a += 1;
        }
    }
    out
}

/// `value` without the fields of `gone`. What loses all its members becomes null, as with the real server, whose validation then
/// refuses it where null is no value; to take it away, `gone` names it.
pub(super) fn remove(node: &Node, value: &Value, gone: &Set) -> Value {
    match (shape(node, value), value) {
        (Shape::Members, Value::Object(object)) => {
            let mut out = Map::new();
            for (name, value) in object {
                let step = Step::field(name);
                if gone.has(&step) {
                    continue;
                }
                let rest = match gone.below(&step) {
                    Some(gone) => remove(member(node, name), value, gone),
                    None => value.clone(),
                };
                out.insert(name.clone(), rest);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Shape::Items, Value::Array(list)) => {
            let keep = |item: &Value| match Step::item(node, item) {
                Ok(step) if gone.has(&step) => None,
                Ok(step) => {
                    Some(gone.below(&step).map_or_else(|| item.clone(), |gone| remove(node.item(), item, gone)))
                }
                Err(_) => Some(item.clone()),
            };
            let kept: Vec<_> = list.iter().filter_map(keep).collect();
            if kept.is_empty() { Value::Null } else { json!(kept) }
        }
        _ => value.clone(),
    }
}
