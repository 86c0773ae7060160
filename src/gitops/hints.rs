//! What to write instead, for complaints of a schema that only name a format or a pattern. The complaint itself keeps the words
//! of the real API server.

use crate::{
    api::schema,
    model::{duration, quantity},
};

/// The complaint, with what to write instead where that is known.
#[must_use]
pub fn hinted(complaint: String) -> String {
    let hint = if complaint.contains("must be of type date-time: ") {
        "write an instant with its offset, as 2026-05-01T10:00:00Z or 2026-05-01T12:00:00+02:00"
    } else if complaint.contains(duration::PATTERN) {
        "write a duration with its unit, as 90m or 24h"
    } else if complaint.contains(quantity::PATTERN) {
        "write an amount with its unit, as 500Mi or 2Gi"
    } else if complaint.contains(schema::NO_NUL) {
        "a program cannot be given a text with a NUL character in it"
    } else {
        return complaint;
    };
    format!("{complaint}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_patterns_are_followed_by_what_to_write() {
        let time = "spec.start in body must be of type date-time: \"2026-05-01T10:00:00\"".to_owned();
        assert!(hinted(time).ends_with("or 2026-05-01T12:00:00+02:00"));
        assert!(
            hinted(format!("spec.maxRuntime in body should match '{}'", duration::PATTERN)).ends_with("90m or 24h")
        );
        assert!(hinted(format!("spec.diskSpace in body should match '{}'", quantity::PATTERN)).ends_with("or 2Gi"));
        let other = "spec.program: Required value".to_owned();
        assert_eq!(hinted(other.clone()), other);
    }
}
