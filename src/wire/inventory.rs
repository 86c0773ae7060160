//! What a client says of itself. Its own claim: nothing secret and no access depends on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::platform::Platform;

/// Bytes of an inventory at most.
pub const INVENTORY_BYTES_MAX: usize = 4 << 20;
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
