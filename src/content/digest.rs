//! SHA-256 digests: their text form, and hashing and verifying while bytes stream by.
//! The one digest of the project; nothing here touches files.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// What every text form starts with. The algorithm is named so that a later one can be told apart.
const PREFIX: &str = "sha256:";

/// A SHA-256 digest. Its text form, also in JSON, is `sha256:` and 64 lower-case hexadecimal digits, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest whose 32 bytes these are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Exactly 64 lower-case hexadecimal digits: the name of a blob in the library.
    ///
    /// # Errors
    /// Any other text, upper-case digits included: one digest has one spelling.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(DigestError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }

    /// The 64 hexadecimal digits without the algorithm's name.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
    }

    /// The first 12 hexadecimal digits, for directory names. Enough to tell the versions of one package apart; never
    /// what is verified.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError),
    }
}

/// A text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected \"sha256:\" and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::from_hex(text.strip_prefix(PREFIX).ok_or(DigestError)?)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes what is fed to it, piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Passes bytes through and refuses, at their end, anything but the expected size and digest.
///
/// Whoever reads must read to the end: the last `read` (the one that would return 0) is what fails, with
/// [`io::ErrorKind::InvalidData`]. Bytes beyond the expected size fail at once, so a lying sender cannot fill a disk.
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Hasher,
    expected: Digest,
    left_bytes: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Verifies that `inner` yields exactly `size_bytes` bytes with the digest `expected`.
    pub fn new(inner: R, expected: Digest, size_bytes: u64) -> Self {
        Self { inner, hasher: Hasher::new(), expected, left_bytes: size_bytes }
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} of {}", self.expected));
        if count == 0 {
            return match (self.left_bytes, self.hasher.clone().finish() == self.expected) {
                (0, true) => Ok(0),
                (0, false) => Err(invalid("the bytes do not have the digest")),
                _ => Err(invalid("the bytes end before the size")),
            };
        }
        match self.left_bytes.checked_sub(count as u64) {
            Some(left) => self.left_bytes = left,
            None => return Err(invalid("there are more bytes than the size")),
        }
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn text_form_is_the_published_test_vector_and_round_trips() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{ABC}\"")).unwrap(), digest);
        assert_eq!(digest.short(), "ba7816bf8f01");
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), digest);
    }

    #[test]
    fn other_spellings_are_refused() {
        let upper = ABC.to_uppercase().replace("SHA256", "sha256");
        let (hex, short) = (&ABC[7..], &ABC[..70]);
        for text in
            ["", "sha256:", hex, short, &format!("{ABC}0"), &upper, &ABC.replace("256", "512"), &ABC.replace('b', "g")]
        {
            assert_eq!(text.parse::<Digest>(), Err(DigestError), "{text}");
        }
        assert!(format!("sha256:{}", "é".repeat(32)).parse::<Digest>().is_err());
    }

    #[test]
    fn reader_accepts_the_bytes_and_nothing_else() {
        let read = |bytes: &[u8], size| {
            let mut out = Vec::new();
            VerifyingReader::new(bytes, Digest::of(b"abc"), size)
                .read_to_end(&mut out)
                .map(|_| out)
                .map_err(|e| e.kind())
        };
        assert_eq!(read(b"abc", 3), Ok(b"abc".to_vec()));
        assert_eq!(read(b"abd", 3), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(b"ab", 3), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(b"abcd", 3), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(b"abc", 4), Err(io::ErrorKind::InvalidData));
    }
}
