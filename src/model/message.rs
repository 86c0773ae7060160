//! Status messages: what happened, where, to what. The text is written by the sender, in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{reason::Reason, state::RunState};

/// Attribute key: the advertisement concerned, as `namespace/name`.
pub const ADVERTISEMENT: &str = "advertisement";
/// Attribute key: the package concerned, as `namespace/name`.
pub const PACKAGE: &str = "package";
/// Attribute key: the program's name.
pub const PROGRAM: &str = "program";
/// Attribute key: the source version concerned.
pub const SOURCE_VERSION: &str = "sourceVersion";
/// Attribute key: the distribution point concerned.
pub const DISTRIBUTION_POINT: &str = "distributionPoint";
/// Attribute key: what a program was started for, in words; agents before this key did not say it.
pub const OCCASION: &str = "occasion";
/// Attribute key: the rerun token that a program was started for, if that was the occasion.
pub const RERUN_TOKEN: &str = "rerunToken";
/// Attribute key: the exit code of a program.
pub const EXIT_CODE: &str = "exitCode";
/// Attribute key: the local user who started a program.
pub const USER: &str = "user";
/// Attribute key: the end of a program's output, escaped for display.
pub const OUTPUT: &str = "output";
/// Attribute key: the file of a package concerned.
pub const FILE: &str = "file";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Things as expected.
    Informational,
    /// Works, but somebody should look.
    Warning,
    /// Something failed.
    Error,
}

impl Severity {
    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Informational, Self::Warning, Self::Error].into_iter().find(|one| one.as_str() == text)
    }
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessageType {
    /// The end of an operation.
    Milestone,
    /// A step within one.
    Detail,
    /// An administrator changed something.
    Audit,
}

impl MessageType {
    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milestone => "Milestone",
            Self::Detail => "Detail",
            Self::Audit => "Audit",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Milestone, Self::Detail, Self::Audit].into_iter().find(|one| one.as_str() == text)
    }
}

/// The part of the system that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    /// The client agent.
    ClientAgent,
    /// Snapshots, records, distribution to points.
    DistributionManager,
    /// A distribution point.
    DistributionPoint,
    /// Offers and policy.
    OfferManager,
    /// A client access point.
    ClientAccessPoint,
    /// Membership of collections.
    CollectionEvaluator,
    /// Git sync.
    GitSync,
    /// Jobs and their times.
    Scheduler,
    /// Enrolment, certificates, blocks.
    Security,
    /// Message intake and summaries.
    StatusManager,
}

impl Component {
    /// Every component.
    pub const ALL: [Self; 10] = [
        Self::ClientAgent,
        Self::DistributionManager,
        Self::DistributionPoint,
        Self::OfferManager,
        Self::ClientAccessPoint,
        Self::CollectionEvaluator,
        Self::GitSync,
        Self::Scheduler,
        Self::Security,
        Self::StatusManager,
    ];

    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientAgent => "ClientAgent",
            Self::DistributionManager => "DistributionManager",
            Self::DistributionPoint => "DistributionPoint",
            Self::OfferManager => "OfferManager",
            Self::ClientAccessPoint => "ClientAccessPoint",
            Self::CollectionEvaluator => "CollectionEvaluator",
            Self::GitSync => "GitSync",
            Self::Scheduler => "Scheduler",
            Self::Security => "Security",
            Self::StatusManager => "StatusManager",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// One status message as its sender wrote it. Who sent it and its sequence number travel outside (`wire::status`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusMessage {
    /// When it happened by the sender's clock, Unix milliseconds.
    pub time_ms: i64,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of message it is.
    #[serde(rename = "type")]
    pub message_type: MessageType,
    /// The part of the system that speaks.
    pub component: Component,
    /// The number SMS gave this message; 0 where it had none.
    #[serde(default)]
    pub message_id: u16,
    /// Readable text, complete in itself.
    pub text: String,
    /// Why, from the one list of reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Where the client stands with the advertisement named in the attributes, if this message says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
    /// What it is about; the keys are the constants of this module.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}
