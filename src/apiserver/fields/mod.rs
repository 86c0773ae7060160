//! Field ownership: who manages which field of an object, server-side apply, and what becomes of the fields that a
//! manager lets go. Pure: the time of a write comes with its `Writer`.

mod apply;
mod compare;
mod conflict;
mod managed;
mod merge;
mod set;
mod shape;
mod step;
#[cfg(test)]
mod tests;
mod update;

use super::failure::Failure;
use super::schema::Schema;
use serde_json::Value;

/// Who writes, through what, when.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The field manager; for updates without one, the user agent's first part (see [`manager_of`]).
    pub manager: &'a str,
    /// `status`, `scale`, or empty for the object itself.
    pub subresource: &'a str,
    /// `group/version` of the request.
    pub api_version: &'a str,
    /// RFC 3339, whole seconds, UTC.
    pub now: &'a str,
    /// Whether the kind has a status subresource, so that writes of the object itself never own its status.
    pub status_subresource: bool,
}

impl Writer<'_> {
    /// The top-level parts that a write through this resource never changes and so never owns.
    fn foreign_parts(&self) -> &'static [&'static str] {
        match self.subresource {
            "status" => &["metadata", "spec"],
            _ if self.status_subresource => &["status"],
            _ => &[],
        }
    }
}

/// The manager's name of a request: `fieldManager`, else the user agent up to its first `/`, else `unknown`.
pub fn manager_of<'a>(field_manager: &'a str, user_agent: &'a str) -> &'a str {
    match (field_manager, user_agent.split('/').next().unwrap_or_default()) {
        ("", "") => "unknown",
        ("", agent) => agent,
        (manager, _) => manager,
    }
}

/// Applies `applied` for the writer onto `live` (none: the object is created). The answer carries its managedFields and
/// is neither pruned nor defaulted nor validated; of the parts that the writer's resource never changes it has the live
/// ones. Refusals: conflicts (409), an object that does not fit its schema (500), foreign version or managedFields (400).
///
/// `applied` is as the client sent it: messages name its own namespace.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Failure> {
    apply::apply(schema, live, applied, writer, force)
}

/// Records in `new`'s managedFields who owns what after a create, replace or patch. `live` is the stored object, none on
/// creation; `new` is what will be stored, defaults included, with the managedFields that the client sent.
pub fn track_update(schema: &Schema, live: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    update::track(schema, live, new, writer);
}

/// What of a field set can be owned: not the identity of an object, nor what the server itself sets.
fn ownable(fields: &set::Set) -> set::Set {
    use step::Step;
    const SERVERS: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut nobodys = set::Set::default();
    for name in ["apiVersion", "kind", "metadata"] {
        nobodys.insert(&[Step::field(name)]);
    }
    for name in SERVERS {
        nobodys.insert(&[Step::field("metadata"), Step::field(name)]);
    }
    fields.difference(&nobodys)
}
