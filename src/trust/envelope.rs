//! Signed documents: the exact text that was signed, and signatures by any number of keys. A reader names the type it
//! expects and the keys it trusts, and gets the text only if one of those keys signed it as that type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::keys::{KeyError, KeyId, SiteKey, TrustedKeys};

/// The largest payload: a manifest of 200,000 files.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;
/// The largest envelope: JSON escapes double a payload that is itself JSON at worst, plus the signatures.
pub const MAX_ENVELOPE_BYTES: usize = 2 * MAX_PAYLOAD_BYTES + 64 * 1024;
/// Site and author keys during a change of both are four; the rest is reserve. Bounds the work of a hostile envelope.
pub const MAX_SIGNATURES: usize = 8;

/// A document and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The signed text, byte for byte.
    pub payload: String,
    /// Who signed it. Signatures of unknown keys are allowed, so that keys can be added before everybody knows them.
    pub signatures: Vec<Signature>,
}

/// One signature of an [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Signature {
    /// Which key.
    pub key_id: KeyId,
    /// The signature in base64.
    pub signature: String,
}

/// An envelope could not be made or must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The payload is larger than any document of ours.
    #[error("a signed document of {bytes} bytes is more than the limit of {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More signatures than anybody would need.
    #[error("{count} signatures are more than the limit of {MAX_SIGNATURES}")]
    TooManySignatures {
        /// How many there are.
        count: usize,
    },
    /// The bytes are not an envelope.
    #[error("not a signed document")]
    Malformed(#[source] serde_json::Error),
    /// No trusted key signed this payload as this type.
    #[error(
        "no trusted key signed this as {payload_type} (it names the keys: {named}): it was changed on the way, comes from another site, or the site's key was replaced"
    )]
    Untrusted {
        /// The type that was expected.
        payload_type: String,
        /// The key ids in the envelope, separated by commas.
        named: String,
    },
    /// Signing failed.
    #[error("the document could not be signed")]
    Signing(#[from] KeyError),
}

impl Envelope {
    /// Signs `payload` as a document of `payload_type`.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`], or [`EnvelopeError::Signing`].
    pub fn sign(payload_type: &str, payload: String, key: &SiteKey) -> Result<Self, EnvelopeError> {
        check_size(payload.len(), MAX_PAYLOAD_BYTES)?;
        let mut envelope = Self { payload, signatures: Vec::new() };
        envelope.add_signature(payload_type, key)?;
        Ok(envelope)
    }

    /// Adds the signature of one more key, for instance of an author beside the site.
    ///
    /// # Errors
    /// [`EnvelopeError::TooManySignatures`], or [`EnvelopeError::Signing`].
    pub fn add_signature(&mut self, payload_type: &str, key: &SiteKey) -> Result<(), EnvelopeError> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { count: self.signatures.len() + 1 });
        }
        let signature = BASE64.encode(key.sign(payload_type, self.payload.as_bytes())?);
        self.signatures.push(Signature { key_id: key.public().key_id(), signature });
        Ok(())
    }

    /// The payload, if at least one of `trusted` signed it as `payload_type`. Other signatures do not matter.
    ///
    /// # Errors
    /// [`EnvelopeError`] if a limit is exceeded or no trusted key signed it.
    pub fn open(&self, payload_type: &str, trusted: &TrustedKeys) -> Result<&str, EnvelopeError> {
        check_size(self.payload.len(), MAX_PAYLOAD_BYTES)?;
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { count: self.signatures.len() });
        }
        if self.signatures.iter().any(|signature| signature.holds(payload_type, &self.payload, trusted)) {
            return Ok(&self.payload);
        }
        let named: Vec<&str> = self.signatures.iter().map(|signature| signature.key_id.as_str()).collect();
        Err(EnvelopeError::Untrusted { payload_type: payload_type.to_owned(), named: named.join(", ") })
    }

    /// The envelope as JSON.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`], which text and lists do not produce in practice.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        serde_json::to_vec(self).map_err(EnvelopeError::Malformed)
    }

    /// Reads JSON; believes nothing of it yet, that is what [`Envelope::open`] is for.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] or [`EnvelopeError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        check_size(bytes.len(), MAX_ENVELOPE_BYTES)?;
        serde_json::from_slice(bytes).map_err(EnvelopeError::Malformed)
    }
}

impl Signature {
    fn holds(&self, payload_type: &str, payload: &str, trusted: &TrustedKeys) -> bool {
        let (Some(key), Ok(signature)) = (trusted.get(&self.key_id), BASE64.decode(&self.signature)) else {
            return false;
        };
        key.verify(payload_type, payload.as_bytes(), &signature).is_ok()
    }
}

fn check_size(bytes: usize, limit: usize) -> Result<(), EnvelopeError> {
    if bytes > limit { Err(EnvelopeError::TooLarge { bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.waybill.test.v1+json";

    fn trust(keys: &[&SiteKey]) -> TrustedKeys {
        keys.iter().map(|key| key.public()).collect()
    }

    #[test]
    fn one_trusted_signature_is_enough_and_strangers_do_not_matter() {
        let (site, author) = (SiteKey::generate().unwrap(), SiteKey::generate().unwrap());
        let mut envelope = Envelope::sign(TYPE, "{\"a\":\"é\\n\"}".into(), &author).unwrap();
        assert!(matches!(envelope.open(TYPE, &trust(&[&site])), Err(EnvelopeError::Untrusted { .. })));
        envelope.add_signature(TYPE, &site).unwrap();
        let read = Envelope::decode(&envelope.encode().unwrap()).unwrap();
        assert_eq!(read.open(TYPE, &trust(&[&site])).unwrap(), "{\"a\":\"é\\n\"}");
        assert_eq!(read.open(TYPE, &trust(&[&author])).unwrap(), "{\"a\":\"é\\n\"}");
    }

    #[test]
    fn nothing_opens_without_a_key_or_as_another_type_or_after_a_change() {
        let site = SiteKey::generate().unwrap();
        let envelope = Envelope::sign(TYPE, "payload".into(), &site).unwrap();
        assert!(envelope.open(TYPE, &TrustedKeys::default()).is_err());
        assert!(envelope.open("application/vnd.waybill.other.v1+json", &trust(&[&site])).is_err());
        let changed = Envelope { payload: "payloae".into(), ..envelope.clone() };
        assert!(changed.open(TYPE, &trust(&[&site])).is_err());
        let unsigned = Envelope { signatures: Vec::new(), ..envelope };
        assert!(unsigned.open(TYPE, &trust(&[&site])).is_err());
    }

    #[test]
    fn a_trusted_name_on_a_strangers_signature_opens_nothing() {
        let (site, thief) = (SiteKey::generate().unwrap(), SiteKey::generate().unwrap());
        let mut envelope = Envelope::sign(TYPE, "payload".into(), &thief).unwrap();
        envelope.signatures[0].key_id = site.public().key_id();
        assert!(envelope.open(TYPE, &trust(&[&site])).is_err());
        envelope.add_signature(TYPE, &site).unwrap();
        assert!(envelope.open(TYPE, &trust(&[&site])).is_ok(), "a false signature beside the true one does no harm");
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_above() {
        let site = SiteKey::generate().unwrap();
        assert!(Envelope::sign(TYPE, "x".repeat(MAX_PAYLOAD_BYTES), &site).is_ok());
        let too_large = Envelope::sign(TYPE, "x".repeat(MAX_PAYLOAD_BYTES + 1), &site);
        assert!(matches!(too_large, Err(EnvelopeError::TooLarge { .. })));
        let mut envelope = Envelope::sign(TYPE, "payload".into(), &site).unwrap();
        for _ in 1..MAX_SIGNATURES {
            envelope.add_signature(TYPE, &site).unwrap();
        }
        assert!(envelope.open(TYPE, &trust(&[&site])).is_ok());
        assert!(matches!(envelope.add_signature(TYPE, &site), Err(EnvelopeError::TooManySignatures { count: 9 })));
        envelope.signatures.push(envelope.signatures[0].clone());
        assert!(matches!(envelope.open(TYPE, &trust(&[&site])), Err(EnvelopeError::TooManySignatures { count: 9 })));
    }

    #[test]
    fn unknown_fields_are_not_an_envelope() {
        let text = br#"{"payload":"x","signatures":[],"trust":"me"}"#;
        assert!(matches!(Envelope::decode(text), Err(EnvelopeError::Malformed(_))));
    }
}
