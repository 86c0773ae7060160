//! Who a certificate is about: a client, a distribution point or a client access point of a site (URI
//! `waybill://SITE/ROLE/ID`), or a user of the Kubernetes API (common name and organizations). Reads and checks
//! certificates; [`super::ca`] issues them.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::content::Digest;

/// The scheme of the URI that names a device in its certificate.
const SCHEME: &str = "waybill://";
/// A UUID has 36 characters and a Kubernetes name at most 63; nothing that names a device is longer.
pub const MAX_ID_BYTES: usize = 63;
/// A device's certificate and its authority's; the rest is reserve for an authority that is being replaced.
pub const MAX_CHAIN: usize = 4;

/// What a process is to its site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A client: runs what is advertised to it.
    Client,
    /// A distribution point: holds package content for clients.
    Dp,
    /// A client access point: hands policy to clients and takes their status.
    Cap,
}

impl Role {
    /// The role as it is written in certificates, join files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Dp => "dp",
            Self::Cap => "cap",
        }
    }

    /// Reads what [`Role::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Client, Self::Dp, Self::Cap].into_iter().find(|role| role.as_str() == text)
    }

    /// Whether a process of this role listens for clients, so that its certificate must name its addresses.
    #[must_use]
    pub const fn serves_clients(self) -> bool {
        match self {
            Self::Client => false,
            Self::Dp | Self::Cap => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a device is, as its site's certificate authority says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity {
    /// The site that the device belongs to.
    pub site_id: String,
    /// What it is there.
    pub role: Role,
    /// The id that the site gave it when it joined.
    pub id: String,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

/// Who a user of the Kubernetes API is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserIdentity {
    /// The user name (common name).
    pub name: String,
    /// The groups (organizations).
    pub groups: Vec<String>,
    /// The SHA-256 of the certificate, which is what names the credential in `kubectl auth whoami`.
    pub certificate: Digest,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

/// A certificate does not name anybody we know how to deal with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are not a certificate.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// The certificate names no device.
    #[error("the certificate does not name exactly one device of a site (waybill://SITE/ROLE/ID)")]
    NotADevice,
    /// The certificate names no user.
    #[error("the certificate does not name a user (common name)")]
    NotAUser,
    /// The text cannot be a site's or a device's id.
    #[error("{id:?} cannot be an id: use up to {MAX_ID_BYTES} lower-case letters, digits and inner hyphens")]
    BadId {
        /// The text.
        id: String,
    },
    /// The certificate was not issued by that authority, or is not valid at that time.
    #[error("the certificate is not a valid one of this site's certificate authority")]
    NotIssuedHere(#[source] rustls::Error),
}

impl PeerIdentity {
    /// Reads the identity from a certificate (DER) that TLS has already verified.
    ///
    /// # Errors
    /// [`IdentityError::NotACertificate`] or [`IdentityError::NotADevice`].
    pub fn from_certificate(certificate: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(certificate)?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => &extension.value.general_names,
            _ => return Err(IdentityError::NotADevice),
        };
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(IdentityError::NotADevice) };
        Self::from_uri(uri, not_after(&certificate)?).ok_or(IdentityError::NotADevice)
    }

    /// Reads the identity from a certificate (DER) that came with a document rather than with a TLS connection, after
    /// checking that the authority `ca` (DER) issued it and that it is valid at `at`.
    ///
    /// # Errors
    /// [`IdentityError::NotIssuedHere`], or as [`PeerIdentity::from_certificate`].
    pub fn verified(certificate: &[u8], ca: &[u8], at: Timestamp) -> Result<Self, IdentityError> {
        let identity = Self::from_certificate(certificate)?;
        verify_issued(certificate, ca, at)?;
        Ok(identity)
    }

    /// As [`PeerIdentity::verified`] at the last second of the certificate's life: for a device that was away for so
    /// long that its certificate expired, and for status that was signed while it was still valid.
    ///
    /// # Errors
    /// As [`PeerIdentity::verified`].
    pub fn verified_even_if_expired(certificate: &[u8], ca: &[u8]) -> Result<Self, IdentityError> {
        let not_after = not_after(&parse(certificate)?)?;
        Self::verified(certificate, ca, not_after)
    }

    /// The URI that stands for this identity in certificates and log lines.
    #[must_use]
    pub fn uri(&self) -> String {
        device_uri(&self.site_id, self.role, &self.id)
    }

    /// Whether the certificate has expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        now > self.not_after
    }

    fn from_uri(uri: &str, not_after: Timestamp) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (site_id, role, id) = (parts.next()?, Role::parse(parts.next()?)?, parts.next()?);
        if parts.next().is_some() || check_id(site_id).is_err() || check_id(id).is_err() {
            return None;
        }
        Some(Self { site_id: site_id.to_owned(), role, id: id.to_owned(), not_after })
    }
}

impl UserIdentity {
    /// Reads the user from a certificate (DER) that TLS has already verified.
    ///
    /// # Errors
    /// [`IdentityError::NotACertificate`], or [`IdentityError::NotAUser`] without exactly one common name.
    pub fn from_certificate(certificate: &[u8]) -> Result<Self, IdentityError> {
        let digest = Digest::of(certificate);
        let certificate = parse(certificate)?;
        let mut names = certificate.subject().iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else { return Err(IdentityError::NotAUser) };
        let name = name.as_str().map_err(|_| IdentityError::NotAUser)?.to_owned();
        let organizations = certificate.subject().iter_organization();
        let groups = organizations.map(|group| group.as_str().map(str::to_owned)).collect::<Result<_, _>>();
        let groups = groups.map_err(|_| IdentityError::NotAUser)?;
        Ok(Self { name, groups, certificate: digest, not_after: not_after(&certificate)? })
    }

    /// Whether the certificate has expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        now > self.not_after
    }
}

/// How long it is from `now` until `due`: a little more, so that a timer that is early by a millisecond does not spin;
/// nothing if it is due.
#[must_use]
pub fn until(due: Timestamp, now: Timestamp) -> std::time::Duration {
    const TIMER_SLACK: std::time::Duration = std::time::Duration::from_millis(10);
    if now >= due {
        return std::time::Duration::ZERO;
    }
    std::time::Duration::try_from(due.duration_since(now)).unwrap_or_default() + TIMER_SLACK
}

/// When a device asks for its next certificate: half-way, so that it can be away for as long again without harm.
#[must_use]
pub fn renew_after(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let half_ms = (not_after.as_millisecond() - not_before.as_millisecond()) / 2;
    // The sum lies between two valid times, so it is one.
    Timestamp::from_millisecond(not_before.as_millisecond() + half_ms).unwrap_or(not_after)
}

/// The beginning and the end of a certificate's life (DER), as [`renew_after`] wants them.
///
/// # Errors
/// [`IdentityError::NotACertificate`].
pub fn lifetime(certificate: &[u8]) -> Result<(Timestamp, Timestamp), IdentityError> {
    let certificate = parse(certificate)?;
    let not_before = time(certificate.validity().not_before.timestamp())?;
    Ok((not_before, not_after(&certificate)?))
}

/// The certificates in a PEM text, the device's own first: at least one.
///
/// # Errors
/// [`IdentityError::NotACertificate`] if there is none, or more than [`MAX_CHAIN`].
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_CHAIN + 1).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(chain) if !chain.is_empty() && chain.len() <= MAX_CHAIN => Ok(chain),
        _ => Err(IdentityError::NotACertificate),
    }
}

/// A certificate (DER) as PEM.
pub(super) fn to_pem(certificate: &[u8]) -> String {
    const LINE: usize = 64; // RFC 7468
    let body = BASE64.encode(certificate);
    let lines: String = body.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// Checks that `id` may name a site or a device: it becomes part of URIs, file names and Kubernetes names.
///
/// # Errors
/// [`IdentityError::BadId`].
pub fn check_id(id: &str) -> Result<(), IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(allowed);
    if fits && !id.starts_with('-') && !id.ends_with('-') {
        Ok(())
    } else {
        Err(IdentityError::BadId { id: id.chars().take(MAX_ID_BYTES).collect() })
    }
}

/// The URI of a device.
pub(super) fn device_uri(site_id: &str, role: Role, id: &str) -> String {
    format!("{SCHEME}{site_id}/{role}/{id}")
}

/// Checks with webpki that the authority issued the certificate, for client use, valid at `at`.
fn verify_issued(certificate: &[u8], ca: &[u8], at: Timestamp) -> Result<(), IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca)).map_err(IdentityError::NotIssuedHere)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| IdentityError::NotIssuedHere(rustls::Error::General(error.to_string())))?;
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier
        .verify_client_cert(&CertificateDer::from(certificate), &[], at)
        .map(|_| ())
        .map_err(IdentityError::NotIssuedHere)
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::NotACertificate),
    }
}

fn not_after(certificate: &X509Certificate<'_>) -> Result<Timestamp, IdentityError> {
    time(certificate.validity().not_after.timestamp())
}

fn time(unix_seconds: i64) -> Result<Timestamp, IdentityError> {
    Timestamp::from_second(unix_seconds).map_err(|_| IdentityError::NotACertificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn only_exact_uris_name_a_device() {
        let identity = PeerIdentity::from_uri("waybill://hq/dp/dp-1", LATER).unwrap();
        assert_eq!((identity.site_id.as_str(), identity.role, identity.id.as_str()), ("hq", Role::Dp, "dp-1"));
        assert_eq!(identity.uri(), "waybill://hq/dp/dp-1");
        for uri in [
            "waybill://hq/dp",
            "waybill://hq/dp/dp-1/x",
            "waybill://hq/DP/dp-1",
            "waybill://hq/admin/dp-1",
            "waybill:///dp/dp-1",
            "waybill://hq/dp/..",
            "waybill://hq/dp/-a",
            "waybill://hq/dp/a%2Fb",
            "http://hq/dp/dp-1",
        ] {
            assert!(PeerIdentity::from_uri(uri, LATER).is_none(), "{uri}");
        }
    }

    #[test]
    fn ids_are_limited() {
        check_id(&"a".repeat(MAX_ID_BYTES)).unwrap();
        check_id("0198b5a2-6b7c-7def-8123-456789abcdef").unwrap();
        assert!(check_id(&"a".repeat(MAX_ID_BYTES + 1)).is_err());
        assert!(check_id("").is_err());
        assert!(check_id("a_b").is_err());
    }

    #[test]
    fn renewal_is_due_half_way() {
        let second = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(renew_after(second(1000), second(2000)), second(1500));
        assert_eq!(renew_after(second(7), second(7)), second(7));
    }

    #[test]
    fn rubbish_is_not_a_certificate() {
        assert!(matches!(PeerIdentity::from_certificate(b"rubbish"), Err(IdentityError::NotACertificate)));
        assert!(matches!(UserIdentity::from_certificate(b""), Err(IdentityError::NotACertificate)));
    }
}
