//! Policy: what this very client is offered, provably. A body is shared by clients with equal offers; a leaf binds a
//! client id to a body; one signed root covers all leaves of a snapshot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    content::digest::Digest,
    model::{
        duration::Span,
        identity::{ObjectName, ProgramIdentity},
        schedule::{Assignment, Rerun},
    },
};

/// The envelope type a policy root is signed under.
pub const ROOT_TYPE: &str = "waybill.policy-root.v1";
/// Bytes of a policy body at most; a client with more offers needs fewer.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A root is refused by clients after this time; the site signs a new one at half of it.
pub const ROOT_LIFETIME: Span = Span::from_secs(24 * 3_600);

/// When the end of a program's output is sent along with its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Least time between polls that a configuration may name; changes arrive at once all the same.
pub const POLL_INTERVAL_MIN: Span = Span::from_secs(60);

/// How the agent behaves; from `ClientAgentConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentConfig {
    /// Whether programs are started at all.
    pub enabled: bool,
    /// Time between polls.
    pub poll_interval: Span,
    /// How much content stays after its programs ran.
    pub cache_limit_bytes: u64,
    /// When output is sent along.
    pub report_output: ReportOutput,
    /// Base URLs of the site's access points, sorted.
    pub access_points: Vec<String>,
}

impl Default for AgentConfig {
    /// The defaults of the kind `ClientAgentConfig`.
    fn default() -> Self {
        Self {
            enabled: true,
            poll_interval: Span::from_secs(3_600),
            cache_limit_bytes: 5 << 30,
            report_output: ReportOutput::OnFailure,
            access_points: Vec::new(),
        }
    }
}

/// One advertisement as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offer {
    /// The advertisement.
    pub advertisement: ObjectName,
    /// The program's identity, the subject of run-once.
    pub program: ProgramIdentity,
    /// Digest of the package record that the program is run from.
    pub record: Digest,
    /// Nothing is visible or fetched before.
    pub start: Option<Timestamp>,
    /// Nothing starts after.
    pub expires: Option<Timestamp>,
    /// When it must run.
    pub assignments: Vec<Assignment>,
    /// Whether a local user may start it.
    pub user_may_start: bool,
    /// Whether an assigned program that already ran may run again.
    pub rerun: Rerun,
    /// A new value runs it once more.
    pub rerun_token: Option<String>,
    /// No new starts.
    pub suspended: bool,
}

/// Everything a client is told: shared by all clients with equal content. Its digest is in the leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyBody {
    /// How the agent behaves.
    pub config: AgentConfig,
    /// Offers in order of their advertisements.
    pub offers: Vec<Offer>,
    /// Records that no offer names but an offered program depends on, in order.
    pub dependencies: Vec<Digest>,
}

/// Binds one client to a body. Hashed into the Merkle tree as its JSON bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaf {
    /// The client's id.
    pub client: String,
    /// Grows whenever this client's body changes: max(previous + 1, Unix ms).
    pub version: u64,
    /// Digest of the body's JSON bytes.
    pub body: Digest,
}

/// What the site signs: one for all clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRoot {
    /// The site's id.
    pub site: String,
    /// Raised only by a signed reset; a client never accepts a lower one.
    pub epoch: u64,
    /// Grows with every root.
    pub version: u64,
    /// Root hash of the Merkle tree over the leaves, in order of client ids.
    pub leaves_root: Digest,
    /// Number of leaves.
    pub leaves: u64,
    /// When it was signed; clients refuse it [`ROOT_LIFETIME`] later.
    pub issued_at: Timestamp,
}

/// The answer to a poll, unless it is 304. Bodies travel as text so that their digest survives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyAnswer {
    /// The signed [`PolicyRoot`], an envelope as JSON text.
    pub root: crate::trust::envelope::Envelope,
    /// The client's leaf.
    pub leaf: Leaf,
    /// Its place among the leaves.
    pub proof: crate::trust::merkle::InclusionProof,
    /// The body's exact JSON text.
    pub body: String,
}
