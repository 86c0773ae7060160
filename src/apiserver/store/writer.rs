//! The writer thread: collects waiting writes into one transaction, then publishes and answers.
//! Nobody sees or is told of a write before the disk has it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc::Receiver},
};

use tokio::sync::watch;

use super::{
    Effect, Key, Object, Refusal, State, Write,
    disk::{Batch, Database},
    history::{Change, ended},
    version_of,
};

/// Writes that share one fsync at most, so that the first of them does not wait for a flood.
const BATCH_MAX: usize = 256;

/// Takes the answer to where it is waited for.
pub(super) type Reply = Box<dyn FnOnce(Result<Object, Refusal>) + Send>;

/// A write and whom to answer.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) answer: Reply,
}

/// Takes the answer whether a write could be made.
pub(super) type Probe = Box<dyn FnOnce(Result<(), String>) + Send>;

/// What the thread is asked for.
pub(super) enum Asked {
    Write(Job),
    Probe(Probe),
}

/// Why the last write that failed did, until one is known to work again.
pub(super) type Trouble = Mutex<Option<String>>;

/// Runs until every sender of jobs is gone.
pub(super) fn run(
    mut database: Database,
    state: &RwLock<State>,
    announce: &watch::Sender<u64>,
    inbox: &Receiver<Asked>,
    trouble: &Trouble,
) {
    let note = |now: Option<String>| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
    // Only this thread writes the state, so its own count of versions is right, and grows even if a transaction fails.
    let mut revision = state.read().unwrap_or_else(PoisonError::into_inner).revision;
    while let Ok(first) = inbox.recv() {
        let (jobs, probes) = gather(first, inbox);
        for probe in probes {
            let tried = database.probe().map_err(|error| error.to_string());
            note(tried.clone().err());
            probe(tried);
        }
        let (changes, answers) = decide(state, jobs, &mut revision);
        if let Some(error) = store(&mut database, state, announce, changes).err() {
            tracing::error!(%error, "the API database refused a batch of writes");
            note(Some(error.to_string()));
            for (answer, result) in answers {
                answer(result.and_then(|_| Err(Refusal::Disk(error.to_string()))));
            }
            continue;
        }
        for (answer, result) in answers {
            answer(result);
        }
    }
}

fn gather(first: Asked, inbox: &Receiver<Asked>) -> (Vec<Job>, Vec<Probe>) {
    let (mut jobs, mut probes) = (vec![], vec![]);
    let mut next = Some(first);
    while let Some(asked) = next {
        match asked {
            Asked::Write(job) => jobs.push(job),
            Asked::Probe(probe) => probes.push(probe),
        }
        next = if jobs.len() < BATCH_MAX { inbox.try_recv().ok() } else { None };
    }
    (jobs, probes)
}

type Answer = (Reply, Result<Object, Refusal>);

/// Checks each write against the committed state and the writes before it in the batch.
fn decide(state: &RwLock<State>, jobs: Vec<Job>, revision: &mut u64) -> (Vec<Arc<Change>>, Vec<Answer>) {
    let state = state.read().unwrap_or_else(PoisonError::into_inner);
    let mut pending: HashMap<Key, Option<Object>> = HashMap::new();
    let (mut changes, mut answers) = (vec![], vec![]);
    for Job { write, answer } in jobs {
        let now = |key: &Key| pending.get(key).cloned().unwrap_or_else(|| state.objects.get(key).cloned());
        let before = now(&write.key);
        if before.as_ref().map(|o| version_of(o)) != write.expected {
            answers.push((answer, Err(Refusal::Raced)));
            continue;
        }
        let alive = |o: Object| o["metadata"]["deletionTimestamp"].is_null();
        if write.within.as_ref().is_some_and(|place| !now(place).is_some_and(alive)) {
            answers.push((answer, Err(Refusal::NoPlace)));
            continue;
        }
        let (after, shown) = match (write.effect, &before) {
            (Effect::Put(mut object), _) => {
                *revision += 1;
                object["metadata"]["resourceVersion"] = revision.to_string().into();
                let object = Arc::new(object);
                (Some(object.clone()), object)
            }
            (Effect::Remove, Some(last)) => {
                *revision += 1;
                (None, ended(last, *revision))
            }
            (Effect::Remove, None) => {
                answers.push((answer, Err(Refusal::Raced)));
                continue;
            }
        };
        pending.insert(write.key.clone(), after.clone());
        let size_bytes = [&before, &after].into_iter().flatten().map(|o| size_of(o)).sum();
        changes.push(Arc::new(Change { revision: *revision, key: write.key, before, after, size_bytes }));
        answers.push((answer, Ok(shown)));
    }
    (changes, answers)
}

/// The disk first, then memory, then the watchers.
fn store(
    database: &mut Database,
    state: &RwLock<State>,
    announce: &watch::Sender<u64>,
    changes: Vec<Arc<Change>>,
) -> rusqlite::Result<()> {
    let Some(revision) = changes.last().map(|c| c.revision) else { return Ok(()) };
    let oldest = {
        // Trimming early is safe: it only makes a watcher from a very old version list again.
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        state.log.trim()
    };
    database.commit(&Batch { changes: &changes, revision, oldest })?;
    let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
    for change in changes {
        state.commit(change);
    }
    state.revision = revision;
    drop(state);
    announce.send_replace(revision);
    Ok(())
}

/// About how many bytes an object takes, without writing it out.
fn size_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
        Value::String(s) => s.len() + 3,
        Value::Array(a) => 2 + a.iter().map(size_of).sum::<usize>(),
        Value::Object(o) => 2 + o.iter().map(|(k, v)| k.len() + 4 + size_of(v)).sum::<usize>(),
    }
}
