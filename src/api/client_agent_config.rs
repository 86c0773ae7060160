//! Kind `ClientAgentConfig`: how the client agents of a site behave. Travels in the signed policy.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};
use crate::model::duration::Span;

/// How the client agents of a site behave. The object named like the site applies; others say so in their status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "ClientAgentConfig",
    plural = "clientagentconfigs",
    category = "waybill",
    status = "ClientAgentConfigStatus",
    derive = "PartialEq",
    cel,
    doc = "How the client agents of a site behave. The object named like the site applies; others say so in their status.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Enabled", type_ = "boolean", json_path = ".spec.enabled"),
    printcolumn(name = "Poll", type_ = "string", json_path = ".spec.pollInterval"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientAgentConfigSpec {
    /// Keeps the agents on what they were last told.
    #[serde(default)]
    pub suspend: bool,
    /// Whether agents of the site start programs at all. Off, they keep polling and reporting.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How often an agent polls, as `60m`, with jitter. A long poll between polls brings changes at once. At least a
    /// minute.
    #[serde(default = "poll_interval")]
    #[schemars(schema_with = "schema::poll_interval")]
    pub poll_interval: Span,
    /// How much content an agent keeps after its programs ran, as `5Gi`. The oldest goes first.
    #[serde(default = "cache_limit")]
    #[schemars(schema_with = "schema::size")]
    pub cache_limit: String,
    /// When the end of a program's output is sent along with its status.
    #[serde(default)]
    pub report_output: ReportOutput,
}

impl Default for ClientAgentConfigSpec {
    fn default() -> Self {
        Self {
            suspend: false,
            enabled: true,
            poll_interval: poll_interval(),
            cache_limit: cache_limit(),
            report_output: ReportOutput::OnFailure,
        }
    }
}

fn yes() -> bool {
    true
}

/// SMS 2.0's default of 60 minutes.
fn poll_interval() -> Span {
    Span::from_secs(3_600)
}

/// Configuration Manager's default of 5,120 MB.
fn cache_limit() -> String {
    "5Gi".to_owned()
}

pub use crate::wire::policy::ReportOutput;

/// What became of the configuration.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAgentConfigStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
}
