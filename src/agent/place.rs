//! The agent's state directory: that it is private, an agent's, and used by one process. Reads nothing of what is kept there.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::{AgentError, DATABASE};
use crate::content::{anchor::Anchor, private};

/// Held by the agent that runs; in every agent's state from its first start on.
const LOCK: &str = "lock";
/// What else an agent leaves: a state that was brought back from a backup may lack the lock.
const OURS: [&str; 3] = [LOCK, DATABASE, "session.json"];
/// What a site, a distribution point or an access point leaves in its state directory.
const MARKER: &str = "state.json";

/// What is read of it.
#[derive(Deserialize)]
struct Marker {
    kind: String,
}

/// The directory by its real name, made if it is missing, and the lock that keeps other processes out.
///
/// # Errors
/// [`AgentError`], each with the remedy; nothing that was there has changed then.
pub(super) fn open(state: &Path) -> Result<(PathBuf, File), AgentError> {
    let state = private::make(state)?;
    check(&state)?;
    private::close(&state)?;
    let lock = lock(&state)?;
    Ok((state, lock))
}

/// Refuses what is no agent's: closing a directory that the system needs would spoil the machine.
fn check(state: &Path) -> Result<(), AgentError> {
    if let Ok(text) = fs::read(state.join(MARKER)) {
        let kind =
            serde_json::from_slice(&text).map_or_else(|_| "nothing readable".to_owned(), |marker: Marker| marker.kind);
        return Err(AgentError::Foreign(state.to_owned(), kind));
    }
    let mut entries = fs::read_dir(state).map_err(|error| AgentError::State(state.to_owned(), error))?;
    if entries.next().is_some() && !OURS.iter().any(|name| state.join(name).exists()) {
        return Err(AgentError::NotOurs(state.to_owned()));
    }
    Ok(())
}

/// One process for each state directory.
fn lock(state: &Path) -> Result<File, AgentError> {
    let failed = |error| AgentError::State(state.to_owned(), error);
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(state.join(LOCK));
    let lock = open.map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::Busy(state.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// What has to stay where it is while the agent runs: its lock, and its database, which is open.
///
/// # Errors
/// [`AgentError::State`].
pub(super) fn anchors(state: &Path, lock: &File) -> Result<[Anchor; 2], AgentError> {
    let failed = |error| AgentError::State(state.to_owned(), error);
    let (lock_path, database) = (state.join(LOCK), state.join(DATABASE));
    let open = File::open(&database).map_err(failed)?;
    Ok([Anchor::of(&lock_path, lock).map_err(failed)?, Anchor::of(&database, &open).map_err(failed)?])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_an_agents_own_directory_is_taken_and_nothing_else_is_touched() {
        let scratch = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let state = scratch.path().join("state");
        let (real, lock) = open(&state).unwrap();
        assert_eq!((real.as_path(), mode(&state)), (state.as_path(), 0o700));
        assert!(matches!(open(&state), Err(AgentError::Busy(_))));
        drop(lock);
        fs::write(state.join("agent.db"), "").unwrap();
        open(&state).unwrap();

        let precious = scratch.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::set_permissions(&precious, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(precious.join("passwd"), "").unwrap();
        assert!(matches!(open(&precious), Err(AgentError::NotOurs(_))));
        fs::write(precious.join(MARKER), r#"{"kind": "waybill-dp", "schema": 1, "minReader": 1}"#).unwrap();
        let error = open(&precious).unwrap_err().to_string();
        assert!(error.contains("another kind of process (it says 'waybill-dp')"), "{error}");
        assert_eq!(mode(&precious), 0o755);
        assert!(!precious.join(LOCK).exists());
    }
}
