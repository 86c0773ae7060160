//! A certificate authority of a site: the device authority (clients, DPs, CAPs and the listeners they dial) and the
//! authority of the Kubernetes API are two of these. It decides nothing: who gets a certificate is the caller's business.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateDer;

use super::device::DeviceKey;
use super::identity::{self, IdentityError, Role, device_uri};
use super::names::ServerNames;
use super::secret_file::{self, SecretFileError};
use crate::content::Digest;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An authority outlives the machines it serves; it is replaced by hand, because every join file pins it.
pub const CA_LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// Certificates of listeners; a site renews its own at half-life, while it runs.
pub const SERVING_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Certificates in kubeconfigs.
pub const USER_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Certificates of clients, DPs and CAPs.
pub const IDENTITY_LIFETIME: Duration = Duration::from_secs(30 * DAY.as_secs());
/// How far certificates begin in the past at most, for devices whose clock is behind. Certificates of short life begin
/// a tenth of it in the past, so that their half-life still lies ahead.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// A request of a P-256 key without names has about 500 bytes.
pub const MAX_CSR_BYTES: usize = 8 * 1024;
/// The longest common name and organization of X.509 (RFC 5280, appendix A).
pub const MAX_USER_NAME_BYTES: usize = 64;
/// One file, so that key and certificate can never be of two different authorities.
const FILE_NAME: &str = "ca.pem";

/// An authority could not be opened or refuses to issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The file system is in the way.
    #[error("the certificate authority's file is not usable")]
    File(#[from] SecretFileError),
    /// The file does not hold an authority.
    #[error(
        "this is not a certificate authority's key and certificate ({why}): restore the file from a backup; removing it makes a new authority that no device trusts"
    )]
    Damaged {
        /// What is wrong.
        why: &'static str,
    },
    /// The certificate request is not acceptable.
    #[error("the certificate request is refused: {why}")]
    BadRequest {
        /// What is wrong.
        why: &'static str,
    },
    /// An id of the certificate to issue is not one.
    #[error("the certificate's subject is refused")]
    BadSubject(#[from] IdentityError),
    /// A DP or CAP without addresses could never be dialled, a client has none.
    #[error("a certificate of role {role} {} server names", if role.serves_clients() { "needs" } else { "has no" })]
    Names {
        /// The role.
        role: Role,
    },
    /// A user or group name is not usable.
    #[error("{name:?} cannot be a user or group name: 1 to {MAX_USER_NAME_BYTES} printable characters")]
    BadUserName {
        /// The name.
        name: String,
    },
    /// The cryptographic library failed.
    #[error("the certificate could not be made")]
    Crypto(#[source] rcgen::Error),
}

/// The key and the certificate of an authority.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    not_after: Timestamp,
}

/// Whom a device certificate is for. All of it is the server's decision; the device contributes its public key only.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The site.
    pub site_id: &'a str,
    /// What the device is to it.
    pub role: Role,
    /// The id that the site gave it.
    pub id: &'a str,
    /// Under which names and addresses clients reach it. Empty exactly for clients.
    pub names: &'a ServerNames,
    /// For how long; [`IDENTITY_LIFETIME`] outside of tests.
    pub lifetime: Duration,
}

/// A certificate as it was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate followed by its authority's, which is what a listener presents and a device stores.
    pub chain_pem: String,
    /// The certificate alone, in DER.
    pub der: Vec<u8>,
    /// When its life begins.
    pub not_before: Timestamp,
    /// When its life ends.
    pub not_after: Timestamp,
}

impl CertificateAuthority {
    /// Opens the authority in `directory`, or makes it there: the directory with mode 0700, the file with mode 0600.
    ///
    /// # Errors
    /// [`CaError`]. A damaged file is never replaced, because every device pins the authority.
    pub fn load_or_create(directory: &Path, name: &str, now: Timestamp) -> Result<Self, CaError> {
        let path = directory.join(FILE_NAME);
        if let Some(pem) = secret_file::read(&path)? {
            return Self::from_pem(&pem);
        }
        let authority = Self::create(name, now)?;
        secret_file::write(&path, &authority.to_pem())?;
        Ok(authority)
    }

    /// Makes a new authority called `name`, without storing it.
    ///
    /// # Errors
    /// [`CaError::Crypto`].
    pub fn create(name: &str, now: Timestamp) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Crypto)?;
        let (mut parameters, _, not_after) = parameters(CA_LIFETIME, now, None)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(CaError::Crypto)?;
        let (der, certificate_pem) = (certificate.der().clone(), certificate.pem());
        Ok(Self { issuer: Issuer::new(parameters, key), certificate: der, certificate_pem, not_after })
    }

    /// Reads what [`CertificateAuthority::to_pem`] writes.
    ///
    /// # Errors
    /// [`CaError::Damaged`], also if key and certificate do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, CaError> {
        let damaged = |why| CaError::Damaged { why };
        // The key comes first in the file: a reader of PEM takes the first block.
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| damaged("there is no P-256 key"))?;
        let mut chain = identity::certificates(pem).map_err(|_| damaged("there is no certificate"))?;
        let certificate = chain.swap_remove(0);
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| damaged("the certificate is not readable"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(damaged("key and certificate do not belong together"));
        }
        if !parsed.is_ca() {
            return Err(damaged("the certificate is not that of an authority"));
        }
        let (_, not_after) = identity::lifetime(&certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(CaError::Crypto)?;
        let certificate_pem = identity::to_pem(&certificate);
        Ok(Self { issuer, certificate, certificate_pem, not_after })
    }

    /// Key and certificate in one text. A secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        format!("{}{}", self.issuer.key().serialize_pem(), self.certificate_pem)
    }

    /// The certificate in PEM, which may be given to everybody.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The certificate in DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The digest of the certificate (DER), which join files pin.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// A certificate for a listener of the site itself. It names no device, and that is how a client knows the site's
    /// own listeners from those of its DPs and CAPs.
    ///
    /// # Errors
    /// [`CaError::BadRequest`] without any name, or [`CaError::Crypto`].
    pub fn issue_serving(&self, key: &DeviceKey, names: &ServerNames, now: Timestamp) -> Result<Issued, CaError> {
        self.issue_serving_for(key, names, SERVING_LIFETIME, now)
    }

    /// As [`CertificateAuthority::issue_serving`], for another life than [`SERVING_LIFETIME`].
    ///
    /// # Errors
    /// The same.
    pub fn issue_serving_for(
        &self,
        key: &DeviceKey,
        names: &ServerNames,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        if names.is_empty() {
            return Err(CaError::BadRequest { why: "a listener needs a name or an address" });
        }
        let (mut parameters, not_before, not_after) = self.leaf(lifetime, now)?;
        parameters.subject_alt_names = names.to_sans();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&parameters, key.public(), not_before, not_after)
    }

    /// A certificate for a client, DP or CAP that made `csr_pem`. Of the request only the public key is used, and the
    /// proof that the device holds its private half.
    ///
    /// # Errors
    /// [`CaError`] if the request or the grant is not acceptable.
    pub fn issue_identity(&self, csr_pem: &str, grant: &Grant<'_>, now: Timestamp) -> Result<Issued, CaError> {
        identity::check_id(grant.site_id)?;
        identity::check_id(grant.id)?;
        if grant.role.serves_clients() == grant.names.is_empty() {
            return Err(CaError::Names { role: grant.role });
        }
        let public_key = public_key_of(csr_pem)?;
        let (mut parameters, not_before, not_after) = self.leaf(grant.lifetime, now)?;
        let uri = device_uri(grant.site_id, grant.role, grant.id);
        let uri = uri.try_into().map_err(CaError::Crypto)?;
        parameters.subject_alt_names = vec![SanType::URI(uri)];
        parameters.subject_alt_names.extend(grant.names.to_sans());
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if grant.role.serves_clients() {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        self.sign(&parameters, &public_key, not_before, not_after)
    }

    /// A certificate for a user of the Kubernetes API: the user name and the group, as Kubernetes reads them. One group,
    /// because each of Waybill's identities needs exactly one.
    ///
    /// # Errors
    /// [`CaError::BadUserName`], or [`CaError::Crypto`].
    pub fn issue_user(&self, key: &DeviceKey, user: &str, group: &str, now: Timestamp) -> Result<Issued, CaError> {
        self.issue_user_for(key, user, group, USER_LIFETIME, now)
    }

    /// As [`CertificateAuthority::issue_user`], for another life than [`USER_LIFETIME`].
    ///
    /// # Errors
    /// The same.
    pub fn issue_user_for(
        &self,
        key: &DeviceKey,
        user: &str,
        group: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        for name in [user, group] {
            if name.is_empty() || name.len() > MAX_USER_NAME_BYTES || name.chars().any(char::is_control) {
                return Err(CaError::BadUserName { name: name.chars().take(MAX_USER_NAME_BYTES).collect() });
            }
        }
        let (mut parameters, not_before, not_after) = self.leaf(lifetime, now)?;
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&parameters, key.public(), not_before, not_after)
    }

    /// What every certificate of this authority has in common.
    fn leaf(&self, lifetime: Duration, now: Timestamp) -> Result<(CertificateParams, Timestamp, Timestamp), CaError> {
        let (mut parameters, not_before, not_after) = parameters(lifetime, now, Some(self.not_after))?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        Ok((parameters, not_before, not_after))
    }

    fn sign(
        &self,
        parameters: &CertificateParams,
        public_key: &impl PublicKeyData,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Issued, CaError> {
        let certificate = parameters.signed_by(public_key, &self.issuer).map_err(CaError::Crypto)?;
        let chain_pem = format!("{}{}", certificate.pem(), self.certificate_pem);
        Ok(Issued { chain_pem, der: certificate.der().to_vec(), not_before, not_after })
    }
}

/// Parameters with a random serial number, an empty subject, and a life of `lifetime` from about `now` that does not
/// outlast `limit`.
fn parameters(
    lifetime: Duration,
    now: Timestamp,
    limit: Option<Timestamp>,
) -> Result<(CertificateParams, Timestamp, Timestamp), CaError> {
    let out_of_range = |_| CaError::BadRequest { why: "its life ends beyond the calendar" };
    let not_before = now.checked_sub(CLOCK_SKEW.min(lifetime / 10)).map_err(out_of_range)?;
    let not_after = now.checked_add(lifetime).map_err(out_of_range)?;
    let not_after = limit.map_or(not_after, |limit| not_after.min(limit));
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.serial_number = Some(random_serial()?);
    let (not_before, not_after) = (whole_seconds(not_before)?, whole_seconds(not_after)?);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + Duration::from_secs(not_before);
    parameters.not_after = epoch + Duration::from_secs(not_after);
    let time = |seconds: u64| Timestamp::from_second(seconds.cast_signed()).map_err(out_of_range);
    Ok((parameters, time(not_before)?, time(not_after)?))
}

fn whole_seconds(time: Timestamp) -> Result<u64, CaError> {
    u64::try_from(time.as_second()).map_err(|_| CaError::BadRequest { why: "the clock shows a time before 1970" })
}

/// 127 random bits: positive, and never twice.
fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CaError::Crypto(rcgen::Error::RingUnspecified))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The public key of a request whose signature holds.
fn public_key_of(csr_pem: &str) -> Result<rcgen::PublicKey, CaError> {
    if csr_pem.len() > MAX_CSR_BYTES {
        return Err(CaError::BadRequest { why: "it is larger than 8 KiB" });
    }
    let request = CertificateSigningRequestParams::from_pem(csr_pem)
        .map_err(|_| CaError::BadRequest { why: "it is not readable, or not signed by its own key" })?;
    if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(CaError::BadRequest { why: "its key is not ECDSA P-256" });
    }
    Ok(request.public_key)
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
