//! What the agent hands to a run: the intent (what is about to run and why, for the journal) and the ticket (how to
//! run it, for the supervisor). Plain data without secrets; the supervisor checks all of it again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::content::{Digest, SafePath};
use crate::model::identity::ObjectName;
use crate::plan::run::RunKey;

/// Seconds between TERM and KILL when a program exceeds its maximum run time.
pub const TERM_GRACE_SECONDS: u64 = 30;

/// The system programs that an agent allows unless its configuration says otherwise.
pub const DEFAULT_SYSTEM_PATHS: [&str; 3] = ["/bin/sh", "/usr/bin/dpkg", "/usr/bin/rpm"];

/// What is about to run and why. Written durably before anything is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Under which key it starts: at most one start per attempt of it.
    pub run_key: RunKey,
    /// The package's source version.
    pub source_version: u64,
    /// Digest of the program's definition, as `plan::run` compares it.
    pub program_digest: String,
    /// Digest of the signed package record that names the program.
    pub record_digest: Digest,
    /// Digest of the content manifest; absent for a package without source files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    /// The advertisement on whose behalf it runs.
    pub advertisement: ObjectName,
    /// Counts the attempts of this run key, from 1; see [`next_attempt`](super::next_attempt).
    pub attempt: u32,
    /// The local user who asked for the run, or for whom it is; absent for an assignment to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it runs because another program depends on it, and not as the advertised program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_dependency: bool,
    /// Exit codes that mean success; the record that says so may be gone when the run ends.
    #[serde(default)]
    pub success_codes: Vec<i32>,
    /// When the agent decided to start it.
    pub created_at: Timestamp,
}

impl Intent {
    /// See [`run_key_hash`].
    ///
    /// # Errors
    /// See [`run_key_hash`].
    pub fn run_key_hash(&self) -> io::Result<String> {
        run_key_hash(&self.run_key)
    }
}

/// The name of a run key's directory, for a run key may hold any character: the digest of its JSON form.
///
/// # Errors
/// None in practice: a run key is texts and numbers.
pub fn run_key_hash(run_key: &RunKey) -> io::Result<String> {
    Ok(Digest::of(&serde_json::to_vec(run_key)?).hex())
}

/// Verified package content on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TicketContent {
    /// The directory that holds exactly the files of the manifest. Absolute. A program that runs as another account
    /// reaches it as its working directory even below a closed state directory, but by this name only if every
    /// directory above may be passed.
    pub dir: PathBuf,
    /// The encoded manifest. Absolute; not below `dir`.
    pub manifest: PathBuf,
    /// The manifest's digest from the signed record.
    pub manifest_digest: Digest,
}

/// How to run a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ticket {
    /// The package's name, for `WAYBILL_PACKAGE`.
    pub package: String,
    /// The program's name, for `WAYBILL_PROGRAM`.
    pub program: String,
    /// The source version, for `WAYBILL_SOURCE_VERSION`.
    pub source_version: u64,
    /// The package's files; absent for a package without source files.
    pub content: Option<TicketContent>,
    /// The command line. The first word is a path in the package, or an absolute path out of `system_paths`.
    pub argv: Vec<String>,
    /// Working directory below the content directory; absent for the content directory itself (`/` without content).
    pub cwd: Option<SafePath>,
    /// The program's own environment, on top of the fixed one.
    pub env: BTreeMap<String, String>,
    /// Local account to run as; absent for the agent's own.
    pub run_as: Option<String>,
    /// Longest run time in seconds; the whole process tree is ended after it.
    pub max_runtime_seconds: u64,
    /// Seconds between TERM and KILL; [`TERM_GRACE_SECONDS`] unless a test says otherwise.
    pub term_grace_seconds: u64,
    /// Absolute paths that the agent's root-owned configuration allows as first word.
    pub system_paths: Vec<PathBuf>,
    /// Whether the agent's root-owned configuration allows running as root.
    pub allow_root: bool,
}
