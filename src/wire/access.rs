//! The routes of client access points, distribution points and the site, and the small messages that go over them.

use serde::{Deserialize, Serialize};

use super::{points::VersionRef, policy::Leaf};
use crate::{content::digest::Digest, trust::envelope::Envelope};

/// GET, client. Query `wait` (seconds, at most [`LONG_POLL_SECS_MAX`]); `If-None-Match` with the last entity tag.
/// 304, or 200 with a `policy::PolicyAnswer`.
pub const POLICY_PATH: &str = "/cap/v1/policy";
/// GET, client, `/{digest}`: a package record as `Envelope`, cached for ever.
pub const RECORD_PATH: &str = "/cap/v1/records";
/// GET, client, `/{digest}`: the distribution points that hold the content, as [`Locations`].
pub const LOCATIONS_PATH: &str = "/cap/v1/locations";
/// POST, client: a `status::SignedBatch`; 200 with a signed `status::Receipt` after it is durable.
pub const STATUS_PATH: &str = "/cap/v1/status";
/// POST, client: an `inventory::SignedInventory`; 200 with a signed `status::Receipt` after it is durable.
pub const INVENTORY_PATH: &str = "/cap/v1/inventory";
/// POST, client: a [`BadContent`]; the point verifies and repairs at once.
pub const BAD_CONTENT_PATH: &str = "/cap/v1/bad-content";

/// Bytes of a [`BadContent`] at most: a name and two digests.
pub const BAD_CONTENT_BYTES_MAX: usize = 4 << 10;

/// GET, client, `/{manifest digest}`: the manifest's canonical bytes.
pub const DP_MANIFEST_PATH: &str = "/dp/v1/manifests";
/// GET, client, `/{manifest digest}/{file digest}`: a file, with ranges and an entity tag.
pub const DP_FILE_PATH: &str = "/dp/v1/files";

/// GET, dp. Query `wait`, `If-None-Match`: a `points::Assignment`.
pub const ASSIGNMENT_PATH: &str = "/site/v1/assignment";
/// POST, dp: a `points::PointReport`; 200 with a `status::StatusAck`.
pub const REPORT_PATH: &str = "/site/v1/report";
/// GET, dp, `/{manifest digest}`: the manifest's canonical bytes.
pub const SITE_MANIFEST_PATH: &str = "/site/v1/manifests";
/// GET, dp, `/{file digest}`: a file of the library, with ranges.
pub const SITE_FILE_PATH: &str = "/site/v1/files";
/// GET, cap. Query `wait`, `If-None-Match`: a [`Snapshot`].
pub const SNAPSHOT_PATH: &str = "/site/v1/snapshot";
/// GET, cap, `/{digest}`: a package record as `Envelope`.
pub const SITE_RECORD_PATH: &str = "/site/v1/records";
/// POST, cap: what a client posted at [`STATUS_PATH`], passed on; same answer.
pub const RELAY_STATUS_PATH: &str = "/site/v1/relay/status";
/// POST, cap: a [`Relayed`] signed inventory; same answer.
pub const RELAY_INVENTORY_PATH: &str = "/site/v1/relay/inventory";
/// POST, cap: a [`Relayed`] complaint about content.
pub const RELAY_BAD_CONTENT_PATH: &str = "/site/v1/relay/bad-content";
/// POST, cap: a [`Heard`].
pub const RELAY_HEARD_PATH: &str = "/site/v1/relay/heard";
/// POST, every role: an `enrol::RenewRequest`, over a connection with the certificate to renew.
pub const RENEW_PATH: &str = "/v1/renew";

/// A long poll is answered with 304 after this time at the latest.
pub const LONG_POLL_SECS_MAX: u64 = 300;

/// The distribution points that hold some content, in the order to try them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Locations {
    /// Each with its name and base URL.
    pub points: Vec<PointRef>,
}

/// A distribution point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PointRef {
    /// Its name.
    pub name: String,
    /// Its base URL.
    pub url: String,
}

/// A client found bytes that do not match their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BadContent {
    /// The distribution point that delivered them.
    pub point: String,
    /// The content's manifest.
    pub content: Digest,
    /// The file.
    pub file: Option<Digest>,
}

/// Something a client posted, passed on by a client access point. What is not signed by the client itself is a complaint
/// about content, which makes a point verify what it has and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Relayed<T> {
    /// Id of the client, as its certificate said.
    pub client: String,
    /// What it posted.
    pub body: T,
}

/// Clients in one [`Heard`] at most; the others follow in the next.
pub const HEARD_CLIENTS_MAX: usize = 10_000;
/// Bytes of a [`Heard`] at most: an id is a few dozen bytes.
pub const HEARD_BYTES_MAX: usize = 2 << 20;

/// Clients that polled an access point. Not signed by them: it tells when they were heard of, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heard {
    /// Each once.
    pub clients: Vec<HeardClient>,
}

/// A client that polled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeardClient {
    /// Its id, as its certificate said.
    pub client: String,
    /// How long ago, in milliseconds: clocks may differ.
    pub age_ms: u64,
}

/// Everything a client access point needs to serve its clients while cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// The signed `policy::PolicyRoot`.
    pub root: Envelope,
    /// All leaves, in the order of the tree.
    pub leaves: Vec<Leaf>,
    /// Exact JSON texts of the bodies; their digests are in the leaves.
    pub bodies: Vec<String>,
    /// The package records that bodies name.
    pub records: Vec<Digest>,
    /// Which distribution point holds what.
    pub locations: Vec<(VersionRef, Vec<PointRef>)>,
    /// Clients that are blocked; they are turned away.
    pub blocked: Vec<String>,
    /// Clients that were deleted and whose certificates may still live; they are turned away.
    #[serde(default)]
    pub deleted: Vec<String>,
}
