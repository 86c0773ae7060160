//! Counts the connections of each address and device, so that none can take the places of the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections per key; a key may have `limit` at a time.
#[derive(Debug)]
pub(super) struct Places<K> {
    limit: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// A place taken; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place<K: Eq + Hash> {
    key: K,
    places: Arc<Places<K>>,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::new(HashMap::new()) })
    }

    /// Takes a place for `key`; `None` if it has its share already.
    pub(super) fn take(self: &Arc<Self>, key: K) -> Option<Place<K>> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let held = taken.get(&key).copied().unwrap_or(0);
        if held >= self.limit {
            return None;
        }
        taken.insert(key.clone(), held + 1);
        Some(Place { key, places: self.clone() })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = taken.get_mut(&self.key) {
            *held -= 1;
            if *held == 0 {
                taken.remove(&self.key); // or every address that ever called would stay in memory
            }
        }
    }
}

/// What counts as one address: a whole /64 of IPv6, because one machine may use all of it.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_per_key_and_given_back() {
        let places = Places::new(2);
        let (one, two) = (places.take("a").unwrap(), places.take("a").unwrap());
        assert!(places.take("a").is_none());
        assert!(places.take("b").is_some());
        drop(one);
        assert!(places.take("a").is_some());
        drop(two);
        assert!(places.taken.lock().unwrap().is_empty(), "nothing is remembered of those who left");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:10.0.0.7"), network("10.0.0.7"));
        assert_ne!(network("10.0.0.7"), network("10.0.0.8"));
    }
}
