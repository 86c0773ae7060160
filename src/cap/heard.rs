//! Which clients polled: gathered here and told to the site together, so that polls do not become writes. A poll that
//! brought something new is told in the next round, one without news only now and then.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Upstream;
use crate::wire::access::{HEARD_CLIENTS_MAX, Heard, HeardClient};

/// Time between two rounds: a client's polls are at most one write in it.
const HEARD_INTERVAL: Duration = Duration::from_secs(10);
/// A client whose polls bring nothing new is told of this often; longer than a long poll, or each would be a write.
const HEARD_IDLE: Duration = Duration::from_secs(600);

/// Clients that polled.
#[derive(Debug, Default)]
pub(super) struct HeardOf(Mutex<HashMap<String, Poller>>);

#[derive(Debug)]
struct Poller {
    /// When it was noted last, told or not.
    noted: Instant,
    /// Not told yet.
    pending: bool,
}

impl HeardOf {
    /// A client polled at `now`; `news` says whether it was given something new.
    pub(super) fn note(&self, client: &str, news: bool, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(client) {
            Some(poller) if news || poller.pending || now.duration_since(poller.noted) >= HEARD_IDLE => {
                *poller = Poller { noted: now, pending: true };
            }
            Some(_) => {}
            None => drop(all.insert(client.to_owned(), Poller { noted: now, pending: true })),
        }
    }

    /// What is to be told at `now`; forgets clients that have not come for long.
    fn take(&self, now: Instant) -> Vec<HeardClient> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, poller| poller.pending || now.duration_since(poller.noted) < HEARD_IDLE * 2);
        let pending = all.iter_mut().filter(|(_, poller)| poller.pending).take(HEARD_CLIENTS_MAX);
        pending
            .map(|(client, poller)| {
                poller.pending = false;
                let age_ms = now.duration_since(poller.noted).as_millis();
                HeardClient { client: client.clone(), age_ms: u64::try_from(age_ms).unwrap_or(u64::MAX) }
            })
            .collect()
    }

    /// Tells until the task is dropped. What cannot be told is told again.
    pub(super) async fn tell(&self, upstream: &dyn Upstream) {
        loop {
            tokio::time::sleep(HEARD_INTERVAL).await;
            let clients = self.take(Instant::now());
            if clients.is_empty() {
                continue;
            }
            if let Err(error) = upstream.heard(Heard { clients: clients.clone() }).await {
                tracing::debug!(%error, "the site was not told which clients polled");
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                for heard in &clients {
                    all.entry(heard.client.clone()).and_modify(|poller| poller.pending = true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(heard: &HeardOf, now: Instant) -> Vec<(String, u64)> {
        let mut told: Vec<_> = heard.take(now).into_iter().map(|one| (one.client, one.age_ms)).collect();
        told.sort();
        told
    }

    #[test]
    fn many_polls_are_told_once_and_idle_ones_only_now_and_then() {
        let (heard, start) = (HeardOf::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        heard.note("a", true, at(0));
        heard.note("a", false, at(2));
        heard.note("b", false, at(3));
        assert_eq!(names(&heard, at(4)), [("a".to_owned(), 2_000), ("b".to_owned(), 1_000)]);
        heard.note("a", false, at(5));
        heard.note("b", false, at(300));
        assert_eq!(names(&heard, at(301)), [], "nothing new");
        heard.note("b", true, at(310));
        assert_eq!(names(&heard, at(310)), [("b".to_owned(), 0)]);
        heard.note("a", false, at(601));
        assert_eq!(names(&heard, at(601)), [], "noted last at the second second");
        heard.note("a", false, at(602));
        assert_eq!(names(&heard, at(602)), [("a".to_owned(), 0)]);
        assert_eq!(heard.take(at(5_000)), []);
        assert!(heard.0.lock().unwrap().is_empty(), "clients that went away are forgotten");
    }
}
