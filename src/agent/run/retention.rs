//! How long the journal is kept: directories for 400 days and at most 10,000 of them, output of the last three runs of a
//! program. Never touches a run that is under way, nor one that the caller has not yet taken into its own history.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::Intent;
use super::journal::{self, State};
use super::start::{attempts, runs_dir};

/// Age at which a run's directory goes (`reliability.md` D.10).
pub(super) const MAX_AGE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// Most run directories that are kept (`reliability.md` D.10).
pub(super) const MAX_RUNS: usize = 10_000;
/// Runs of one program whose output is kept.
pub(super) const OUTPUTS_PER_PROGRAM: usize = 3;

/// Extension of a run's directory that is being removed.
const TOMBSTONE: &str = "removed";

/// A run that may be tidied.
struct Finished {
    run_dir: std::path::PathBuf,
    intent: Intent,
}

/// Removes the directories of old runs, and of the oldest when there are too many. `recorded` says whether the caller's
/// durable history holds the run: what decides run-once must not be lost with the directory.
///
/// # Errors
/// The journal cannot be read, or a directory cannot be removed.
pub fn prune_runs(state_dir: &Path, now: Timestamp, recorded: impl Fn(&Intent) -> bool) -> io::Result<usize> {
    let (finished, total) = finished(state_dir)?;
    let mut surplus = total.saturating_sub(MAX_RUNS);
    let mut removed = 0;
    for run in &finished {
        let old = now.duration_since(run.intent.created_at) > MAX_AGE;
        if (old || surplus > 0) && recorded(&run.intent) {
            remove(&run.run_dir)?;
            surplus = surplus.saturating_sub(1);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes the output of all but the last three runs of each program.
///
/// # Errors
/// The journal cannot be read, or a file cannot be removed.
pub fn prune_outputs(state_dir: &Path) -> io::Result<()> {
    let mut kept = BTreeMap::new();
    for run in finished(state_dir)?.0.iter().rev() {
        let output = run.run_dir.join(journal::OUTPUT);
        if !output.exists() {
            continue;
        }
        let count: &mut usize = kept.entry(run.intent.run_key.program.clone()).or_default();
        *count += 1;
        if *count > OUTPUTS_PER_PROGRAM {
            fs::remove_file(output)?;
        }
    }
    Ok(())
}

/// The runs that are over and have a readable intent, oldest first, and the number of all directories.
fn finished(state_dir: &Path) -> io::Result<(Vec<Finished>, usize)> {
    let (mut finished, mut total) = (Vec::new(), 0);
    let runs = runs_dir(state_dir);
    if !runs.exists() {
        return Ok((finished, total));
    }
    for entry in fs::read_dir(runs)? {
        let key_dir = entry?.path();
        if !key_dir.is_dir() {
            continue;
        }
        remove_tombstones(&key_dir)?;
        for attempt in attempts(&key_dir)? {
            let run_dir = key_dir.join(attempt.to_string());
            total += 1;
            if journal::observe(&run_dir)? != State::Running
                && let Some(intent) = journal::read_intent(&run_dir)?
            {
                finished.push(Finished { run_dir, intent });
            }
        }
    }
    finished.sort_by(|a, b| (a.intent.created_at, &a.run_dir).cmp(&(b.intent.created_at, &b.run_dir)));
    Ok((finished, total))
}

/// Removes one run's directory, out of sight first: a crash on the way must not leave a run that looks as if it never
/// started. With it goes its control group if processes were left there and have ended since, and the run key's directory when
/// it was the last attempt.
fn remove(run_dir: &Path) -> io::Result<()> {
    if let Some(cgroup) = journal::read_begin(run_dir)?.and_then(|begin| begin.cgroup) {
        let _ = fs::remove_dir(cgroup);
    }
    let tombstone = run_dir.with_extension(TOMBSTONE);
    fs::rename(run_dir, &tombstone)?;
    fs::remove_dir_all(&tombstone)?;
    if let Some(key_dir) = run_dir.parent() {
        // Refused while other attempts are in it, as it should be.
        let _ = fs::remove_dir(key_dir);
    }
    Ok(())
}

/// Finishes what a crash interrupted.
fn remove_tombstones(key_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(key_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == TOMBSTONE) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}
