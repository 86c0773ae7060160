//! Server-side apply: merge, let go what the manager no longer applies, find conflicts, record ownership.

use super::compare::compare;
use super::managed::{Entry, Managed, Operation};
use super::merge::{merge, remove};
use super::set::Set;
use super::{Writer, conflict, shape};
use crate::apiserver::failure::Failure;
use crate::apiserver::last_applied;
use crate::apiserver::schema::{Node, Schema};
use serde_json::{Value, json};

/// The manager that everything belongs to which was there before an object without managers was first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// See [`super::apply`].
pub(super) fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Failure> {
    let node = schema.owned();
    check(node, applied, writer)?;
    let applied = without_parts(applied, writer.foreign_parts());
    let blank = json!({"apiVersion": applied["apiVersion"], "kind": applied["kind"]});
    let mut managed = live.map(Managed::of).unwrap_or_default();
    let mut before = live.cloned().unwrap_or_else(|| blank.clone());
    drop_managed_fields(&mut before);
    if managed.entries.is_empty() {
        claim_existing(schema, &blank, &before, writer, &mut managed);
    }
    let mine = Entry::of(writer, Operation::Apply);
    let last = managed.find(&mine).cloned();
    let mut claim = Entry { time: last.as_ref().and_then(|last| last.time.clone()), ..mine };
    claim.fields = shape::fields(node, &applied);
    managed.put(claim.clone());

    let merged = merge(node, &before, &applied);
    let mut after = match last.filter(|last| !last.fields.is_empty()) {
        Some(last) => release(node, &merged, &last.fields, &managed),
        None => merged,
    };
    let forgiven = if force { Set::default() } else { client_side(node, live, writer) };
    take_over(node, &before, &after, writer, &claim, (force, &forgiven), &mut managed)?;
    claim.fields = super::ownable(&claim.fields);
    if !crate::apiserver::shown::same(&before, &after) {
        claim.time = Some(writer.now.into());
    }
    managed.put(claim);
    managed.forget_idle();
    if !after["metadata"].is_object() {
        after["metadata"] = json!({});
    }
    managed.write(&mut after);
    Ok(after)
}

/// What can be refused without looking at the live object.
fn check(node: &Node, applied: &Value, writer: Writer<'_>) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&applied["apiVersion"]);
    if version != writer.api_version {
        return Err(Failure::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            writer.api_version
        )));
    }
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let faults = match &shape::faults(node, applied)[..] {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let metadata = &applied["metadata"];
    let group = if version.contains('/') { "" } else { "/" };
    let object = format!(
        "{}/{}; {group}{version}, Kind={}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        text(&applied["kind"])
    );
    Err(Failure::internal(format!("failed to create typed patch object ({object}): {faults}")))
}

/// An apply claims only its own part of an object: status is the status subresource's, the rest the main resource's.
fn without_parts(applied: &Value, parts: &[&str]) -> Value {
    let mut out = applied.clone();
    if let Some(members) = out.as_object_mut() {
        members.retain(|name, _| !parts.contains(&name.as_str()));
    }
    out
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// An object that nobody manages was written before, or its managers were cleared: what it has belongs to a manager of its
/// own, so that the applier meets a conflict instead of taking it unseen.
fn claim_existing(schema: &Schema, blank: &Value, before: &Value, writer: Writer<'_>, managed: &mut Managed) {
    let everyone = Writer { manager: BEFORE_FIRST_APPLY, ..writer };
    super::update::record(schema, blank, before, everyone, managed);
}

/// Takes out what the manager applied last time and nobody owns now. Removing may take unowned neighbours with it
/// (a default in a struct that goes); what anybody owns is then put back, and so is what was never the manager's.
fn release(node: &Node, merged: &Value, last: &Set, managed: &Managed) -> Value {
    let last = last.with_structs(node);
    let all = shape::fields(node, merged).with_structs(node);
    let kept = shape::fields(node, &remove(node, merged, &last)).with_structs(node);
    let owned = managed.entries.iter().fold(Set::default(), |all, entry| all.union(&entry.fields)).with_structs(node);
    let pruned = remove(node, merged, &all.difference(&kept.union(&owned)));
    let kept = shape::fields(node, &pruned).with_structs(node);
    remove(node, merged, &all.difference(&kept).intersection(&last))
}

/// What kubectl's server-side apply takes from its own client-side apply without a conflict: the fields that this wrote last, as far as
/// they still are as it wrote them.
fn client_side(node: &Node, live: Option<&Value>, writer: Writer<'_>) -> Set {
    let Some(live) = live.filter(|_| writer.manager == last_applied::KUBECTL) else { return Set::default() };
    let Some(last) = last_applied::of(live) else { return Set::default() };
    let mut live = live.clone();
    drop_managed_fields(&mut live);
    let changed = compare(node, &last, &live);
    let fields = shape::fields(node, &last);
    fields.difference(&changed.written()).difference(&changed.removed)
}

/// What the change writes is no longer others': by force silently, else it is a conflict. What it removes is nobody's.
fn take_over(
    node: &Node,
    before: &Value,
    after: &Value,
    writer: Writer<'_>,
    claim: &Entry,
    (force, forgiven): (bool, &Set),
    managed: &mut Managed,
) -> Result<(), Failure> {
    let change = compare(node, before, after).without(writer.foreign_parts());
    let written = change.written();
    let others = || managed.entries.iter().filter(|entry| !entry.same_manager(claim));
    let lost = others().map(|entry| (entry.clone(), entry.fields.intersection(&written).difference(forgiven)));
    let lost: Vec<_> = lost.filter(|(_, fields)| !fields.is_empty()).collect();
    if !force && !lost.is_empty() {
        return Err(conflict::failure(&lost));
    }
    for entry in managed.entries.iter_mut().filter(|entry| !entry.same_manager(claim)) {
        entry.fields = entry.fields.difference(&written).difference(&change.removed);
    }
    Ok(())
}
