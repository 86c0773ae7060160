//! What is being tried right now, and what rests after a failure: one turn at a time for each thing, and a pause that
//! grows. In memory only: what must survive is in the journal and in the store.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::store::Standing;

/// First pause after a failure; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
/// SMS's own pause when no distribution point could be reached.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Things by key that are tried until they succeed.
#[derive(Debug)]
pub(super) struct Attempts<K>(Mutex<HashMap<K, Attempt>>);

#[derive(Clone, Debug)]
struct Attempt {
    failures: u32,
    rest: Option<Rest>,
}

/// A pause after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) until: Timestamp,
    /// What to say of it meanwhile.
    pub(super) standing: Standing,
}

/// Whether it may be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// By the caller, who ends it with [`Attempts::failed`] or [`Attempts::done`].
    Mine {
        /// Failures before this attempt.
        failures: u32,
    },
    /// Somebody does already.
    Busy,
    /// Not yet.
    Resting(Rest),
}

impl<K> Default for Attempts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Attempts<K> {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<K, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn if it is free.
    pub(super) fn begin(&self, key: &K, now: Timestamp) -> Turn {
        let mut all = self.all();
        let failures = match all.get(key) {
            None => 0,
            Some(Attempt { rest: None, .. }) => return Turn::Busy,
            Some(Attempt { rest: Some(rest), .. }) if rest.until > now => return Turn::Resting(rest.clone()),
            Some(Attempt { failures, .. }) => *failures,
        };
        all.insert(key.clone(), Attempt { failures, rest: None });
        Turn::Mine { failures }
    }

    /// The attempt failed; gives when the next one is due.
    pub(super) fn failed(&self, key: &K, standing: Standing, now: Timestamp) -> Timestamp {
        let mut all = self.all();
        let failures = all.get(key).map_or(0, |attempt| attempt.failures);
        let pause = PAUSE_FIRST.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
        let until = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        all.insert(key.clone(), Attempt { failures: failures + 1, rest: Some(Rest { until, standing }) });
        until
    }

    /// It succeeded, or is not wanted any more.
    pub(super) fn done(&self, key: &K) {
        self.all().remove(key);
    }

    /// Ends every pause: something changed that may help.
    pub(super) fn hurry(&self) {
        self.all().values_mut().filter_map(|attempt| attempt.rest.as_mut()).for_each(|rest| {
            rest.until = Timestamp::MIN;
        });
    }

    /// The pause of this key, if it rests.
    pub(super) fn rest(&self, key: &K) -> Option<Rest> {
        self.all().get(key).and_then(|attempt| attempt.rest.clone())
    }

    /// Whether somebody is at it.
    pub(super) fn is_busy(&self, key: &K) -> bool {
        self.all().get(key).is_some_and(|attempt| attempt.rest.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{reason::Reason, state::RunState};

    #[test]
    fn one_at_a_time_and_pauses_grow() {
        let attempts = Attempts::<u8>::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let standing = Standing { state: RunState::Retrying, reason: Reason::StartFailed };
        assert_eq!(attempts.begin(&1, at(0)), Turn::Mine { failures: 0 });
        assert_eq!(attempts.begin(&1, at(0)), Turn::Busy);
        assert_eq!(attempts.failed(&1, standing.clone(), at(0)), at(2));
        assert!(matches!(attempts.begin(&1, at(1)), Turn::Resting(_)));
        assert_eq!(attempts.begin(&1, at(2)), Turn::Mine { failures: 1 });
        assert_eq!(attempts.failed(&1, standing.clone(), at(2)), at(6));
        attempts.hurry();
        assert_eq!(attempts.begin(&1, at(2)), Turn::Mine { failures: 2 });
        for _ in 0..20 {
            attempts.failed(&1, standing.clone(), at(0));
        }
        assert_eq!(attempts.failed(&1, standing, at(0)), at(600));
        attempts.done(&1);
        assert_eq!(attempts.begin(&1, at(0)), Turn::Mine { failures: 0 });
    }
}
