//! Keeps a busy object from rewriting its status with every event: counts may lag a little, transitions do not.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Least time between two writes of one object's status that only refresh numbers.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Objects remembered at most; forgetting some only lets their next write through at once.
const OBJECTS_MAX: usize = 100_000;

/// Remembers when each object's status was written, how often its reconcile failed in a row, and whether it waits for somebody.
#[derive(Debug, Default)]
pub struct Pace(Mutex<HashMap<String, Entry>>);

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    written: Option<Instant>,
    failures: u32,
    held_up: bool,
}

impl Pace {
    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= OBJECTS_MAX && !entries.contains_key(uid) {
            entries.clear();
        }
        f(entries.entry(uid.to_owned()).or_default())
    }

    /// How long a mere refresh has to wait; `None` is not at all.
    pub(super) fn refresh_in(&self, uid: &str) -> Option<Duration> {
        self.with(uid, |entry| {
            let since = entry.written?.elapsed();
            REFRESH_INTERVAL.checked_sub(since).filter(|left| !left.is_zero())
        })
    }

    /// A status was written now.
    pub(super) fn written(&self, uid: &str) {
        self.with(uid, |entry| entry.written = Some(Instant::now()));
    }

    /// Another failure in a row; returns how many there were before it.
    pub(super) fn failed(&self, uid: &str) -> u32 {
        self.with(uid, |entry| {
            entry.failures += 1;
            entry.failures - 1
        })
    }

    /// Notes whether the object waits for somebody; whether that is new.
    pub(super) fn turns(&self, uid: &str, held_up: bool) -> bool {
        self.with(uid, |entry| std::mem::replace(&mut entry.held_up, held_up) != held_up)
    }

    /// A success ends the row.
    pub(super) fn succeeded(&self, uid: &str) {
        self.with(uid, |entry| entry.failures = 0);
    }
}
