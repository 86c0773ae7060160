//! The site's signing key (Ed25519), its public half, and the set of keys that a reader trusts. Every signature is
//! bound to a purpose, so that bytes signed as one thing can never be shown as another. Device keys: [`super::device`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::secret_file::{self, SecretFileError};
use crate::content::Digest;

/// A key could not be made, stored or read, or a signature is not what it claims.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system is in the way.
    #[error("the key file is not usable")]
    File(#[from] SecretFileError),
    /// The text is not a private key of the expected kind.
    #[error("not a private key of the kind {expected}: restore the file from a backup, or remove it to get a new key")]
    NotAPrivateKey {
        /// The algorithm that was expected.
        expected: &'static str,
    },
    /// The text is not a public key.
    #[error("an Ed25519 public key is 32 bytes in base64")]
    NotAPublicKey,
    /// The system's random number generator or the signer failed.
    #[error("the cryptographic library could not {doing}")]
    Crypto {
        /// What it was asked to do.
        doing: &'static str,
    },
    /// The signature was not made by this key over these bytes for this purpose.
    #[error("the signature does not belong to these bytes, this purpose and this key")]
    BadSignature,
}

/// The short name of a public key: the first 16 hexadecimal digits of its SHA-256. A hint for finding the key, never
/// a proof of anything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ed25519 public key; written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key's short name.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let mut name = Digest::of(&self.0).hex();
        name.truncate(16);
        KeyId(name)
    }

    /// Checks a signature of [`SiteKey::sign`].
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] if key, purpose, message or signature differ in anything.
    pub fn verify(&self, purpose: &str, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&statement(purpose, message), signature)
            .map_err(|_| KeyError::BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(text).map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self(bytes.try_into().map_err(|_| KeyError::NotAPublicKey)?))
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// The private key with which a site signs package records and policy.
pub struct SiteKey {
    pair: KeyPair,
    public: PublicKey,
}

impl SiteKey {
    /// Makes a new key from the system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if there are none.
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            KeyPair::generate_for(&PKCS_ED25519).map_err(|_| KeyError::Crypto { doing: "make a signing key" })?;
        Self::from_pair(pair)
    }

    /// Reads the key from `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// [`KeyError`] if the file is unreadable, open to others, or not an Ed25519 key in PKCS#8 PEM.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        secret_file::read(path)?.map(|pem| Self::from_pem(&pem)).transpose()
    }

    /// Reads the key from `path`, or makes it and stores it there.
    ///
    /// # Errors
    /// As [`SiteKey::load`] and [`SiteKey::save`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let key = Self::generate()?;
        key.save(path)?;
        Ok(key)
    }

    /// Stores the key with mode 0600, durably.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(secret_file::write(path, &self.pair.serialize_pem())?)
    }

    /// Reads the key from PKCS#8 PEM, for instance from a Kubernetes Secret.
    ///
    /// # Errors
    /// [`KeyError::NotAPrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ED25519)
            .map_err(|_| KeyError::NotAPrivateKey { expected: "Ed25519" })?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key_raw().try_into().map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// The public half, which may be given to everybody.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` for `purpose`. The same bytes signed for another purpose have another signature.
    ///
    /// # Errors
    /// [`KeyError::Crypto`], which Ed25519 does not produce in practice.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(&statement(purpose, message)).map_err(|_| KeyError::Crypto { doing: "sign" })
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey({})", self.public.key_id())
    }
}

/// The keys that a reader accepts. A list in JSON; order does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<PublicKey>", into = "Vec<PublicKey>")]
pub struct TrustedKeys(BTreeMap<KeyId, PublicKey>);

impl TrustedKeys {
    /// The key of that name, if it is trusted.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&PublicKey> {
        self.0.get(id)
    }

    /// Whether no key at all is trusted, so that nothing can be opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
        self.0.iter()
    }
}

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.key_id(), key)).collect())
    }
}

impl From<Vec<PublicKey>> for TrustedKeys {
    fn from(keys: Vec<PublicKey>) -> Self {
        keys.into_iter().collect()
    }
}

impl From<TrustedKeys> for Vec<PublicKey> {
    fn from(keys: TrustedKeys) -> Self {
        keys.0.into_values().collect()
    }
}

/// The bytes that are really signed: purpose and message with their lengths before them (the pre-authentication
/// encoding of the DSSE protocol), so that no choice of one can be taken for the other.
pub(super) fn statement(purpose: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {purpose} {} ", purpose.len(), message.len()).into_bytes();
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_is_that_of_the_dsse_protocol() {
        // The example of the DSSE protocol document.
        assert_eq!(
            statement("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_signature_holds_for_one_key_purpose_and_message_only() {
        let (key, other) = (SiteKey::generate().unwrap(), SiteKey::generate().unwrap());
        let signature = key.sign("record", b"bytes").unwrap();
        key.public().verify("record", b"bytes", &signature).unwrap();
        assert!(key.public().verify("policy", b"bytes", &signature).is_err());
        assert!(key.public().verify("record", b"bytez", &signature).is_err());
        assert!(other.public().verify("record", b"bytes", &signature).is_err());
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(key.public().verify("record", b"bytes", &flipped).is_err(), "bit {bit}");
        }
        assert!(key.public().verify("record", b"bytes", &signature[1..]).is_err());
    }

    #[test]
    fn a_stored_key_comes_back_as_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.key");
        assert!(SiteKey::load(&path).unwrap().is_none());
        let made = SiteKey::load_or_create(&path).unwrap();
        assert_eq!(SiteKey::load_or_create(&path).unwrap().public(), made.public());
        secret_file::write(&path, "nonsense").unwrap();
        assert!(matches!(SiteKey::load_or_create(&path), Err(KeyError::NotAPrivateKey { .. })), "never replaced");
    }

    #[test]
    fn keys_travel_as_a_json_list() {
        let (one, two) = (SiteKey::generate().unwrap().public(), SiteKey::generate().unwrap().public());
        let keys = TrustedKeys::from_iter([one, two]);
        let json = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<TrustedKeys>(&json).unwrap(), keys);
        assert_eq!(keys.get(&one.key_id()), Some(&one));
        assert_eq!(one.key_id().as_str().len(), 16);
        assert!(serde_json::from_str::<TrustedKeys>(r#"["c2hvcnQ="]"#).is_err());
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let key = SiteKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SiteKey({})", key.public().key_id()));
    }
}
