//! When an advertisement's program is due. Instants carry an offset (RFC 3339), so no zone data is needed here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One assignment of an advertisement: with any of these the program is mandatory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Assignment {
    /// A fixed instant by the client's clock. Of several missed ones only the latest counts.
    At(Timestamp),
    /// As soon as the client learns of it; never recurs.
    AsSoonAsPossible,
}

/// When an assigned program that already ran may start again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub enum Rerun {
    /// Only after a failure: at a later `at`, with a new source version or with a changed program.
    #[default]
    IfFailed,
    /// Never, whatever happened.
    Never,
    /// At each `at`, whatever happened before.
    Always,
    /// Once for every source version of the package, a reverted one included.
    OncePerVersion,
}
