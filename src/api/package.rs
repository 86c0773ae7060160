//! Kind `Package`: software as files. Its programs are objects of their own.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};

/// A package: the files of some software. Its content gets a new source version when, and only when, its bytes change.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Package",
    plural = "packages",
    shortname = "wpkg",
    category = "waybill",
    namespaced,
    status = "PackageStatus",
    derive = "PartialEq",
    cel,
    doc = "A package: the files of some software. Its content gets a new source version when, and only when, its bytes change.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.sourceVersion"),
    printcolumn(name = "Installed", type_ = "integer", json_path = ".status.distribution.installed"),
    printcolumn(name = "Targeted", type_ = "integer", json_path = ".status.distribution.targeted"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.sizeBytes", priority = 1),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest", priority = 1),
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
pub struct PackageSpec {
    /// Stops reading the source: the package keeps its version whatever happens there.
    #[serde(default)]
    pub suspend: bool,
    /// Where the files come from. Exactly one member must be set.
    pub source: Source,
    /// Who may fetch the content. By default only clients whose offer or run names the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What happens to the content on distribution points when the package is deleted. Delete removes it at every
    /// reported location first; Orphan leaves it where it is. Installed software is never touched.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Where the files of a package come from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A directory beneath one of the site server's source roots.
    Directory(DirectorySource),
    /// No files: its programs use what clients already have. Needs no distribution point.
    None(NoSource),
}

/// A directory beneath one of the site server's source roots.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectorySource {
    /// The directory: relative to the served directory or repository, or absolute beneath a source root.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// No files.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoSource {}

/// Who may fetch the content.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// Members of these collections of the namespace may fetch it too.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub collections: Vec<String>,
}

/// What happens to the content when the package is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// It is removed at every reported location first.
    #[default]
    Delete,
    /// It stays where it is.
    Orphan,
}

/// What became of a package.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
    /// Counts changes of the content; never reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<i64>,
    /// Digest of the content's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Size of all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Number of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// When the content last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::told_instant")]
    pub source_date: Option<String>,
    /// Package status summary over all distribution points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<PackageDistributionSummary>,
}

/// Package status summary: how many distribution points stand where with the current version.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageDistributionSummary {
    /// Distribution points that should hold it.
    pub targeted: i64,
    /// That hold the current version.
    pub installed: i64,
    /// That still have to copy it.
    pub pending: i64,
    /// That try again after a failure.
    pub retrying: i64,
    /// That gave up.
    pub failed: i64,
    /// From which it is being removed.
    pub removing: i64,
}
