//! Kind `Program`: a command line of a package and the conditions for running it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions::Observed, schema};
use crate::model::{duration::Span, platform::Platform};

/// A program: a command line of a package and the conditions for running it. Its name is its identity: a client that
/// ran it remembers it by package and name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "waybill.dev",
    version = "v1alpha1",
    kind = "Program",
    plural = "programs",
    category = "waybill",
    namespaced,
    status = "ProgramStatus",
    derive = "PartialEq",
    cel,
    doc = "A program: a command line of a package and the conditions for running it. Its name is its identity: a client that ran it remembers it by package and name.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Package", type_ = "string", json_path = ".spec.packageRef"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled"),
    printcolumn(name = "Command", type_ = "string", json_path = ".spec.argv", priority = 1),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.packageRef",
    selectable = ".spec.disabled",
    selectable = ".spec.suspend"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramSpec {
    /// Keeps what clients were last told about this program.
    #[serde(default)]
    pub suspend: bool,
    /// The package whose files the program uses. Cannot change: a program of another package is another program.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("packageRef is immutable; create a program with another name instead"))]
    pub package_ref: String,
    /// The command and its arguments. The command is a file of the package, relative to its top, or an absolute path
    /// that the client's own configuration allows, such as /bin/sh or /usr/bin/dpkg.
    #[schemars(length(min = 1, max = 256), inner(length(max = 4096), regex(pattern = schema::NO_NUL)))]
    #[x_kube(validation = Rule::new("self[0].size() > 0").message("the command must not be empty"))]
    #[x_kube(validation = Rule::new("!self[0].startsWith('../') && !self[0].contains('/../')").message("the command must lie in the package"))]
    pub argv: Vec<String>,
    /// The directory to start in, relative to the top of the package. The top by default. It is read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = schema::NO_NUL))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && self != '..' && !self.startsWith('../') && !self.contains('/../') && !self.endsWith('/..')").message("cwd must be a relative path within the package"))]
    pub cwd: Option<String>,
    /// Environment variables. Nothing else of the client's environment is passed on. Not for secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// The local user to run as. Without it the program runs as the agent's own user, which an agent of root refuses
    /// unless its configuration says allowRoot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z_][a-z0-9_-]*[$]?$"))]
    pub run_as: Option<String>,
    /// The program and everything it started is asked to end (TERM) after this time, as `120m`, and killed 30 seconds later if
    /// anything of it still runs. At least a second. What a program that ends by itself leaves running, such as a service, is left alone.
    #[serde(default = "max_runtime")]
    #[schemars(schema_with = "schema::runtime")]
    pub max_runtime: Span,
    /// The platforms it supports; a client must be one of them. Any by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub platforms: Vec<Platform>,
    /// Free disk space that a client must have besides the content itself, as `500Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::size")]
    pub disk_space: Option<String>,
    /// Which exit codes mean what.
    #[serde(default)]
    pub exit_codes: ExitCodes,
    /// A program that must have succeeded on the client before the first run of this one. It runs without an
    /// advertisement of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Dependency>,
    /// Holds the program back on every client without touching its advertisements or history.
    #[serde(default)]
    pub disabled: bool,
}

/// Configuration Manager's default of 120 minutes.
fn max_runtime() -> Span {
    Span::from_secs(7_200)
}

/// One environment variable.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value, passed as it is.
    #[schemars(length(max = 4096), regex(pattern = schema::NO_NUL))]
    pub value: String,
}

/// Which exit codes mean what.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExitCodes {
    /// Codes that mean success.
    #[serde(default = "success_codes")]
    #[schemars(length(min = 1, max = 64), inner(range(min = 0, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub success: Vec<i32>,
}

impl Default for ExitCodes {
    fn default() -> Self {
        Self { success: success_codes() }
    }
}

fn success_codes() -> Vec<i32> {
    vec![0]
}

/// A program that must have succeeded first.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// Its name, in the same namespace; it may belong to another package.
    #[schemars(length(min = 1, max = 253))]
    pub program: String,
}

/// What became of a program.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Generation, reconcile-now and conditions, as in every kind.
    #[serde(flatten)]
    pub observed: Observed,
}
