//! A set of fields as a tree, its algebra, and its FieldsV1 form. A field may be in the set itself, or only have fields in
//! the set below it.

use super::step::{NotAStep, Step};
use crate::apiserver::schema::Node;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A set of paths. No child is empty, so two sets with the same fields are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Set {
    members: BTreeSet<Step>,
    children: BTreeMap<Step, Set>,
}

/// A field set that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fieldsV1 is not a field set")]
pub(super) struct Unreadable;

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    /// Adds a path; the empty path is nobody's.
    pub(super) fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether the step itself is in the set.
    pub(super) fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    /// What is in the set below a step.
    pub(super) fn below(&self, step: &Step) -> Option<&Set> {
        self.children.get(step)
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (step, theirs) in &other.children {
            let ours = out.children.entry(step.clone()).or_default();
            *ours = ours.union(theirs);
        }
        out
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let both = |(step, ours): (&Step, &Set)| Some((step.clone(), ours.intersection(other.children.get(step)?)));
        Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(both).filter(|(_, set)| !set.is_empty()).collect(),
        }
    }

    /// What is in this set and not in the other; what lies below a field of the other stays.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let rest = |(step, ours): (&Step, &Set)| match other.children.get(step) {
            Some(theirs) => (step.clone(), ours.difference(theirs)),
            None => (step.clone(), ours.clone()),
        };
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().map(rest).filter(|(_, set)| !set.is_empty()).collect(),
        }
    }

    /// The set without these top-level fields and everything below them.
    pub(super) fn without(&self, fields: &[&str]) -> Self {
        let kept = |step: &Step| !fields.iter().any(|name| matches!(step, Step::Field(field) if field == name));
        Self {
            members: self.members.iter().filter(|step| kept(step)).cloned().collect(),
            children: self
                .children
                .iter()
                .filter(|(step, _)| kept(step))
                .map(|(s, c)| (s.clone(), c.clone()))
                .collect(),
        }
    }

    /// The set with the declared fields that it only reaches through: who owns a member of a struct holds the struct.
    pub(super) fn with_structs(&self, node: &Node) -> Self {
        let mut members = self.members.clone();
        let declared = |step: &Step| matches!(step, Step::Field(name) if node.properties.contains_key(name));
        members.extend(self.children.keys().filter(|step| declared(step)).cloned());
        let deeper = |(step, set): (&Step, &Set)| (step.clone(), set.with_structs(below(node, step)));
        Self { members, children: self.children.iter().map(deeper).collect() }
    }

    /// All paths, a level's own fields before what lies below them.
    pub(super) fn paths(&self) -> Vec<Vec<Step>> {
        let mut out: Vec<_> = self.members.iter().map(|step| vec![step.clone()]).collect();
        for (step, set) in &self.children {
            let prefixed = |mut path: Vec<Step>| {
                path.insert(0, step.clone());
                path
            };
            out.extend(set.paths().into_iter().map(prefixed));
        }
        out
    }

    /// The FieldsV1 form.
    pub(super) fn encode(&self) -> Value {
        let mut out: Map<_, _> = self.members.iter().map(|step| (step.encode(), json!({}))).collect();
        for (step, set) in &self.children {
            let mut value = set.encode();
            if self.members.contains(step) {
                value["."] = json!({});
            }
            out.insert(step.encode(), value);
        }
        Value::Object(out)
    }

    /// Reads the FieldsV1 form.
    pub(super) fn decode(value: &Value) -> Result<Self, Unreadable> {
        Ok(Self::read(value)?.0)
    }

    /// The set below a field, and whether the field itself is meant: it is by `.`, or when nothing is below it.
    fn read(value: &Value) -> Result<(Self, bool), Unreadable> {
        let mut out = Self::default();
        let mut itself = false;
        for (key, value) in value.as_object().ok_or(Unreadable)? {
            if key == "." {
                itself = true;
                continue;
            }
            let step = match Step::decode(key) {
                Ok(step) => step,
                Err(NotAStep::Unknown) => continue,
                Err(NotAStep::Broken) => return Err(Unreadable),
            };
            let (set, member) = Self::read(value)?;
            if member {
                out.members.insert(step.clone());
            }
            if !set.is_empty() {
                out.children.insert(step, set);
            }
        }
        itself |= out.is_empty();
        Ok((out, itself))
    }
}

/// The node a step leads to.
fn below<'a>(node: &'a Node, step: &Step) -> &'a Node {
    match step {
        Step::Field(name) => node.member(name).unwrap_or(&crate::apiserver::schema::ANYTHING),
        _ => node.item(),
    }
}
