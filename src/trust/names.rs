//! The DNS names and addresses under which a listener is reached, as they go into its certificate. Checks their form;
//! whether they are true is for whoever grants them to decide.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::SanType;
use rustls::pki_types::ServerName;

/// A machine with several networks has a handful of names; more is a mistake.
pub const MAX_NAMES: usize = 32;

/// DNS names and IP addresses without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames(Vec<SanType>);

/// A name cannot stand in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Neither a DNS name nor an address.
    #[error("{name:?} is neither a DNS name nor an IP address (no wildcard, no port, no scheme)")]
    Malformed {
        /// The text.
        name: String,
    },
    /// More than [`MAX_NAMES`].
    #[error("{count} names for one listener are more than the limit of {MAX_NAMES}")]
    TooMany {
        /// How many.
        count: usize,
    },
}

impl ServerNames {
    /// Reads names such as `waybill.example.com`, `10.0.0.7` and `fd00::7`.
    ///
    /// # Errors
    /// [`NameError`] for the first that is not one, or for too many.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, NameError> {
        if names.len() > MAX_NAMES {
            return Err(NameError::TooMany { count: names.len() });
        }
        let unique: BTreeSet<&str> = names.iter().map(AsRef::as_ref).collect();
        unique.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_sans(&self) -> Vec<SanType> {
        self.0.clone()
    }
}

fn parse(name: &str) -> Result<SanType, NameError> {
    let malformed = || NameError::Malformed { name: name.chars().take(253).collect() };
    match ServerName::try_from(name).map_err(|_| malformed())? {
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(IpAddr::from(address))),
        ServerName::DnsName(dns) => Ok(SanType::DnsName(dns.as_ref().try_into().map_err(|_| malformed())?)),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let names = ServerNames::parse(&["site.example.com", "10.0.0.7", "fd00::7", "10.0.0.7"]).unwrap();
        assert_eq!(names.0.len(), 3);
        assert!(names.0.contains(&SanType::IpAddress("fd00::7".parse().unwrap())));
        assert!(ServerNames::parse::<&str>(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["*.example.com", "a b", "host:8443", "https://host", "", "a/b", "ä.example"] {
            assert!(ServerNames::parse(&[name]).is_err(), "{name}");
        }
        let many: Vec<String> = (0..=MAX_NAMES).map(|n| format!("host-{n}")).collect();
        assert!(ServerNames::parse(&many[1..]).is_ok());
        assert_eq!(ServerNames::parse(&many), Err(NameError::TooMany { count: MAX_NAMES + 1 }));
    }
}
