//! Keeps a busy object from rewriting its status with every event: counts may lag a little, transitions do not.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::reason::Reason;

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
    stalled: Stall,
}

/// What was said of an object that waits for somebody.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// It was not looked at since the process started.
    #[default]
    Unknown,
    None,
    /// A hash of the reason and the sentence.
    Told(u64),
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

    /// Notes why the object waits for somebody, if it does; whether that is to be told: it is new, and `shown` says that its
    /// status shows it not yet. The status decides after a start alone: a watch is behind what was written a moment ago.
    pub(super) fn stalls(&self, uid: &str, why: Option<(Reason, &str)>, shown: bool) -> bool {
        let now = why.map_or(Stall::None, |why| Stall::Told(hash(&why)));
        let before = self.with(uid, |entry| std::mem::replace(&mut entry.stalled, now));
        why.is_some() && before != now && !(before == Stall::Unknown && shown)
    }

    /// A success ends the row.
    pub(super) fn succeeded(&self, uid: &str) {
        self.with(uid, |entry| entry.failures = 0);
    }
}

fn hash((reason, text): &(Reason, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (reason.as_str(), text).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_somebody_is_told_when_it_turns_and_once() {
        let pace = Pace::default();
        let (bad, worse) = (Some((Reason::InvalidSpec, "bad")), Some((Reason::InvalidSpec, "worse")));
        // The status that was written is in the watch a moment later.
        assert_eq!([false, false, true].map(|shown| pace.stalls("a", bad, shown)), [true, false, false]);
        assert!(pace.stalls("a", worse, false), "another sentence");
        assert!(pace.stalls("a", Some((Reason::QueryFailed, "worse")), false), "another reason");
        assert!(!pace.stalls("a", None, false));
        assert!(pace.stalls("a", bad, true), "again, and the watch is behind");
        assert!(!pace.stalls("b", bad, true), "said before the start");
        assert!(!pace.stalls("b", bad, false));
    }
}
