//! Joining a site: the join file that an administrator hands over, the request a machine makes with it, the answer, and
//! the renewal of certificates later. A machine that lost its certificate but kept its key can come back under its old id.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::content::Digest;
use crate::trust::device::{self, DeviceKey};
use crate::trust::identity::{self, IdentityError, PeerIdentity, Role};
use crate::trust::keys::{KeyError, TrustedKeys};
use crate::trust::token::JoinSecret;

/// POST, anybody, on the enrolment listener: an [`EnrolRequest`]; 200 with an [`EnrolAnswer`], 403 with the reason as
/// text. The only route of that listener. Renewal has [`super::access::RENEW_PATH`].
pub const ENROL_PATH: &str = "/v1/enrol";
/// A join file has about 400 bytes.
pub const JOIN_FILE_BYTES_MAX: usize = 16 << 10;
/// A request is a certificate request, a few names and perhaps an old certificate chain.
pub const ENROL_REQUEST_BYTES_MAX: usize = 32 << 10;
/// An answer is a certificate chain, the site's keys and a list of addresses.
pub const ENROL_ANSWER_BYTES_MAX: usize = 64 << 10;
/// The longest host name of the DNS (RFC 1035).
pub const HOSTNAME_BYTES_MAX: usize = 253;
/// What a device signs to come back under its old id.
const REJOIN_PURPOSE: &str = "waybill.rejoin.v1";

/// What a machine needs to join: given as a file or on standard input, never as an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinFile {
    /// The base URL of the site's enrolment listener.
    pub url: String,
    /// Digest of the device authority's certificate (DER): the machine sends its secret to nobody else.
    pub ca_sha256: Digest,
    /// The proof of the invitation.
    pub secret: JoinSecret,
    /// What the machine becomes.
    pub role: Role,
    /// The site's id.
    pub site: String,
    /// Until when it may be used.
    pub expires: Timestamp,
}

/// A machine asks to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolRequest {
    /// From the join file.
    pub secret: JoinSecret,
    /// What the machine wants to become; the token decides.
    pub role: Role,
    /// Certificate signing request of the machine's own key, PEM.
    pub csr_pem: String,
    /// The machine's host name, at most [`HOSTNAME_BYTES_MAX`]: a label for people, no identity.
    pub hostname: String,
    /// Under which names and addresses a DP or CAP wants to be reached; the server decides. Empty for clients.
    #[serde(default)]
    pub advertised_names: Vec<String>,
    /// Given to come back under the id of an earlier certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejoin: Option<Rejoin>,
}

/// The proof that a machine is the one of an earlier certificate, expired or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rejoin {
    /// The earlier certificate, PEM (a chain is fine).
    pub certificate_pem: String,
    /// Signature of the earlier key over this request's secret and certificate request, base64.
    pub signature: String,
}

/// Where a machine finds its site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// Base URL of the site's own listener with client certificates: for DPs and CAPs, and for renewals.
    pub site_url: String,
    /// Base URLs of the client access points, the site's own among them, in the order to try them.
    pub cap_urls: Vec<String>,
}

/// The machine has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolAnswer {
    /// The id that the site gave to the machine.
    pub id: String,
    /// What people call it, if that is not its id: the name of a distribution point or access point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The certificate and its authority's, PEM.
    pub certificate_pem: String,
    /// The device authority's certificate, PEM.
    pub ca_pem: String,
    /// The site's id.
    pub site_id: String,
    /// The keys whose signatures the machine accepts. Never changed by anything that comes later over the network.
    pub signing_keys: TrustedKeys,
    /// Where to go from here.
    pub endpoints: Endpoints,
    /// The epoch of the site's policy: a client accepts no lower one.
    pub epoch: u64,
}

/// A device asks for its next certificate, over a connection with the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewRequest {
    /// Certificate signing request of the old or of a new key, PEM.
    pub csr_pem: String,
    /// As in [`EnrolRequest`]; names may have changed.
    #[serde(default)]
    pub advertised_names: Vec<String>,
}

/// The next certificate. It has the id and the role of the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewAnswer {
    /// The certificate and its authority's, PEM.
    pub certificate_pem: String,
    /// The addresses as they are now.
    pub endpoints: Endpoints,
}

/// A join file, a request or an answer is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The text is not a join file.
    #[error("not a join file: `waybill token create` writes one")]
    NotAJoinFile(#[source] serde_json::Error),
    /// The file is larger than any join file.
    #[error("a join file of {bytes} bytes is more than the limit of {JOIN_FILE_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The server does not keep to the join file.
    #[error("the site's answer does not fit the join file: {why}")]
    WrongAnswer {
        /// What does not fit.
        why: &'static str,
    },
    /// A certificate of the answer or of the proof is not acceptable.
    #[error("the certificate is refused")]
    Certificate(#[from] IdentityError),
    /// The proof for the old id is not one.
    #[error("the proof for the old id does not hold: leave the old certificate out to join under a new id")]
    BadProof(#[source] KeyError),
    /// The old certificate is of another role than the one asked for.
    #[error("the old certificate is of role {old}, not {asked}")]
    OtherRole {
        /// The old certificate's.
        old: Role,
        /// The request's.
        asked: Role,
    },
}

impl JoinFile {
    /// Reads the JSON of a join file.
    ///
    /// # Errors
    /// [`EnrolError::TooLarge`] or [`EnrolError::NotAJoinFile`].
    pub fn decode(json: &[u8]) -> Result<Self, EnrolError> {
        if json.len() > JOIN_FILE_BYTES_MAX {
            return Err(EnrolError::TooLarge { bytes: json.len() });
        }
        serde_json::from_slice(json).map_err(EnrolError::NotAJoinFile)
    }
}

impl EnrolRequest {
    /// Adds the proof that this machine holds the key of an earlier certificate.
    ///
    /// # Errors
    /// [`KeyError`] if signing fails.
    pub fn rejoining(mut self, old_key: &DeviceKey, old_certificate_pem: &str) -> Result<Self, KeyError> {
        let signature = old_key.sign(REJOIN_PURPOSE, self.rejoin_statement().as_bytes())?;
        self.rejoin = Some(Rejoin { certificate_pem: old_certificate_pem.to_owned(), signature });
        Ok(self)
    }

    /// The identity that the machine proves to have had at this site, for the server to give it again; `None` if it does
    /// not claim any. The secret is checked elsewhere, and is what keeps an old proof from being used twice.
    ///
    /// # Errors
    /// [`EnrolError`] if the proof does not hold, the certificate is not of the authority `ca` (DER), or of another role.
    pub fn proven_identity(&self, ca: &[u8]) -> Result<Option<PeerIdentity>, EnrolError> {
        let Some(rejoin) = &self.rejoin else { return Ok(None) };
        let chain = identity::certificates(&rejoin.certificate_pem)?;
        let old = PeerIdentity::verified_even_if_expired(&chain[0], ca)?;
        device::verify(&chain[0], REJOIN_PURPOSE, self.rejoin_statement().as_bytes(), &rejoin.signature)
            .map_err(EnrolError::BadProof)?;
        if old.role != self.role {
            return Err(EnrolError::OtherRole { old: old.role, asked: self.role });
        }
        Ok(Some(old))
    }

    /// Binds the proof to this one request: its single-use secret and the new key. A secret has no line break.
    fn rejoin_statement(&self) -> String {
        format!("{}\n{}", self.secret.expose(), self.csr_pem)
    }
}

impl EnrolAnswer {
    /// Checks, before anything of it is stored, that the answer is from the site of the join file and gives what the
    /// file promised: the pinned authority, the site, the role, and at least one signing key.
    ///
    /// # Errors
    /// [`EnrolError::WrongAnswer`] or [`EnrolError::Certificate`].
    pub fn check(&self, join: &JoinFile, now: Timestamp) -> Result<PeerIdentity, EnrolError> {
        let wrong = |why| Err(EnrolError::WrongAnswer { why });
        let authority = identity::certificates(&self.ca_pem)?;
        if Digest::of(&authority[0]) != join.ca_sha256 {
            return wrong("another certificate authority");
        }
        let chain = identity::certificates(&self.certificate_pem)?;
        let identity = PeerIdentity::verified(&chain[0], &authority[0], now)?;
        if self.site_id != join.site || identity.site_id != join.site {
            return wrong("another site");
        }
        if identity.role != join.role || identity.id != self.id {
            return wrong("another role or id than the certificate's");
        }
        if self.signing_keys.is_empty() {
            return wrong("no signing key");
        }
        Ok(identity)
    }
}

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
