//! String and number formats. Formats the real server does not know are ignored by it and so here; those it knows and
//! nobody here needs are refused with the schema, never silently accepted.

use super::node::Type;
use base64::Engine as _;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// A format that values are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apiserver) enum Format {
    Int32,
    Int64,
    Float,
    Double,
    DateTime,
    Date,
    Duration,
    Byte,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    Uri,
    Hostname,
    Email,
    ShortName,
    LongName,
}

/// Formats that the real server checks and this one does not.
const REFUSED: [&str; 11] = [
    "bsonobjectid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
];

impl Format {
    /// The format of a schema; none where it says nothing for this type.
    pub(super) fn of(name: &str, types: &[Type]) -> Result<Option<Self>, String> {
        match types {
            [Type::Integer] => Ok(match name {
                "int32" => Some(Self::Int32),
                "int64" => Some(Self::Int64),
                _ => None,
            }),
            [Type::Number] => Ok(match name {
                "float" => Some(Self::Float),
                "double" => Some(Self::Double),
                _ => None,
            }),
            [] | [Type::String] => Self::of_text(&name.replace('-', "")),
            _ => Ok(None),
        }
    }

    fn of_text(name: &str) -> Result<Option<Self>, String> {
        if REFUSED.contains(&name) {
            return Err(format!("format {name} is not supported; use a pattern"));
        }
        Ok(match name {
            "datetime" => Some(Self::DateTime),
            "date" => Some(Self::Date),
            "duration" => Some(Self::Duration),
            "byte" => Some(Self::Byte),
            "ipv4" => Some(Self::Ipv4),
            "ipv6" => Some(Self::Ipv6),
            "cidr" => Some(Self::Cidr),
            "mac" => Some(Self::Mac),
            "uuid" => Some(Self::Uuid),
            "uri" => Some(Self::Uri),
            "hostname" => Some(Self::Hostname),
            "email" => Some(Self::Email),
            "k8sshortname" => Some(Self::ShortName),
            "k8slongname" => Some(Self::LongName),
            _ => None,
        })
    }

    /// The name as it stands in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float",
            Self::Double => "double",
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::Byte => "byte",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Uri => "uri",
            Self::Hostname => "hostname",
            Self::Email => "email",
            Self::ShortName => "k8s-short-name",
            Self::LongName => "k8s-long-name",
        }
    }

    /// Whether it is a format of numbers.
    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64 | Self::Float | Self::Double)
    }

    /// Whether a string has the format; numeric formats say nothing of strings.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 | Self::Float | Self::Double => true,
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text),
            Self::Duration => is_duration(text),
            Self::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => MAC.is_match(text),
            Self::Uuid => UUID.is_match(text),
            Self::Uri => text.starts_with('/') || url_like(text),
            Self::Hostname => text.len() <= 255 && HOSTNAME.is_match(text),
            Self::Email => EMAIL.is_match(text),
            Self::ShortName => text.len() <= 63 && LABEL.is_match(text),
            Self::LongName => text.len() <= 253 && text.split('.').all(|part| LABEL.is_match(part)),
        }
    }
}

// The patterns are constants that the tests compile, so the fallback that never matches is never taken.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|_| NEVER.clone())
}
#[allow(clippy::unwrap_used)] // the empty class is a valid pattern
static NEVER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[^\s\S]").unwrap());
static MAC: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5,7}$"));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"));
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$")
});
static EMAIL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[^\s@<>]+@[^\s@<>]+$"));
static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"));
static AMOUNT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"));
static LOOSE_AMOUNT: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]+\s*([A-Za-zµ]+)"));

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let Some((date, time)) = lower.split_once('t') else { return false };
    let in_range = |found: regex::Captures<'_>| &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59";
    is_date(date) && TIME.captures(time).is_some_and(in_range)
}

/// Go's durations (`1h30m`), or numbers with a spelled unit (`3 days`), as the real server reads both.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 19] = [
        "ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "nano", "micro", "milli", "sec", "min", "hour",
        "day", "week",
    ];
    let spelled = |unit: &str| {
        let unit = unit.to_lowercase();
        UNITS.contains(&unit.as_str()) || UNITS[11..].iter().any(|word| unit.starts_with(word))
    };
    text == "0" || AMOUNT.is_match(text) || LOOSE_AMOUNT.captures_iter(text).any(|found| spelled(&found[1]))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let widest = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(_), _) => 32,
        (_, Ok(_)) => 128,
        _ => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= widest)
}

fn url_like(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    letters
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && !rest.is_empty()
        && !rest.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_takes_its_own_and_refuses_others() {
        let table = [
            (Format::DateTime, "2026-01-02T03:04:05.1Z", "2026-01-02 03:04:05"),
            (Format::Date, "2026-02-28", "2026-02-30"),
            (Format::Duration, "1h30m", "soon"),
            (Format::Duration, "3 days", "3 apples"),
            (Format::Byte, "aGk=", "%%"),
            (Format::Ipv4, "10.0.0.1", "10.0.0.256"),
            (Format::Ipv6, "::1", "1"),
            (Format::Cidr, "10.0.0.0/8", "10.0.0.0/33"),
            (Format::Mac, "00:11:22:33:44:55", "00:11"),
            (Format::Uuid, "11111111-1111-1111-1111-111111111111", "1"),
            (Format::Uri, "https://a/b", "a b"),
            (Format::Hostname, "a.example", "-a"),
            (Format::Email, "a@b", "a"),
            (Format::ShortName, "a-b", "A"),
            (Format::LongName, "a.b", "a..b"),
        ];
        for (format, good, bad) in table {
            assert!(format.fits(good) && !format.fits(bad), "{format:?}");
        }
    }

    #[test]
    fn a_format_that_would_be_ignored_is_refused() {
        assert!(Format::of("isbn", &[Type::String]).is_err());
        assert_eq!(Format::of("made-up", &[Type::String]), Ok(None));
    }
}
