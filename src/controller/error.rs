//! One class of errors decides requeue, condition and event; the only retry policy of the controllers.

use std::time::Duration;

use crate::{api::conditions::Readiness, db::DbError, model::reason::Reason, transport::kubernetes::in_words};

/// First pause after a transient failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between tries of one object: frequent enough to recover by itself, rare enough not to be a storm.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Why a reconcile did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Kubernetes API did not do what was asked; tried again with backoff.
    #[error("the Kubernetes API refused: {what}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// The refusal.
        #[source]
        source: Box<kube::Error>,
    },
    /// The site database failed; tried again with backoff.
    #[error("the site database failed")]
    Database(#[source] DbError),
    /// Something else that may pass; tried again with backoff.
    #[error("{text}")]
    Transient {
        /// Which reason to show.
        reason: Reason,
        /// What happened, with the remedy.
        text: String,
    },
    /// Facts are on their way, within moments: nothing is said until they are there; looked at again on their event, or
    /// after `after`.
    #[error("facts are not complete yet")]
    Deferred {
        /// When to look again at the latest.
        after: Duration,
    },
    /// Somebody has to change something; not tried again until the object or what it refers to changes.
    #[error("{text}")]
    Stalled {
        /// Why.
        reason: Reason,
        /// What is wrong, where, and the remedy.
        text: String,
    },
}

impl Error {
    /// A Kubernetes API failure while doing `what`.
    pub fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Somebody has to change something.
    pub fn stalled(reason: Reason, text: impl Into<String>) -> Self {
        Self::Stalled { reason, text: text.into() }
    }

    /// How the object's conditions show it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self {
            Self::Stalled { reason, text } => Readiness::Stalled(*reason, text.clone()),
            Self::Transient { reason, text } => Readiness::Progressing(*reason, text.clone()),
            Self::Api { .. } | Self::Database(_) | Self::Deferred { .. } => {
                Readiness::Progressing(Reason::ProgressingWithRetry, self.to_string())
            }
        }
    }

    /// When to try again after the `failures`-th failure in a row; `None` is not before something changes.
    #[must_use]
    pub fn retry_after(&self, failures: u32) -> Option<Duration> {
        match self {
            Self::Stalled { .. } => None,
            Self::Deferred { after } => Some(*after),
            Self::Api { .. } | Self::Database(_) | Self::Transient { .. } => {
                Some(BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX))
            }
        }
    }

    /// The whole chain of causes in one line, for the log.
    #[must_use]
    pub fn chain(&self) -> String {
        in_words(self)
    }
}

impl From<DbError> for Error {
    fn from(source: DbError) -> Self {
        Self::Database(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_alone_decides() {
        let stalled = Error::stalled(Reason::InvalidSpec, "x");
        assert_eq!(stalled.retry_after(0), None);
        assert!(matches!(stalled.readiness(), Readiness::Stalled(..)));
        let transient = Error::Transient { reason: Reason::SourceChanged, text: "x".into() };
        assert_eq!(transient.retry_after(0), Some(BACKOFF_FIRST));
        assert_eq!(transient.retry_after(30), Some(BACKOFF_MAX));
        assert!(matches!(transient.readiness(), Readiness::Progressing(Reason::SourceChanged, _)));
        let refused = Error::api("write status")(kube::Error::LinesCodecMaxLineLengthExceeded);
        assert!(matches!(refused.readiness(), Readiness::Progressing(Reason::ProgressingWithRetry, _)));
    }

    /// The tries of an object that fails every time, by a clock of the test's own.
    #[test]
    fn tries_of_one_object_get_rarer_and_a_success_or_another_object_starts_anew() {
        let pace = crate::controller::pace::Pace::default();
        let error = Error::Transient { reason: Reason::SourceChanged, text: "x".into() };
        let tries_within = |seconds| {
            let (mut now, mut tries) = (Duration::ZERO, 0);
            while now <= Duration::from_secs(seconds) {
                tries += 1;
                now += error.retry_after(pace.failed("a")).unwrap();
            }
            tries
        };
        // after 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s, and so on
        assert_eq!(tries_within(60), 7);
        pace.succeeded("a");
        assert_eq!(tries_within(3_600), 21, "a minute's seven, and then ever rarer, at least every five minutes");
        assert_eq!(pace.failed("b"), 0, "another object is not held up");
        pace.succeeded("a");
        assert_eq!(pace.failed("a"), 0);
    }
}
