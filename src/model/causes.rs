//! An error with all that led to it, as one sentence: libraries keep causes apart, people read them together.

/// The error, then what led to it, one after the other.
pub fn each<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

/// The error, then each cause after a colon.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn every_cause_is_said_once_and_in_order() {
        let error = Link("no policy", Some(Box::new(Link("no connection", Some(Box::new(Link("refused", None)))))));
        assert_eq!(chain(&error), "no policy: no connection: refused");
        assert_eq!(chain(&Link("alone", None)), "alone");
    }
}
