//! Pauses between tries to reach the site: growing, and different on every client, so that a site that comes back is
//! not met by all at once.

use std::time::Duration;

/// First pause.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause: a site that is back is noticed within a minute or so.
const LONGEST: Duration = Duration::from_secs(60);

/// A pause that grows.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause, between half and all of its full length.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        full / 2 + jitter(full / 2)
    }

    /// It worked: the next pause is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Something between zero and `most`.
#[must_use]
pub fn jitter(most: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first >= FIRST / 2 && first <= FIRST);
        let late = (0..20).map(|_| backoff.next()).last().unwrap();
        assert!(late >= LONGEST / 2 && late <= LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
