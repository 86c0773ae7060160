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

/// Age at which a run's directory goes.
pub(super) const MAX_AGE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// Most run directories that are kept.
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
    prune(state_dir, now, MAX_RUNS, recorded)
}

fn prune(state_dir: &Path, now: Timestamp, max_runs: usize, recorded: impl Fn(&Intent) -> bool) -> io::Result<usize> {
    let (finished, total) = finished(state_dir)?;
    let mut surplus = total.saturating_sub(max_runs);
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

/// Removes the output of all but the last three runs of each program, and control groups that were left to processes which have
/// ended since.
///
/// # Errors
/// The journal cannot be read, or a file cannot be removed.
pub fn prune_outputs(state_dir: &Path) -> io::Result<()> {
    let mut kept = BTreeMap::new();
    for run in finished(state_dir)?.0.iter().rev() {
        journal::remove_cgroup(&run.run_dir);
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
    journal::remove_cgroup(run_dir);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;
    use crate::model::identity::{ObjectName, ProgramIdentity};
    use crate::plan::run::{Occurrence, RunKey};

    /// A run that never began, created so many seconds after the epoch.
    fn add(state_dir: &Path, second: i64) {
        let program =
            ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: "i".into() };
        let intent = Intent {
            run_key: RunKey { program, occurrence: Occurrence::Token(second.to_string()) },
            source_version: 1,
            program_digest: String::new(),
            record_digest: Digest::of(b""),
            manifest_digest: None,
            advertisement: ObjectName::new("n", "a"),
            attempt: 1,
            user: None,
            for_dependency: false,
            success_codes: vec![0],
            created_at: Timestamp::from_second(second).unwrap(),
        };
        let run_dir = runs_dir(state_dir).join(intent.run_key_hash().unwrap()).join("1");
        fs::create_dir_all(&run_dir).unwrap();
        fs::write(run_dir.join(journal::INTENT), serde_json::to_vec(&intent).unwrap()).unwrap();
    }

    fn left(state_dir: &Path) -> Vec<i64> {
        finished(state_dir).unwrap().0.iter().map(|run| run.intent.created_at.as_second()).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_unless_nobody_recorded_them() {
        let dir = tempfile::tempdir().unwrap();
        (1..=5).for_each(|second| add(dir.path(), second));
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(prune(dir.path(), now, 5, |_| true).unwrap(), 0);
        assert_eq!(prune(dir.path(), now, 4, |_| false).unwrap(), 0);
        assert_eq!(prune(dir.path(), now, 3, |intent| intent.created_at.as_second() != 1).unwrap(), 2);
        assert_eq!(left(dir.path()), [1, 4, 5]);
        assert_eq!(fs::read_dir(runs_dir(dir.path())).unwrap().count(), 3, "a removed run key leaves nothing");
    }

    #[test]
    fn age_alone_is_enough_and_its_limit_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        [0, 1].into_iter().for_each(|second| add(dir.path(), second));
        let now = Timestamp::from_second(1).unwrap() + MAX_AGE;
        assert_eq!(prune(dir.path(), now, 100, |_| true).unwrap(), 1);
        assert_eq!(left(dir.path()), [1]);
    }

    #[test]
    fn an_interrupted_removal_is_finished_and_never_taken_for_a_run() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), 1);
        let key_dir = fs::read_dir(runs_dir(dir.path())).unwrap().next().unwrap().unwrap().path();
        fs::rename(key_dir.join("1"), key_dir.join("1.removed")).unwrap();
        assert_eq!(super::super::recover(dir.path()).unwrap().len(), 0);
        assert!(left(dir.path()).is_empty());
        assert!(!key_dir.join("1.removed").exists());
    }
}
