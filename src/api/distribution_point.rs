//! Kind `DistributionPoint`: a server that holds package content for clients.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};
use crate::model::duration::Span;

/// A distribution point: a server that holds package content for clients. Its name is the name it joined with.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "DistributionPoint",
    plural = "distributionpoints",
    shortname = "dp",
    category = "waybill",
    status = "DistributionPointStatus",
    derive = "PartialEq",
    cel,
    doc = "A distribution point: a server that holds package content for clients. Its name is the name it joined with.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Packages", type_ = "integer", json_path = ".status.installed"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
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
pub struct DistributionPointSpec {
    /// Stops new copies to this distribution point. What it holds stays served; removals still happen.
    #[serde(default)]
    pub suspend: bool,
    /// Where content may be stored. For every copy the drive with the most free space beyond its reserve is chosen; a
    /// drive with a file NO_WAYBILL_ON_DRIVE is left out. Without any, content lies in the process's state directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub drives: Vec<Drive>,
    /// How often all content is read and compared with its digests, as `24h`, which is the default. At least a minute.
    #[serde(default = "scrub_interval")]
    #[schemars(schema_with = "schema::scrub_interval")]
    pub scrub_interval: Span,
}

impl Default for DistributionPointSpec {
    fn default() -> Self {
        Self { suspend: false, drives: Vec::new(), scrub_interval: scrub_interval() }
    }
}

/// One day.
fn scrub_interval() -> Span {
    Span::from_secs(86_400)
}

/// A directory on a drive that may hold content.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drive {
    /// An absolute directory on the distribution point's machine.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: String,
    /// Space that is left free on the drive, as `10Gi`. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::size")]
    pub reserve: Option<String>,
}

/// What a distribution point reports.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributionPointStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// Where clients fetch from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Package versions it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<i64>,
    /// Package versions it has yet to copy or to remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
}
