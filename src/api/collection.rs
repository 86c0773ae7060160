//! Kind `Collection`: the clients that its rules select.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::Observed;

/// A collection: the clients that its rules select. The rules add up; membership follows every change of a client.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Collection",
    plural = "collections",
    shortname = "coll",
    category = "waybill",
    namespaced,
    status = "CollectionStatus",
    derive = "PartialEq",
    cel,
    doc = "A collection: the clients that its rules select. The rules add up; membership follows every change of a client.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.memberCount"),
    printcolumn(name = "Query", type_ = "string", json_path = ".spec.query", priority = 1),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.suspend"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectionSpec {
    /// Freezes the membership.
    #[serde(default)]
    pub suspend: bool,
    /// Direct rules: the ids of clients, as `kubectl get clients` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub clients: Vec<String>,
    /// Query rule: a CEL expression over `client`, true for members. Labels are set by the server; everything else is
    /// what the client says of itself. As `client.os.distribution == "debian" && client.labels["ring"] == "pilot"`.
    /// A client has the texts `id`, `hostname`, `arch`, `kernel` and `agentVersion`; `os` with the texts `name`, `distribution` and
    /// `version`; the numbers `cpus` and `memoryBytes`; `labels` (name to text), `packages` (name to version), `facts` (name to
    /// anything); and the lists `addresses` (texts) and `disks` (each with `mount`, `totalBytes` and `freeBytes`). Ask with
    /// `has(client.labels.ring)` or `"vim" in client.packages` before you read what not every client has.
    /// See docs/queries.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,
}

/// What became of a collection.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// How many clients are members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_count: Option<i64>,
    /// A digest of the sorted member ids: equal exactly when the members are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership_hash: Option<String>,
}
