//! Ownership after a create, replace, merge patch or JSON patch: who changed a field owns it.

use super::Writer;
use super::compare::compare;
use super::managed::{Entry, Managed, Operation};
use crate::apiserver::schema::Schema;
use serde_json::{Value, json};

/// See [`super::track_update`].
pub(super) fn track(schema: &Schema, live: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let mut managed = Managed::of_update(live, new, writer.subresource);
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    // an object whose managers were cleared stays without until somebody applies to it
    if live.is_none() || !managed.entries.is_empty() {
        let blank = json!({"apiVersion": new["apiVersion"], "kind": new["kind"]});
        record(schema, live.unwrap_or(&blank), new, writer, &mut managed);
        managed.cap();
    }
    managed.write(new);
}

/// Gives the writer what differs, and takes it from everybody else.
pub(super) fn record(schema: &Schema, old: &Value, new: &Value, writer: Writer<'_>, managed: &mut Managed) {
    let change = compare(schema.owned(), old, new).without(writer.foreign_parts());
    let written = change.written();
    for entry in &mut managed.entries {
        entry.fields = entry.fields.difference(&written).difference(&change.removed);
    }
    let mut mine = Entry::of(writer, Operation::Update);
    let earlier = managed.find(&mine).cloned();
    let gained = super::ownable(&written);
    if !gained.is_empty() {
        mine.fields = earlier.map(|entry| entry.fields).unwrap_or_default().union(&gained);
        mine.time = Some(writer.now.into());
        managed.put(mine);
    }
    managed.forget_idle();
}
