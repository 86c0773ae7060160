//! Kind `Advertisement`: one program to one collection, optional or assigned.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};
pub use crate::model::schedule::Rerun;

/// An advertisement: one program to one collection, optional or assigned.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Advertisement",
    plural = "advertisements",
    shortname = "adv",
    category = "waybill",
    namespaced,
    status = "AdvertisementStatus",
    derive = "PartialEq",
    cel,
    doc = "An advertisement: one program to one collection, optional or assigned.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Program", type_ = "string", json_path = ".spec.program"),
    printcolumn(name = "Collection", type_ = "string", json_path = ".spec.collection"),
    printcolumn(name = "Targeted", type_ = "integer", json_path = ".status.clients.targeted"),
    printcolumn(name = "Succeeded", type_ = "integer", json_path = ".status.clients.succeeded"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.clients.failed"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health", priority = 1),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.program",
    selectable = ".spec.collection",
    selectable = ".spec.suspend",
    selectable = ".status.health"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("size(self.assignments) > 0 || self.userMayStart").message("an advertisement needs an assignment, or userMayStart"))]
#[x_kube(validation = Rule::new("!has(self.start) || !has(self.expires) || timestamp(self.start) < timestamp(self.expires)").message("expires must come after start"))]
pub struct AdvertisementSpec {
    /// No new starts on any client; running programs go on.
    #[serde(default)]
    pub suspend: bool,
    /// The program, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub program: String,
    /// The collection, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub collection: String,
    /// Nothing is visible on a client before this instant by the client's clock; RFC 3339 with offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub start: Option<String>,
    /// Nothing starts after this instant by the client's clock. A running program is not stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub expires: Option<String>,
    /// When the program must run. Any assignment makes it mandatory. Of several `at` that were missed only the latest
    /// counts, once; whether later ones run it again is what `rerun` says.
    #[serde(default)]
    #[schemars(length(max = 15))]
    pub assignments: Vec<AssignmentSpec>,
    /// Whether a user of the client may start it.
    #[serde(default)]
    pub user_may_start: bool,
    /// Whether an assigned program that already ran on a client may run there again. IfFailed, the default: only after a failure,
    /// at a later `at`, with a new source version of the package or with a changed program. Never: not again, whatever
    /// happened. Always: at each `at`, whatever happened before; asSoonAsPossible does not recur. OncePerVersion: once for
    /// every source version of the package, a reverted one included, and after a failure as with IfFailed. Whether it ran counts
    /// by program, also when another advertisement brought it.
    #[serde(default)]
    pub rerun: Rerun,
    /// Any new value runs the program once more on every member, whatever happened before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub rerun_token: Option<String>,
}

/// One assignment. Exactly one member must be set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AssignmentSpec {
    /// At this instant by the client's clock; RFC 3339 with offset.
    #[schemars(schema_with = "schema::instant")]
    At(String),
    /// As soon as the client learns of it. Never recurs.
    AsSoonAsPossible(AsSoonAsPossible),
}

/// As soon as the client learns of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AsSoonAsPossible {}

/// What became of an advertisement.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisementStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// OK, Warning or Critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Advertisement status summary: distinct clients by where they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCounts>,
    /// Advertisement status summary: messages received since the advertisement exists. Not reset at midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<MessageCounts>,
}

/// Distinct clients by where they stand. Each client counts once: the others add up to `targeted`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCounts {
    /// Members of the collection that the Site lets this namespace reach.
    pub targeted: i64,
    /// Said nothing yet.
    pub no_status: i64,
    /// Received the offer, or wait, download or retry, or are due to run a newer version than they have answered for.
    pub waiting: i64,
    /// Run it now.
    pub running: i64,
    /// Succeeded.
    pub succeeded: i64,
    /// Failed, in whatever way that is known.
    pub failed: i64,
    /// Started it and do not know how it ended. For the health they count as failed.
    pub unknown: i64,
    /// Will not run it: platform, expiry, already ran, withdrawn.
    pub not_running: i64,
}

/// Messages received.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// Offers received by clients.
    pub received: i64,
    /// Failed before the program started.
    pub failed_to_start: i64,
    /// Programs started.
    pub started: i64,
    /// Programs that succeeded.
    pub succeeded: i64,
    /// Programs that failed.
    pub failed: i64,
}
