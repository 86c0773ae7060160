//! Kind `Distribution`: which distribution points get a package, and from when.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};

/// A distribution: which distribution points get a package, and from when.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Distribution",
    plural = "distributions",
    shortname = "dist",
    category = "waybill",
    namespaced,
    status = "DistributionStatus",
    derive = "PartialEq",
    cel,
    doc = "A distribution: which distribution points get a package, and from when.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Package", type_ = "string", json_path = ".spec.package"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.sourceVersion"),
    printcolumn(name = "Installed", type_ = "integer", json_path = ".status.installed"),
    printcolumn(name = "Targeted", type_ = "integer", json_path = ".status.targeted"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.package",
    selectable = ".spec.suspend"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DistributionSpec {
    /// Stops new copies. What is distributed stays where it is.
    #[serde(default)]
    pub suspend: bool,
    /// The package, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub package: String,
    /// The distribution points. Exactly one member must be set.
    pub distribution_points: DistributionPoints,
    /// Nothing is sent before this instant by the server's clock; RFC 3339 with offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub start_after: Option<String>,
    /// Ready once so many distribution points hold the current version.
    #[serde(default = "min_available")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_available: i32,
    /// Any new value sends the whole content again, also to distribution points that hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resend_token: Option<String>,
}

fn min_available() -> i32 {
    1
}

/// Which distribution points.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DistributionPoints {
    /// Those with these names.
    Names(#[schemars(schema_with = "schema::names")] Vec<String>),
    /// Every distribution point, also those that join later.
    All(AllPoints),
}

/// Every distribution point.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllPoints {}

/// What became of a distribution.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributionStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// The source version being distributed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<i64>,
    /// Distribution points that should hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targeted: Option<i64>,
    /// Distribution points that hold the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<i64>,
}
