//! How many connections each local user has open at the agent's socket, so that none can shut out the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections of one user at the same time: people and their scripts need one.
const OF_ONE_MAX: usize = 4;
/// Connections of all users at the same time; root is served beyond it.
const OF_ALL_MAX: usize = 64;

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(Arc<Mutex<HashMap<u32, usize>>>);

/// One connection; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Guest(Guests, u32);

impl Guests {
    /// Lets a connection of this user in, if there is room for it.
    pub(super) fn enter(&self, uid: u32) -> Option<Guest> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = all.values().sum::<usize>() >= OF_ALL_MAX && uid != 0;
        let of_one = all.entry(uid).or_default();
        if is_full || *of_one >= OF_ONE_MAX {
            if *of_one == 0 {
                all.remove(&uid);
            }
            return None;
        }
        *of_one += 1;
        Some(Guest(self.clone(), uid))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_shuts_out_itself_only() {
        let guests = Guests::default();
        let mut open: Vec<_> = (0..OF_ONE_MAX).map(|_| guests.enter(1_000).unwrap()).collect();
        assert!(guests.enter(1_000).is_none());
        drop(guests.enter(1_001).unwrap());
        open.pop();
        open.push(guests.enter(1_000).unwrap());
        for uid in 2_000.. {
            let Some(guest) = guests.enter(uid) else { break };
            open.push(guest);
        }
        assert_eq!(open.len(), OF_ALL_MAX);
        assert!(guests.enter(0).is_some(), "who mends the machine is let in");
        open.clear();
        assert!(guests.0.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }
}
