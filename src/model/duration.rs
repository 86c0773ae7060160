//! Durations as people write them in manifests (`24h`, `90m`, `1h30m`), after Go's notation. Whole seconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, de::Error as _};

/// The pattern of the text form, used in schemas as well.
pub const PATTERN: &str = "^([0-9]{1,9}(h|m|s))+$";

/// A duration in whole seconds with its text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// A span of so many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as std knows it.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// Reads the text form; `None` if it does not follow [`PATTERN`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut seconds: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            if digits == 0 || digits > 9 {
                return None;
            }
            let count: u64 = rest[..digits].parse().ok()?;
            let unit = match rest.as_bytes()[digits] {
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return None,
            };
            seconds = seconds.checked_add(count.checked_mul(unit)?)?;
            rest = &rest[digits + 1..];
        }
        (!text.is_empty()).then_some(Self::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        if seconds == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is no duration; write for instance 90m or 24h")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, seconds, canonical) in [
            ("24h", 86_400, "24h"),
            ("90m", 5_400, "1h30m"),
            ("1h30m", 5_400, "1h30m"),
            ("0s", 0, "0s"),
            ("61s", 61, "1m1s"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.as_duration().as_secs(), span.to_string().as_str()), (seconds, canonical));
        }
        for text in ["", "5", "h", "1d", "-1h", "1h 2m", "1.5h", "9999999999s"] {
            assert_eq!(Span::parse(text), None, "{text:?}");
        }
    }
}
