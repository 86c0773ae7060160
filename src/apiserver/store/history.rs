//! The watch log: a bounded run of changes, each with the object before and after, and what a watcher sees of one.

use std::{collections::VecDeque, sync::Arc};

use super::{Key, Object, TooOld};

/// Changes kept for watchers and for lists of older versions. A watcher that reconnects within so many writes resumes;
/// later it lists again. The real server keeps five minutes.
pub(super) const LOG_ENTRIES: usize = 8192;

/// Bytes of objects kept in the log, so that a few thousand large objects cannot fill the memory.
pub(super) const LOG_BYTES: usize = 64 << 20;

/// One committed write.
#[derive(Debug)]
pub(in super::super) struct Change {
    pub(in super::super) revision: u64,
    pub(in super::super) key: Key,
    pub(in super::super) before: Option<Object>,
    pub(in super::super) after: Option<Object>,
    /// Stored size of before and after, in bytes.
    pub(super) size_bytes: usize,
}

/// What happened, as a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum EventType {
    Added,
    Modified,
    Deleted,
}

/// One change as a given selector sees it.
#[derive(Debug)]
pub(in super::super) struct Event {
    pub(in super::super) kind: EventType,
    pub(in super::super) object: Object,
}

impl Change {
    /// The event for a watcher whose selector is `matches`, if the change concerns it.
    ///
    /// An object that starts to match is added and one that stops is deleted, whatever was written; a deletion shows
    /// the object as it last was, with the version of the deletion.
    pub(in super::super) fn event(&self, namespace: &str, matches: impl Fn(&Object) -> bool) -> Option<Event> {
        if !self.key.is_in(namespace) {
            return None;
        }
        let before = self.before.as_ref().filter(|o| matches(o));
        let after = self.after.as_ref().filter(|o| matches(o));
        match (before, after) {
            (None, None) => None,
            (None, Some(o)) => Some(Event { kind: EventType::Added, object: o.clone() }),
            (Some(_), Some(o)) => Some(Event { kind: EventType::Modified, object: o.clone() }),
            (Some(o), None) => Some(Event { kind: EventType::Deleted, object: ended(o, self.revision) }),
        }
    }
}

/// The last state of an object at the version of its end.
pub(super) fn ended(object: &Object, revision: u64) -> Object {
    let mut last = (**object).clone();
    last["metadata"]["resourceVersion"] = revision.to_string().into();
    Arc::new(last)
}

#[derive(Debug, Default)]
pub(super) struct Log {
    changes: VecDeque<Arc<Change>>,
    size_bytes: usize,
    /// Versions below this have been forgotten.
    oldest: u64,
}

impl Log {
    pub(super) fn starting_at(oldest: u64) -> Log {
        Log { oldest, ..Log::default() }
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.size_bytes += change.size_bytes;
        self.changes.push_back(change);
    }

    /// Forgets what is beyond the limits; the answer is the oldest version that can still be asked for.
    pub(super) fn trim(&mut self) -> u64 {
        while self.changes.len() > LOG_ENTRIES || self.size_bytes > LOG_BYTES {
            let Some(change) = self.changes.pop_front() else { break };
            self.size_bytes -= change.size_bytes;
            self.oldest = change.revision;
        }
        self.oldest
    }

    /// Changes after `revision`, oldest first.
    pub(super) fn since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Arc<Change>>, TooOld> {
        if revision < self.oldest {
            return Err(TooOld { oldest: self.oldest });
        }
        let from = self.changes.partition_point(|c| c.revision <= revision);
        Ok(self.changes.range(from..))
    }
}
