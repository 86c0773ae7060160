//! What a starting agent finds of the runs of its predecessors. Reads the journal alone, which is the truth about runs;
//! what is to be done about it is decided elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use super::Intent;
use super::journal::{self, State};
use super::start::{RunHandle, attempts, runs_dir};

/// One run that the journal knows.
#[derive(Debug)]
pub struct Recovered {
    /// Its directory.
    pub run_dir: PathBuf,
    /// The name of its run key's directory, [`Intent::run_key_hash`]: known even if the intent is not.
    pub run_key_hash: String,
    /// The attempt.
    pub attempt: u32,
    /// What was to run; `None` if the intent was never written or cannot be read.
    pub intent: Option<Intent>,
    /// What the journal proves. An error means that it cannot be read now: the run counts as started.
    pub state: io::Result<State>,
    /// The way to wait for it, if it is [`State::Running`].
    pub handle: Option<RunHandle>,
}

/// Every run in the journal below `state_dir`, and a handle for each that is under way.
///
/// # Errors
/// The journal as a whole cannot be read; nothing may be started then. A run that cannot be read is in the list.
pub fn recover(state_dir: &Path) -> io::Result<Vec<Recovered>> {
    let runs = runs_dir(state_dir);
    let entries = match std::fs::read_dir(&runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut recovered = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let key_dir = runs.join(&name);
        if !key_dir.is_dir() {
            continue;
        }
        for attempt in attempts(&key_dir)? {
            recovered.push(recover_run(&key_dir, &name.to_string_lossy(), attempt));
        }
    }
    recovered.sort_by(|a, b| (&a.run_key_hash, a.attempt).cmp(&(&b.run_key_hash, b.attempt)));
    Ok(recovered)
}

fn recover_run(key_dir: &Path, run_key_hash: &str, attempt: u32) -> Recovered {
    let run_dir = key_dir.join(attempt.to_string());
    let mut state = journal::observe(&run_dir);
    let mut handle = None;
    if matches!(state, Ok(State::Running)) {
        match RunHandle::attach(run_dir.clone()) {
            Ok(attached) => handle = Some(attached),
            Err(error) => state = Err(error),
        }
    } else {
        journal::remove_cgroup(&run_dir);
    }
    let intent = journal::read_intent(&run_dir).unwrap_or_default();
    Recovered { run_dir, run_key_hash: run_key_hash.to_owned(), attempt, intent, state, handle }
}
