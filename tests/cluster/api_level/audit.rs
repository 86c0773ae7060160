//! The audit log: who asked for what, and what was answered. It is written before an answer goes out, so it is complete for
//! whatever a test has seen answered.

use std::path::Path;

use serde_json::{Value, json};

use super::RealApi;

pub(crate) const LOG: &str = "audit.log";

/// One answered request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) user: String,
    pub(crate) verb: String,
    /// `resource` or `resource/subresource`; empty for a path that is none.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: u64,
    /// Refused because the user has no right to it, and not because a namespace takes nothing new any more.
    pub(crate) has_no_right: bool,
}

/// Who asked for what, once for each request; not what was sent, which may be secret.
pub(crate) fn policy() -> Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata"}]})
}

impl RealApi {
    /// Every request that was answered so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        requests(&self.directory)
    }
}

/// Every request in the log of the server in `directory`, in order.
pub(crate) fn requests(directory: &Path) -> Vec<Request> {
    let text = std::fs::read_to_string(directory.join(LOG)).unwrap();
    // The last line may still be written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| request(&serde_json::from_str(line).unwrap())).collect()
}

/// What no account of ours may have asked for: whatever it has no right to, and every Secret.
pub(crate) fn out_of_line<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Vec<&'a Request> {
    requests.into_iter().filter(|request| request.has_no_right || request.resource == "secrets").collect()
}

fn request(event: &Value) -> Request {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (resource, subresource) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    let separator = if subresource.is_empty() { "" } else { "/" };
    Request {
        user: text("/user/username"),
        verb: text("/verb"),
        resource: format!("{resource}{separator}{subresource}"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        has_no_right: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
    }
}
