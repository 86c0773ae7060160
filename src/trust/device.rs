//! The private key of one client, distribution point or client access point (ECDSA P-256): made on the machine
//! itself, never sent. It authenticates TLS connections, asks for certificates and signs what the machine reports.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::keys::{KeyError, statement};
use super::secret_file;

/// A device's private key.
pub struct DeviceKey(KeyPair);

impl DeviceKey {
    /// Makes a new key from the system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if there are none.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyError::Crypto { doing: "make a device key" })
    }

    /// Reads the key from PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::NotAPrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyError::NotAPrivateKey { expected: "ECDSA P-256" })
    }

    /// Reads the key from `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// [`KeyError`] if the file is unreadable, open to others, or not such a key.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        secret_file::read(path)?.map(|pem| Self::from_pem(&pem)).transpose()
    }

    /// Reads the key from `path`, or makes it and stores it there before it is used for anything.
    ///
    /// # Errors
    /// As [`DeviceKey::load`] and [`DeviceKey::save`].
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
        Ok(secret_file::write(path, &self.to_pem())?)
    }

    /// The key as PKCS#8 PEM: for storing, and for a user's kubeconfig. A secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The key as rustls takes it.
    #[must_use]
    pub fn to_tls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }

    /// The public half, for a certificate that is issued in the same process.
    pub(super) fn public(&self) -> &impl rcgen::PublicKeyData {
        &self.0
    }

    /// A certificate signing request: the public key and the proof that its private half is here. It names nothing,
    /// because the server alone decides what the certificate says.
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .serialize_request(&self.0)
            .and_then(|request| request.pem())
            .map_err(|_| KeyError::Crypto { doing: "make a certificate request" })
    }

    /// Signs `message` for `purpose`; the signature is base64 text. Checked with [`verify`].
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Result<String, KeyError> {
        let signature = self.0.sign(&statement(purpose, message)).map_err(|_| KeyError::Crypto { doing: "sign" })?;
        Ok(BASE64.encode(signature))
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}

/// Checks a signature of [`DeviceKey::sign`] with the public key of the device's certificate (DER). Says nothing about
/// whether that certificate is genuine: see [`super::identity::PeerIdentity::verified`].
///
/// # Errors
/// [`KeyError::BadSignature`], also when the certificate is not one of a P-256 key.
pub fn verify(certificate: &[u8], purpose: &str, message: &[u8], signature: &str) -> Result<(), KeyError> {
    let signature = BASE64.decode(signature).map_err(|_| KeyError::BadSignature)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| KeyError::BadSignature)?;
    let public_key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key.as_ref())
        .verify(&statement(purpose, message), &signature)
        .map_err(|_| KeyError::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(key: &DeviceKey) -> Vec<u8> {
        CertificateParams::default().self_signed(&key.0).unwrap().der().to_vec()
    }

    #[test]
    fn a_device_signature_is_checked_with_its_certificate() {
        let (key, other) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
        let signature = key.sign("status", b"batch").unwrap();
        verify(&certificate(&key), "status", b"batch", &signature).unwrap();
        assert!(verify(&certificate(&other), "status", b"batch", &signature).is_err());
        assert!(verify(&certificate(&key), "inventory", b"batch", &signature).is_err());
        assert!(verify(&certificate(&key), "status", b"batches", &signature).is_err());
        assert!(verify(&certificate(&key), "status", b"batch", "not base64!").is_err());
        assert!(verify(b"no certificate", "status", b"batch", &signature).is_err());
    }

    #[test]
    fn a_stored_key_comes_back_and_is_not_a_site_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device.key");
        let made = DeviceKey::load_or_create(&path).unwrap();
        assert_eq!(DeviceKey::load_or_create(&path).unwrap().to_pem(), made.to_pem());
        assert!(super::super::keys::SiteKey::load(&path).is_err());
    }
}
