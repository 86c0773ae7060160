//! Whose turn it is with the objects: git sync's, which writes a revision object by object, or that of those who compile
//! records and policy from all of them. Both hold the same lock; who compiles holds it for reading. Decides nothing.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// Git sync's turn: from before the first write of a revision until whoever follows the sync has seen all of it and ends it.
/// Clones are the same turn.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<Option<OwnedRwLockWriteGuard<()>>>>);

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Turn {
    /// The next turn. One that nobody has ended yet goes on: nobody compiled in between. Otherwise whoever compiles is
    /// waited for, but not longer than `patience`: a revision must not wait for ever for one that hangs.
    pub(super) async fn next(&self, lock: &Arc<RwLock<()>>, patience: std::time::Duration) -> Self {
        let held = match self.take() {
            Some(held) => Some(held),
            None => tokio::time::timeout(patience, lock.clone().write_owned()).await.ok(),
        };
        Self(Arc::new(Mutex::new(held)))
    }

    /// Lets others compile again; whether they could not until now.
    pub fn end(&self) -> bool {
        self.take().is_some()
    }

    fn take(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn nobody_compiles_from_the_begin_of_a_turn_to_its_end() {
        let lock = Arc::new(RwLock::new(()));
        let compiling = lock.clone().read_owned().await;
        let next = {
            let lock = lock.clone();
            tokio::spawn(async move { Turn::default().next(&lock, LONG).await })
        };
        while lock.try_read().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!next.is_finished(), "it waits for the one who compiles, and lets nobody else begin");
        drop(compiling);
        let turn = next.await.unwrap();
        let again = turn.next(&lock, LONG).await;
        assert!(lock.try_read().is_err(), "a turn that was not ended goes on");
        assert!(!turn.end(), "it went over to the next one");
        assert!(again.end());
        assert!(lock.try_read().is_ok());
    }

    #[tokio::test]
    async fn one_that_hangs_is_not_waited_for_without_end() {
        let lock = Arc::new(RwLock::new(()));
        let _hangs = lock.clone().read_owned().await;
        assert!(!Turn::default().next(&lock, Duration::from_millis(1)).await.end());
    }
}
