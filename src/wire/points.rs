//! Between a site and its distribution points: what a point should hold, and what it holds.

use serde::{Deserialize, Serialize};

use crate::{
    content::digest::Digest,
    model::{duration::Span, identity::ObjectName, message::StatusMessage, state::LocationState},
};

/// Least time between scrubs; shorter ones count as this. A scrub reads everything and must leave room for clients.
pub const SCRUB_INTERVAL_MIN: Span = Span::from_secs(60);

/// What a distribution point should hold. Versioned as a whole; asked for by long poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// The site's epoch; a point refuses a lower one than it has seen.
    pub epoch: u64,
    /// Changes whenever anything below does; the entity tag of the long poll.
    pub version: String,
    /// Where content may be stored; empty is the process's own directory.
    pub drives: Vec<DriveSpec>,
    /// Time between scrubs.
    pub scrub_interval: Span,
    /// A new value asks for a scrub now.
    pub scrub_token: Option<String>,
    /// Versions to hold, each with who may fetch it.
    pub hold: Vec<Hold>,
    /// Versions to remove and to confirm as removed.
    pub remove: Vec<VersionRef>,
}

/// A directory on a drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriveSpec {
    /// Absolute path.
    pub path: String,
    /// Space left free.
    pub reserve_bytes: u64,
}

/// One version of a package's content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionRef {
    /// The package.
    pub package: ObjectName,
    /// Its source version.
    pub source_version: u64,
    /// Digest of the manifest.
    pub content: Digest,
}

/// A version to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Which.
    pub version: VersionRef,
    /// A new value asks for the whole content again.
    pub resend_token: Option<String>,
    /// A number that grows with every report of bad content: verify and repair now.
    pub check: u64,
    /// Ids of the clients that may fetch it, sorted.
    pub readers: Vec<String>,
}

/// What a distribution point holds; sent on every change and as a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PointReport {
    /// The version of the assignment it works on.
    pub assignment: String,
    /// Where clients reach it.
    pub url: String,
    /// Its drives.
    pub drives: Vec<DriveReport>,
    /// Every version it was told to hold or to remove.
    pub versions: Vec<VersionReport>,
    /// What happened since the last acknowledged report, by the sequence of its outbox.
    pub messages: Vec<(u64, StatusMessage)>,
    /// The outbox of those messages.
    pub outbox: String,
}

/// One drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DriveReport {
    /// Absolute path.
    pub path: String,
    /// Free bytes.
    pub free_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
    /// Whether it takes content: no NO_WAYBILL_ON_DRIVE file, writable.
    pub usable: bool,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionReport {
    /// Which.
    pub version: VersionRef,
    /// Where it stands.
    pub state: LocationState,
    /// Why, if it is not where it should be.
    pub detail: Option<String>,
    /// The directory it is published in; removal works from it.
    pub path: Option<String>,
    /// When all its bytes were last verified, Unix milliseconds.
    pub verified_at_ms: Option<i64>,
    /// The resend token last honoured.
    pub resend_token: Option<String>,
    /// The check number last honoured.
    pub check: u64,
}
