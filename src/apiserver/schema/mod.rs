//! A CRD version's structural schema, compiled once: pruning, defaulting and validation of objects of that kind.
//! It does not decode metadata (see `metadata`) and knows nothing of ownership (see `fields`).

mod check;
mod format;
mod lists;
mod meta;
mod node;
mod old;
mod prune;
mod rules;
#[cfg(test)]
mod tests;

use super::failure::Cause;
pub(super) use node::{ANYTHING, ListType, Node, Type};
use old::Place;
use serde_json::Value;

/// Which part of an object a write may change, and so which part of the schema speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The object itself; a kind with a status subresource keeps its status.
    Main,
    /// The status subresource: only faults and rules of `.status` count.
    Status,
}

/// A schema that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("schema at {at}: {why}", at = if .at.is_empty() { "its root" } else { .at })]
pub struct SchemaError {
    /// The path of the schema node.
    pub at: String,
    /// What is wrong with it, and the remedy.
    pub why: String,
}

/// One kind's compiled schema.
#[derive(Debug)]
pub struct Schema {
    root: Node,
    /// The same with the true ObjectMeta in place of what the CRD may say about names: by it fields are owned and merged.
    owned: Node,
    has_rules: bool,
}

/// Faults of these reasons keep rules from running: a rule could not read such a value.
const STOP_RULES: [&str; 5] =
    ["FieldValueRequired", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// Said in addition when rules could not run.
pub const RULES_NOT_RUN: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Schema {
    /// Compiles an `openAPIV3Schema`, its patterns and its CEL rules. Schemas with what this server does not implement
    /// are an error.
    pub fn new(open_api_v3_schema: &Value) -> Result<Self, SchemaError> {
        let root = Node::read(open_api_v3_schema, "", 0)?;
        let mut owned = Node::read(open_api_v3_schema, "", 0)?;
        owned.properties.extend(meta::type_and_metadata()?);
        let has_rules = rules::any(&root);
        Ok(Self { root, owned, has_rules })
    }

    /// Drops what the schema does not know and nulls where null is no value; answers the unknown fields' paths, sorted.
    /// Metadata is included: members that ObjectMeta lacks.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = super::metadata::drop_unknown(object);
        unknown.extend(prune::drop_unknown(&self.root, object));
        prune::drop_nulls(&self.root, object);
        unknown
    }

    /// Fills in the schema's defaults, also for nulls where null is no value. Other nulls stay, so that an apply that says
    /// null meets validation.
    pub fn default(&self, object: &mut Value) {
        prune::fill_defaults(&self.root, object);
    }

    /// The faults of `object`, tolerating those that `old` had already where nothing changed. Metadata is only looked at
    /// as far as the CRD's schema and rules speak of it.
    pub fn validate(&self, object: &Value, old: Option<&Value>, scope: Scope) -> Vec<Cause> {
        self.validate_after(Vec::new(), object, old, scope)
    }

    /// [`Self::validate`] after faults that were found elsewhere, in metadata: they too can keep rules from running. The
    /// answer has them all.
    pub fn validate_after(&self, earlier: Vec<Cause>, object: &Value, old: Option<&Value>, scope: Scope) -> Vec<Cause> {
        let place = Place { node: &self.root, value: object, old };
        let mut faults = earlier;
        faults.extend(match scope {
            Scope::Main => check::check(place, ""),
            Scope::Status => self.check_status(object, old),
        });
        faults.extend(self.duplicates(object, old));
        let stopped = faults.iter().any(|fault| STOP_RULES.contains(&fault.reason));
        match (self.has_rules, stopped) {
            (false, _) => {}
            (true, true) => faults.push(Cause::invalid("<nil>", &Value::Null, RULES_NOT_RUN)),
            (true, false) => faults.extend(rules::broken(place)),
        }
        faults
    }

    fn check_status(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let (Some(node), Some(value)) = (self.root.properties.get("status"), object.get("status")) else {
            return Vec::new();
        };
        check::check(Place { node, value, old: old.and_then(|old| old.get("status")) }, "status")
    }

    /// An object that had duplicates may keep and even add some: they cannot be told apart.
    fn duplicates(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let of = |object: &Value| {
            let mut found = Vec::new();
            lists::duplicates(&self.root, object, "", &mut found);
            found
        };
        let found = of(object);
        match old {
            Some(old) if !found.is_empty() && !of(old).is_empty() => Vec::new(),
            _ => found,
        }
    }

    /// The node by which fields are owned and merged.
    pub(super) fn owned(&self) -> &Node {
        &self.owned
    }
}
