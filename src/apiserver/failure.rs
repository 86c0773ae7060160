//! A refusal as a client of the Kubernetes API sees it: the `Status` object, its code, reason and causes.
//! Constructors know which details each kind of refusal carries; they decide nothing about when to refuse.

use super::shown;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

/// One fault inside a refused object. `reason` is the machine's word (`FieldValueRequired`), `field` a path as kubectl
/// prints it (`spec.steps[0].name`), `message` the sentence without the path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// A value that is wrong in itself; `value` is shown as JSON.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl AsRef<str>) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}: {}", shown::value(value), why.as_ref()))
    }

    /// A value of another JSON type than the schema's.
    pub fn type_invalid(field: impl Into<String>, value: &str, why: impl AsRef<str>) -> Self {
        Self::new("FieldValueTypeInvalid", field, format!("Invalid value: {value}: {}", why.as_ref()))
    }

    /// A sentence that stands alone, as rules on objects and lists give it.
    pub fn invalid_bare(field: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}", why.as_ref()))
    }

    /// A field that must be there; `why` may be empty.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let colon = if why.is_empty() { "" } else { ": " };
        Self::new("FieldValueRequired", field, format!("Required value{colon}{why}"))
    }

    /// A value that may not be there, or may not change.
    pub fn forbidden(field: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {}", why.as_ref()))
    }

    /// A value outside a closed list.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[String]) -> Self {
        let message = match supported {
            [] => format!("Unsupported value: {}", shown::value(value)),
            some => format!("Unsupported value: {}: supported values: {}", shown::value(value), some.join(", ")),
        };
        Self::new("FieldValueNotSupported", field, message)
    }

    /// A member of a set, or an item of a keyed list, that is there already.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown::value(value)))
    }

    /// A string over its limit. The API says bytes although it counts characters.
    pub fn too_long(field: impl Into<String>, limit: u64) -> Self {
        let plural = if limit == 1 { "" } else { "s" };
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {limit} byte{plural}"))
    }

    /// A list or map over its limit.
    pub fn too_many(field: impl Into<String>, have: usize, limit: u64) -> Self {
        let plural = if limit == 1 { "" } else { "s" };
        Self::new("FieldValueTooMany", field, format!("Too many: {have}: must have at most {limit} item{plural}"))
    }

    /// `field: message`, as it stands in the sentence of the whole refusal.
    fn sentence(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

/// What a refusal is about. Which of the members are filled depends on the reason: `kind` holds the plural for
/// NotFound, AlreadyExists and Conflict, and the kind for Invalid.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A refused request. `reason` is empty where the API gives none (errors that are nobody's in particular, code 500).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// Where a list may go on after its snapshot is gone.
    pub continue_token: Option<String>,
    /// What was noticed before it was refused, for the person at the client.
    pub warnings: Vec<String>,
}

fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

impl Failure {
    /// A refusal without details.
    pub fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None, warnings: vec![] }
    }

    fn about(mut self, name: &str, group: &str, kind: &str) -> Self {
        let (name, group, kind) = (name.to_owned(), group.to_owned(), kind.to_owned());
        self.details = Some(Box::new(Details { name, group, kind, ..Details::default() }));
        self
    }

    /// The same refusal with these causes.
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// 404: no such object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::plain(404, "NotFound", format!("{what} \"{name}\" not found")).about(name, group, plural)
    }

    /// 409: an object of this name exists.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::plain(409, "AlreadyExists", format!("{what} \"{name}\" already exists")).about(name, group, plural)
    }

    /// 409: the object is not as the writer believed.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        Self::plain(409, "Conflict", message).about(name, group, plural)
    }

    /// 409: the stored object is newer than the writer's.
    pub fn stale(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 409: fields of an apply that other managers own; details name no object.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::plain(409, "Conflict", message).with_causes(causes)
    }

    /// 422: the object breaks its schema or its rules. `kind` is the kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let what = qualified(group, kind);
        let mut sentences: Vec<_> = Vec::new();
        for sentence in causes.iter().map(Cause::sentence) {
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        let list = match &sentences[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = match causes.is_empty() {
            true => format!("{what} \"{name}\" is invalid"),
            false => format!("{what} \"{name}\" is invalid: {list}"),
        };
        Self::plain(422, "Invalid", message).about(name, group, kind).with_causes(causes)
    }

    /// 422 about a request's options (`PatchOptions`, `ListOptions`, …).
    pub fn invalid_options(options: &str, causes: Vec<Cause>) -> Self {
        Self::invalid("meta.k8s.io", options, "", causes)
    }

    /// 422 for a JSON patch whose operations cannot be done.
    pub fn unprocessable() -> Self {
        Self::plain(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_causes(Vec::new())
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 403 about one object; `name` may be empty.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let quoted = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        Self::plain(403, "Forbidden", format!("{what}{quoted} is forbidden: {why}")).about(name, group, plural)
    }

    /// 405: the kind is served, this verb is not.
    pub fn method_not_allowed(group: &str, plural: &str, verb: &str) -> Self {
        let what = qualified(group, plural);
        let message = format!("{verb} is not supported on resources of kind \"{what}\"");
        Self::plain(405, "MethodNotAllowed", message).about("", group, plural)
    }

    /// 404 of a built-in path that leads nowhere.
    pub fn no_such_resource() -> Self {
        Self::plain(404, "NotFound", "the server could not find the requested resource").with_causes(vec![])
    }

    /// 406 with what could be had.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::plain(406, "NotAcceptable", message)
    }

    /// 406 of a form that the object asked for does not have.
    pub fn not_acceptable_form(message: &str) -> Self {
        Self::plain(406, "NotAcceptable", message)
    }

    /// The same refusal with warnings.
    #[must_use]
    pub fn warned(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// 410: the version asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::plain(413, "RequestEntityTooLarge", message)
    }

    /// 415 with what could have been sent.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {list}");
        Self::plain(415, "UnsupportedMediaType", message)
    }

    /// 500 from an error that no client could have named: the API gives it no reason and no details.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::plain(500, "", message)
    }

    /// 504: what was waited for did not come; the client may try again after `retry_after_seconds`.
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut failure = Self::plain(504, "Timeout", message);
        failure.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        failure
    }

    /// The `Status` object of the answer. Serializing the failure itself gives the same with members in the real
    /// server's order.
    pub fn to_status(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metadata = match &self.continue_token {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        let mut status = serializer.serialize_map(None)?;
        status.serialize_entry("kind", "Status")?;
        status.serialize_entry("apiVersion", "v1")?;
        status.serialize_entry("metadata", &metadata)?;
        status.serialize_entry("status", "Failure")?;
        status.serialize_entry("message", &self.message)?;
        if !self.reason.is_empty() {
            status.serialize_entry("reason", self.reason)?;
        }
        if let Some(details) = &self.details {
            status.serialize_entry("details", details)?;
        }
        status.serialize_entry("code", &self.code)?;
        status.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_hold_the_plural_except_for_invalid() {
        let status = Failure::not_found("g.dev", "programs", "a").to_status();
        assert_eq!(
            status,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound",
                "message": "programs.g.dev \"a\" not found", "details": {"name": "a", "group": "g.dev", "kind": "programs"},
            })
        );
        let cause = Cause::required("spec.command", "");
        let status = Failure::invalid("g.dev", "Program", "a", vec![cause.clone()]).to_status();
        assert_eq!(status["message"], "Program.g.dev \"a\" is invalid: spec.command: Required value");
        assert_eq!(status["details"]["kind"], "Program");
        assert_eq!(
            status["details"]["causes"],
            json!([{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.command"}])
        );
        let several = Failure::invalid("", "Secret", "a", vec![cause.clone(), Cause::forbidden("x", "no")]);
        assert_eq!(several.message, "Secret \"a\" is invalid: [spec.command: Required value, x: Forbidden: no]");
    }

    #[test]
    fn a_plain_500_has_neither_reason_nor_details() {
        let status = Failure::internal("broken").to_status();
        assert_eq!(status["reason"], Value::Null);
        assert_eq!(status["details"], Value::Null);
    }

    #[test]
    fn an_expired_list_says_where_to_go_on() {
        let mut failure = Failure::expired("gone");
        failure.continue_token = Some("t".into());
        assert_eq!(failure.to_status()["metadata"], json!({"continue": "t"}));
    }
}
