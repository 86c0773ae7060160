//! ObjectMeta: strict decoding, identity of body and path, and the limits on names, labels, annotations, finalizers and
//! owner references. What the server itself sets (uid, times, versions) is the store's business.

use super::failure::{Cause, Failure};
use serde_json::Value;

/// What a kind's objects may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Lower-case DNS subdomain of at most 253 characters: nearly every kind.
    Subdomain,
    /// Lower-case DNS label of at most 63 characters: namespaces.
    Label,
}

/// Decodes `object.metadata` in place as the typed ObjectMeta does: another JSON type is a 400; nulls, empty maps and
/// empty lists vanish; unknown members are dropped and answered as paths (`metadata.colour`). `kind` and `version` stand
/// in the messages.
pub fn decode(_object: &mut Value, _kind: &str, _version: &str) -> Result<Vec<String>, Failure> {
    Ok(Vec::new())
}

/// The faults of a metadata that is to be stored.
pub fn validate(_object: &Value, _names: NameRule, _namespaced: bool) -> Vec<Cause> {
    Vec::new()
}

/// The faults of a change of metadata: what never changes, and no new finalizers while the object is being deleted.
pub fn validate_update(_object: &Value, _old: &Value) -> Vec<Cause> {
    Vec::new()
}

/// Warnings for clients: finalizers without a domain, duplicate owners (which are merged in place).
pub fn warnings(_object: &mut Value) -> Vec<String> {
    Vec::new()
}

/// A name from `generateName` and a random suffix, cut so that both fit 63 characters.
pub fn generated_name(prefix: &str, suffix: &str) -> String {
    format!("{prefix}{suffix}")
}

/// Drops members that ObjectMeta lacks and answers their paths.
pub(super) fn drop_unknown(_object: &mut Value) -> Vec<String> {
    Vec::new()
}
