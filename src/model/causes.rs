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
    joined(std::iter::successors(Some(error), |cause| cause.source()).map(ToString::to_string))
}

/// The texts, one after the other with colons. Some libraries say a cause in the text of its effect, too: once is enough.
#[must_use]
pub fn joined(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().fold(String::new(), |said, text| match said.as_str() {
        "" => text,
        said if said == text || said.ends_with(&format!(": {text}")) => said.to_owned(),
        said => format!("{said}: {text}"),
    })
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
        let twice = Link("no connection: refused", Some(Box::new(Link("refused", None))));
        assert_eq!(chain(&twice), "no connection: refused");
        assert_eq!(chain(&Link("no data", Some(Box::new(Link("a", None))))), "no data: a");
    }
}
