//! Which part of the stored object a part of the new one corresponds to, and whether it changed. Faults that were there
//! before and did not change are tolerated, so that a stricter schema does not lock objects.

use super::node::{ListType, Node};
use crate::apiserver::shown::same;
use serde_json::Value;

/// A new value's place with its schema and, where one corresponds, the old value.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub node: &'a Node,
    pub value: &'a Value,
    pub old: Option<&'a Value>,
}

impl<'a> Place<'a> {
    /// The place of a member that the schema describes.
    pub(super) fn member(self, name: &str, node: &'a Node, value: &'a Value) -> Self {
        Self { node, value, old: self.old.and_then(|old| old.get(name)) }
    }

    /// The place of a list item: only items of keyed lists correspond to old ones.
    pub(super) fn item(self, node: &'a Node, value: &'a Value) -> Self {
        let old = match (&self.node.list, self.old) {
            (ListType::Map(keys), Some(Value::Array(old))) => find_item(keys, old, value),
            _ => None,
        };
        Self { node, value, old }
    }

    /// Whether an old value corresponds and is the same. A moved item of a keyed list did not change.
    pub(super) fn unchanged(self) -> bool {
        let Some(old) = self.old else { return false };
        match (self.value, old) {
            (Value::Object(new), Value::Object(before)) => {
                new.len() == before.len() && new.iter().all(|(name, value)| self.member_unchanged(name, value))
            }
            (Value::Array(new), Value::Array(before)) => match (&self.node.list, &self.node.items) {
                (ListType::Map(_), Some(node)) => {
                    new.len() == before.len() && new.iter().all(|value| self.item(node, value).unchanged())
                }
                _ => same(self.value, old),
            },
            _ => same(self.value, old),
        }
    }

    fn member_unchanged(self, name: &str, value: &'a Value) -> bool {
        match self.node.properties.get(name).or(self.node.values.as_deref()) {
            Some(node) => self.member(name, node, value).unchanged(),
            None => self.old.and_then(|old| old.get(name)).is_some_and(|old| same(old, value)),
        }
    }
}

/// The item with the same keys.
pub(super) fn find_item<'a>(keys: &[String], list: &'a [Value], item: &Value) -> Option<&'a Value> {
    list.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
}
