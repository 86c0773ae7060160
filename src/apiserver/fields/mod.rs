//! Field ownership: who manages which field of an object, server-side apply, and what becomes of the fields that a
//! manager lets go. Pure: the time of a write comes with its `Writer`.

use super::failure::Failure;
use super::schema::Schema;
use serde_json::{Value, json};

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

/// The manager's name of a request: `fieldManager`, else the user agent up to its first `/`, else `unknown`.
pub fn manager_of<'a>(field_manager: &'a str, user_agent: &'a str) -> &'a str {
    match (field_manager, user_agent.split('/').next().unwrap_or_default()) {
        ("", "") => "unknown",
        ("", agent) => agent,
        (manager, _) => manager,
    }
}

/// Applies `applied` for the writer onto `live` (none: the object is created). The answer carries its managedFields and
/// is neither pruned nor defaulted nor validated.
pub fn apply(
    _schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    _writer: Writer<'_>,
    _force: bool,
) -> Result<Value, Failure> {
    let mut object = live.cloned().unwrap_or_else(|| json!({}));
    json_patch::merge(&mut object, applied);
    Ok(object)
}

/// Records in `new`'s managedFields who owns what after a create, replace or patch. `live` is the stored object, none on
/// creation; `new` is what will be stored, defaults included.
pub fn track_update(_schema: &Schema, _live: Option<&Value>, _new: &mut Value, _writer: Writer<'_>) {}
