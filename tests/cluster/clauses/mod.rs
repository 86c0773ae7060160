//! What users of Kubernetes and of GitOps tools expect of a controller, clause by clause, from a site beside a real API server: each
//! file is one subject, with a server and a site of its own.

mod conditions;
mod definitions;
mod events;
mod meaning;
mod names;
mod ownership;
mod pace;
mod removal;
mod requests;

use serde_json::Value;

/// Every kind, and whether its objects lie in namespaces.
const KINDS: [(&str, bool); 8] = [
    ("Site", false),
    ("DistributionPoint", false),
    ("ClientAgentConfig", false),
    ("Package", true),
    ("Program", true),
    ("Distribution", true),
    ("Collection", true),
    ("Advertisement", true),
];

/// The name of the object of a kind that every test here has.
fn name_of(kind: &str) -> &'static str {
    match kind {
        "Site" | "DistributionPoint" | "ClientAgentConfig" => "main",
        _ => "tool",
    }
}

/// A member of the condition of this type; empty without it.
fn condition<'a>(object: &'a Value, type_: &str, member: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition[member].as_str()).unwrap_or_default()
}
