//! When a point's own database cannot be written: one notice for each time that this lasts, kept in memory, for the outbox
//! is what cannot be written. Pure: times are arguments.

/// Writes may succeed now and then on a full disk, where the database has room of its own. Only after so long without a
/// failure is the next one another story.
const REST_MS: i64 = 10 * 60 * 1_000;

/// How writing goes.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    last_failure_ms: Option<i64>,
    succeeded_since: bool,
    /// What was not told yet.
    news: Option<Failure>,
}

/// Why the database could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// When, Unix milliseconds.
    pub(super) at_ms: i64,
    /// Whether the disk is full.
    pub(super) is_full: bool,
    /// In the database's words.
    pub(super) why: String,
}

impl Trouble {
    /// Something was written.
    pub(super) fn succeeded(&mut self) {
        self.succeeded_since = true;
    }

    /// Something could not be written.
    pub(super) fn failed(&mut self, failure: Failure) {
        let rested = |last: i64| self.succeeded_since && failure.at_ms - last >= REST_MS;
        let is_new = self.last_failure_ms.is_none_or(rested);
        self.last_failure_ms = Some(failure.at_ms);
        self.succeeded_since = false;
        if is_new {
            self.news = Some(failure);
        }
    }

    /// What is to be told, once.
    pub(super) fn take(&mut self) -> Option<Failure> {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(at_ms: i64) -> Failure {
        Failure { at_ms, is_full: true, why: "full".into() }
    }

    #[test]
    fn one_notice_for_as_long_as_it_lasts_and_another_for_the_next_time() {
        let mut trouble = Trouble::default();
        trouble.succeeded();
        assert_eq!(trouble.take(), None);
        trouble.failed(failure(0));
        assert_eq!(trouble.take(), Some(failure(0)));
        // It lasts, and one write gets through.
        for at_ms in [1, 2 * REST_MS, 3 * REST_MS] {
            trouble.failed(failure(at_ms));
            assert_eq!(trouble.take(), None);
        }
        trouble.succeeded();
        trouble.failed(failure(3 * REST_MS + 1));
        assert_eq!(trouble.take(), None);
        // It is over, and begins anew.
        trouble.succeeded();
        trouble.failed(failure(5 * REST_MS));
        assert_eq!(trouble.take(), Some(failure(5 * REST_MS)));
    }
}
