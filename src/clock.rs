//! The one place that reads time. Decisions take `now` as an argument; shells read it here.

use jiff::Timestamp;

/// The present moment by the system clock.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    Timestamp::now()
}

/// Milliseconds since the Unix epoch, for version floors and message times.
#[must_use]
pub fn now_unix_ms() -> i64 {
    now().as_millisecond()
}
