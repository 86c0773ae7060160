//! What a client says of itself, signed by it, so that whoever passes it on can neither alter it nor bring an old one again.
//! Its own claim all the same: nothing secret and no access depends on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::platform::Platform;

/// Bytes of an inventory at most.
pub const INVENTORY_BYTES_MAX: usize = 4 << 20;
/// Bytes of a [`SignedInventory`] at most: JSON text within JSON text, which escapes at most double, and a certificate.
pub const SIGNED_INVENTORY_BYTES_MAX: usize = 2 * INVENTORY_BYTES_MAX + (64 << 10);
/// What a client signs its inventory for; see `trust::device`.
pub const INVENTORY_PURPOSE: &str = "waybill.inventory.v1";
/// Installed packages at most.
pub const PACKAGES_MAX: usize = 20_000;

/// A client's inventory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inventory {
    /// Its host name.
    pub hostname: String,
    /// Operating system, distribution, version, architecture.
    pub platform: Platform,
    /// Kernel release.
    pub kernel: String,
    /// The agent's version.
    pub agent_version: String,
    /// Number of processors.
    pub cpus: u32,
    /// Main memory.
    pub memory_bytes: u64,
    /// Mounted file systems with storage.
    pub disks: Vec<Disk>,
    /// Addresses of its network interfaces, without loopback.
    pub addresses: Vec<String>,
    /// Installed Debian and RPM packages, name to version.
    pub packages: BTreeMap<String, String>,
    /// JSON facts from the agent's facts directory, file stem to content.
    pub facts: BTreeMap<String, Value>,
}

/// An inventory with whose it is and its place among all that this client ever sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InventoryReport {
    /// The client's id; must be the id in its certificate.
    pub client: String,
    /// Greater than that of every report before: the time in Unix milliseconds, or one more than the last.
    pub sequence: u64,
    /// What it says.
    pub inventory: Inventory,
}

/// A report as its client signed it with the key of its certificate. It is answered with a `status::Receipt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedInventory {
    /// The exact JSON text of an [`InventoryReport`].
    pub report: String,
    /// Signature over the text, base64.
    pub signature: String,
    /// The client's certificate chain, PEM.
    pub certificate: String,
}

/// One file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// Its size.
    pub total_bytes: u64,
    /// What is free for the agent's user, rounded down to 64 MiB so that it does not change all the time.
    pub free_bytes: u64,
}
