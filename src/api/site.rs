//! Kind `Site`: an administrative unit and the process that serves it. Its status carries git sync and the component
//! and site system summaries.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};
use crate::model::duration::Span;

/// A site: an administrative unit with its own clients, distribution points and client access points.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Site",
    plural = "sites",
    category = "waybill",
    status = "SiteStatus",
    derive = "PartialEq",
    cel,
    doc = "A site: an administrative unit with its own clients, distribution points and client access points.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(name = "Held up", type_ = "integer", json_path = ".status.heldUp"),
    printcolumn(name = "Clients", type_ = "integer", json_path = ".status.clients"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.sync.revision"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteSpec {
    /// Stops the site from starting new work: no new jobs, no new offers. What is offered already stays offered. Off by
    /// default.
    #[serde(default)]
    pub suspend: bool,
    /// How long status messages are kept, as `720h`, which is the default. Older ones are deleted; summaries of clients
    /// are not affected. Where clients stand with an advertisement is kept so long after that was deleted.
    #[serde(default = "message_retention")]
    #[schemars(schema_with = "schema::span")]
    pub message_retention: Span,
    /// Which clients the advertisements of each namespace may reach. The entry with the namespace's own name counts, and
    /// without one that of the name `*`; a namespace with neither reaches no client. An entry that is taken out
    /// withdraws the offers; programs that run go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub namespaces: Vec<NamespaceGrant>,
}

/// What the advertisements of a namespace may reach, and as whom its programs may run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceGrant {
    /// The namespace, or `*` for every one that has no entry of its own.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == '*' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("name a namespace, or * for all that have no entry of their own"))]
    pub name: String,
    /// The clients that may be reached: a CEL expression over `client`, as in a Collection. Without it all clients of the
    /// site. What a client says of itself may be wrong; labels are set by the server, as
    /// `client.labels["team"] == "web"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,
    /// The most clients that one advertisement may reach: one that would reach more reaches nobody. Any number by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_clients: Option<i64>,
    /// The local users that programs may run as, by their `runAs` or that of a program they depend on. A program without
    /// `runAs` runs as the agent's own user and so as none of these. Any user by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub run_as: Option<Vec<String>>,
}

impl Default for SiteSpec {
    fn default() -> Self {
        Self { suspend: false, message_retention: message_retention(), namespaces: Vec::new() }
    }
}

/// 30 days.
fn message_retention() -> Span {
    Span::from_secs(30 * 86_400)
}

/// What a site reports.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// The site's id, made when its state was created; certificates and program identities carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_id: Option<String>,
    /// The policy epoch; only a signed reset raises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// How many clients are joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<i64>,
    /// The worst of all components and systems, of what is held up and of the manifests: OK, Warning or Critical. What keeps content
    /// from every client is Critical, anything else that is held up, and manifests with problems, at least Warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// How many packages, programs, distributions, collections and advertisements wait for somebody: each says in its condition
    /// Ready what for. The first of them are named in the site's own condition Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<i64>,
    /// Where a site beside a cluster serves the fleet's rows to the cluster's users; nothing for one that serves its own
    /// objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetStatus>,
    /// Where git sync stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// Component status summary: message counts by component and severity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub components: Vec<ComponentSummary>,
    /// Site system status summary: availability and storage of every distribution point and client access point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub systems: Vec<SystemSummary>,
}

/// Where a site serves the fleet's rows to users of its cluster, and by what they know it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The site's pod, as `namespace/name`; nothing for a process outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The port that it listens on there.
    pub port: i64,
    /// The certificate of the authority that the listener's own comes from, PEM.
    pub certificate_authority: String,
}

/// Where git sync stands.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// The revision that is applied: a commit id, or a digest of the directory's manifests.
    pub revision: String,
    /// How many objects this sync owns.
    pub objects: i64,
    /// The first problems found, as `file:line:column: message`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<String>,
    /// The revision whose removals are held back until somebody acknowledges it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_revision: Option<String>,
    /// What that revision would remove, as `Kind namespace/name`; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub held_removals: Vec<String>,
}

/// One component's messages within retention. Nothing is reset at midnight.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSummary {
    /// The component.
    pub component: String,
    /// The machine it runs on: a site, distribution point or client access point; clients are summed up as `clients`.
    pub system: String,
    /// OK, Warning or Critical.
    pub state: String,
    /// Informational messages.
    pub informational: i64,
    /// Warnings.
    pub warnings: i64,
    /// Errors.
    pub errors: i64,
}

/// One site system's availability and storage.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemSummary {
    /// The system's name.
    pub system: String,
    /// Its role: DistributionPoint or ClientAccessPoint.
    pub role: String,
    /// OK; Warning with less than 10 GiB free, or a tenth of the size if that is less; Critical with half of that, or when
    /// it does not report in time.
    pub state: String,
    /// Whether it reports in time.
    pub available: bool,
    /// The storage object: a drive's path; empty for a system without storage.
    pub storage: String,
    /// Free space in KiB, rounded down to a 64th of the size, 1 GiB at most, so that it does not change all the time.
    pub free_kib: i64,
    /// Size in KiB.
    pub total_kib: i64,
}
