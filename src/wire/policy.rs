//! Policy: what this very client is offered, provably. See `plan::run` for what it makes of it.
use serde::{Deserialize, Serialize};

/// When the end of a program's output is sent along with its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub enum ReportOutput {
    /// When the program failed.
    #[default]
    OnFailure,
    /// After every run.
    Always,
    /// Never.
    Never,
}
