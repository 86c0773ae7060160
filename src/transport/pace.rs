//! How slowly bytes may come or go: after a grace, at a lowest average rate. So every transfer has a total time, which grows
//! with its size, and nobody holds a place for ever by trickling.

use std::time::Duration;

/// The slowest pace of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Free time at the beginning.
    pub grace: Duration,
    /// After it, bytes a second on average.
    pub bytes_per_sec_min: u64,
}

/// A download: a minute until it begins, then 1 KiB a second, which is slower than any line that carries software. What came
/// is kept, so who is cut off here goes on where it stopped.
pub const DOWNLOAD: Pace = Pace { grace: Duration::from_secs(60), bytes_per_sec_min: 1024 };

impl Pace {
    /// How long after its beginning a transfer may wait for its next byte when so many have come.
    #[must_use]
    pub fn allowance(self, bytes: u64) -> Duration {
        let paid = Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_per_sec_min.max(1));
        self.grace.saturating_add(paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pay_for_time_after_the_grace() {
        let pace = Pace { grace: Duration::from_secs(10), bytes_per_sec_min: 1000 };
        assert_eq!(pace.allowance(0), Duration::from_secs(10));
        assert_eq!(pace.allowance(1500), Duration::from_millis(11_500));
        assert!(pace.allowance(u64::MAX) > Duration::from_secs(u64::MAX / 1_000_000), "no overflow");
        let no_floor = Pace { bytes_per_sec_min: 0, ..pace };
        assert_eq!(no_floor.allowance(1), Duration::from_secs(11), "no division by zero");
    }
}
