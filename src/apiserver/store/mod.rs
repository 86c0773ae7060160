//! The object store: committed objects and the watch log in memory, mirrored in SQLite by one writer thread.
//! It knows keys, versions, bytes, and who names whom as its owner; it knows nothing of kinds, schemas or HTTP.

mod agenda;
mod disk;
mod history;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError, RwLock, mpsc},
    thread::JoinHandle,
};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

use agenda::Agenda;
pub use disk::OpenError;
use history::Log;
pub(super) use history::{Change, EventType};
use writer::{Asked, Job, Trouble};

/// An object as it is stored and served, shared between readers.
pub(super) type Object = Arc<Value>;

/// Where an object lives. The order is the order of lists: the bytes of `namespace/name` within a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// `plural.group`, or just the plural for the core group.
    pub(super) resource: Arc<str>,
    /// `namespace/name`, or the name alone for cluster-scoped kinds.
    pub(super) path: String,
}

/// What a write does to its key.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Stores this object; the writer sets its resourceVersion.
    Put(Value),
    /// Takes the stored object away.
    Remove,
}

/// One optimistic write: it happens only if the key is still as the caller saw it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: Key,
    /// resourceVersion of the object the caller computed from; `None` if there was none.
    pub(super) expected: Option<u64>,
    pub(super) effect: Effect,
    /// A key that must exist and must not be terminating at the moment of the write: the namespace of a new object.
    pub(super) within: Option<Key>,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the object changed since it was read")]
    Raced,
    #[error("the namespace is gone or terminating")]
    NoPlace,
    #[error("the database did not take the write; look at the free space and permissions beside api.db: {0}")]
    Disk(String),
}

/// Why history cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOld {
    /// The oldest version that can still be asked for.
    pub(super) oldest: u64,
}

/// All committed state. Replaced only by the writer thread, after the transaction; housekeeping takes from the agenda.
#[derive(Debug, Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Object>,
    log: Log,
    agenda: Agenda,
}

/// Handle on the store; share it by `Arc`.
#[derive(Debug)]
pub(super) struct Store {
    state: Arc<RwLock<State>>,
    revisions: watch::Receiver<u64>,
    jobs: Option<mpsc::Sender<Asked>>,
    writer: Option<JoinHandle<()>>,
    /// Objects that were read, for tests of what a change costs.
    #[cfg(test)]
    pub(super) objects_read: std::sync::atomic::AtomicUsize,
    trouble: Arc<Trouble>,
}

impl Store {
    /// Opens or creates the database at `path` and loads what is stored of `resources`.
    ///
    /// `view` turns stored bytes into what the present schemas serve (new defaults, removed fields); it is applied
    /// to every loaded object, and nothing is written back until somebody writes the object.
    pub(super) fn open(path: &Path, view: &dyn Fn(&str, &mut Value)) -> Result<Store, OpenError> {
        let mut database = disk::Database::open(path)?;
        let state = database.load(view)?;
        let (announce, revisions) = watch::channel(state.revision);
        let state = Arc::new(RwLock::new(state));
        let (jobs, inbox) = mpsc::channel();
        let trouble = Arc::<Trouble>::default();
        let (shared, troubled) = (state.clone(), trouble.clone());
        let writer = std::thread::Builder::new()
            .name("api-store".into())
            .spawn(move || writer::run(database, &shared, &announce, &inbox, &troubled))
            .map_err(OpenError::Thread)?;
        Ok(Store {
            state,
            revisions,
            jobs: Some(jobs),
            writer: Some(writer),
            trouble,
            #[cfg(test)]
            objects_read: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// Writes durably. The answer is the object as stored (for `Remove`: as it was last, at the version of its end).
    pub(super) async fn write(&self, write: Write) -> Result<Object, Refusal> {
        let (sender, result) = oneshot::channel();
        // a caller that went away needs no answer
        self.send(write, Box::new(|answer| drop(sender.send(answer))))?;
        result.await.map_err(|_| stopped())?
    }

    /// The same for the start, before anything waits: blocks the thread.
    pub(super) fn write_blocking(&self, write: Write) -> Result<Object, Refusal> {
        let (sender, result) = mpsc::sync_channel(1);
        self.send(write, Box::new(move |answer| drop(sender.send(answer))))?;
        result.recv().map_err(|_| stopped())?
    }

    /// Whether writes are taken. After one that was refused, another is tried, which changes no object; before, none is.
    pub(super) async fn writable(&self) -> Result<(), Refusal> {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(());
        }
        let (sender, result) = oneshot::channel();
        let probe = Asked::Probe(Box::new(|tried| drop(sender.send(tried))));
        self.jobs.as_ref().ok_or_else(stopped)?.send(probe).map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?.map_err(Refusal::Disk)
    }

    fn send(&self, write: Write, answer: writer::Reply) -> Result<(), Refusal> {
        self.jobs.as_ref().ok_or_else(stopped)?.send(Asked::Write(Job { write, answer })).map_err(|_| stopped())
    }

    pub(super) fn get(&self, key: &Key) -> Option<Object> {
        self.count(1);
        self.read(|s| s.objects.get(key).cloned())
    }

    /// The version of the last committed write.
    pub(super) fn revision(&self) -> u64 {
        *self.revisions.borrow()
    }

    /// Objects of a resource (of one namespace, unless empty) in list order, and the version they are of.
    pub(super) fn list(&self, resource: &Arc<str>, namespace: &str) -> (u64, Vec<(String, Object)>) {
        let listed = self.read(|s| (s.revision, s.range(resource, namespace)));
        self.count(listed.1.len());
        listed
    }

    /// The same as it was at `revision`, rebuilt by undoing the log.
    pub(super) fn list_at(
        &self,
        resource: &Arc<str>,
        namespace: &str,
        revision: u64,
    ) -> Result<Vec<(String, Object)>, TooOld> {
        self.read(|s| {
            let later = s.log.since(revision)?;
            let mut items: BTreeMap<String, Object> = s.range(resource, namespace).into_iter().collect();
            for change in later.rev().filter(|c| c.key.resource == *resource && c.key.is_in(namespace)) {
                match &change.before {
                    Some(o) => items.insert(change.key.path.clone(), o.clone()),
                    None => items.remove(&change.key.path),
                };
            }
            Ok(items.into_iter().collect())
        })
    }

    /// Changes of a resource after `revision`, and the version up to which that is everything.
    pub(super) fn changes(&self, resource: &Arc<str>, revision: u64) -> Result<(u64, Vec<Arc<Change>>), TooOld> {
        self.read(|s| {
            let changes = s.log.since(revision)?.filter(|c| c.key.resource == *resource).cloned().collect();
            Ok((s.revision, changes))
        })
    }

    /// What housekeeping has to look at since it last asked; at first all that may concern it.
    pub(super) fn take_due(&self) -> BTreeSet<Key> {
        self.state.write().unwrap_or_else(PoisonError::into_inner).agenda.take()
    }

    /// Makes a key due again that could not be dealt with.
    pub(super) fn put_back(&self, key: Key) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).agenda.put_back(key);
    }

    /// The objects that name this uid as an owner's.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Key, Object)> {
        let found: Vec<(Key, Object)> = self.read(|s| {
            s.agenda.dependents(uid).filter_map(|key| Some((key.clone(), s.objects.get(key)?.clone()))).collect()
        });
        self.count(found.len());
        found
    }

    /// Tells when a later version has been committed.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }

    /// Counts objects that were read; outside of tests nobody asks.
    fn count(&self, _objects: usize) {
        #[cfg(test)]
        self.objects_read.fetch_add(_objects, std::sync::atomic::Ordering::Relaxed);
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn stopped() -> Refusal {
    Refusal::Disk("the writer has stopped".into())
}

impl Drop for Store {
    /// Waits for the writer, so that the file may be opened again afterwards.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has already answered nobody; there is nothing left to save.
            let _ = writer.join();
        }
    }
}

impl State {
    /// Makes a change part of what is served.
    fn commit(&mut self, change: Arc<Change>) {
        let replaced = match &change.after {
            Some(object) => self.objects.insert(change.key.clone(), object.clone()),
            None => self.objects.remove(&change.key),
        };
        self.agenda.note(&change.key, replaced.as_deref(), change.after.as_deref());
        self.log.push(change);
    }

    fn range(&self, resource: &Arc<str>, namespace: &str) -> Vec<(String, Object)> {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let from = Key { resource: resource.clone(), path: prefix.clone() };
        self.objects
            .range(from..)
            .take_while(|(k, _)| k.resource == *resource && k.path.starts_with(&prefix))
            .map(|(k, o)| (k.path.clone(), o.clone()))
            .collect()
    }
}

impl Key {
    /// Key of `name` in `namespace`; an empty namespace means cluster-scoped.
    pub(super) fn new(resource: &Arc<str>, namespace: &str, name: &str) -> Key {
        let path = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        Key { resource: resource.clone(), path }
    }

    /// Whether the key lies in `namespace`; everything lies in the empty one.
    fn is_in(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.path.split_once('/').is_some_and(|(n, _)| n == namespace)
    }
}

/// The resourceVersion an object carries; 0 if it has none.
pub(super) fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}
