//! The manifest: what a package's content *is*. One canonical encoding, whose digest is the content's identity.
//! It knows files only; reading and writing trees is elsewhere.
//!
//! Times, owners, group and world permissions and the umask never count, so the same tree read on two machines has one
//! identity. Directories exist through the files in them: an empty directory is not content (as in git), because no
//! byte of it can be verified and a file-based transfer cannot carry it; a snapshot names those it left out.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hasher};
use super::path::{SafePath, fold};

/// The encoding's version. A reader refuses any other.
pub const FORMAT_VERSION: u32 = 1;
/// Most files: bounds memory and inodes on every machine that holds the content.
pub const MAX_FILES: usize = 200_000;
/// Largest encoding, in bytes: room for [`MAX_FILES`] with paths of 60 bytes on average; with longer ones this limit
/// is met first.
pub const MAX_ENCODED_BYTES: usize = 32 << 20;
/// Largest content, in bytes of its files.
pub const MAX_CONTENT_BYTES: u64 = 64 << 30;

/// One file of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it lies in the tree.
    pub path: SafePath,
    /// Its length.
    #[serde(rename = "bytes")]
    pub size_bytes: u64,
    /// Whether its owner may execute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// The SHA-256 of its bytes.
    #[serde(rename = "sha256", with = "bare_hex")]
    pub digest: Digest,
}

/// The files of one content, sorted by path, checked against every rule. It cannot be built otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    digest: Digest,
}

/// Why entries or bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// See [`MAX_FILES`].
    #[error("{0} files are more than {MAX_FILES}; split the package")]
    TooManyFiles(usize),
    /// See [`MAX_ENCODED_BYTES`].
    #[error("the manifest is larger than {MAX_ENCODED_BYTES} bytes; split the package or shorten its paths")]
    TooLarge,
    /// See [`MAX_CONTENT_BYTES`].
    #[error("the files are more than {MAX_CONTENT_BYTES} bytes together; split the package")]
    TooMuchContent,
    /// Two paths that a case-insensitive file system takes for one, or one path twice.
    #[error("{0:?} and {1:?} differ at most in case; rename one")]
    CaseClash(String, String),
    /// A path that is both a file and the directory of another file.
    #[error("{0:?} is a file and also a directory")]
    FileIsDirectory(String),
    /// Not the expected JSON, or a path or digest in it breaks its own rules.
    #[error("the manifest is not readable")]
    Syntax(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("the manifest has format {0}; this program reads {FORMAT_VERSION}; update it")]
    UnsupportedVersion(u32),
    /// The right meaning in other bytes: a manifest has one encoding.
    #[error("the manifest is not in its canonical encoding")]
    NotCanonical,
}

impl Manifest {
    /// The manifest of these files, in any order.
    ///
    /// # Errors
    /// A limit or a rule about two entries is broken.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        if entries.len() > MAX_FILES {
            return Err(ManifestError::TooManyFiles(entries.len()));
        }
        let total = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size_bytes));
        if total.is_none_or(|bytes| bytes > MAX_CONTENT_BYTES) {
            return Err(ManifestError::TooMuchContent);
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        refuse_clashes(&entries)?;
        let mut hasher = Hasher::new();
        let mut encoded_bytes = 0;
        encode(&entries, |piece| {
            hasher.update(piece);
            encoded_bytes += piece.len();
        })?;
        if encoded_bytes > MAX_ENCODED_BYTES {
            return Err(ManifestError::TooLarge);
        }
        Ok(Self { entries, digest: hasher.finish() })
    }

    /// Reads the canonical encoding.
    ///
    /// # Errors
    /// Anything that [`Manifest::encode`] would not have written, byte for byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(ManifestError::TooLarge);
        }
        let head: Head = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if head.version != FORMAT_VERSION {
            return Err(ManifestError::UnsupportedVersion(head.version));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        let manifest = Self::new(document.entries)?;
        if manifest.digest != Digest::of(bytes) {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The canonical encoding: JSON, one file a line, sorted by path.
    ///
    /// # Errors
    /// None in practice: what was encoded once to be built encodes again.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = Vec::new();
        encode(&self.entries, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// The digest of the encoding: the identity of the content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file at `path`.
    #[must_use]
    pub fn entry(&self, path: &SafePath) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|at| &self.entries[at])
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size_bytes).sum()
    }

    /// Every directory of the tree, each after the one that holds it.
    #[must_use]
    pub fn directories(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let mut last_parent = "";
        for entry in &self.entries {
            let parent = entry.path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
            if parent != last_parent {
                all.extend(entry.path.ancestors());
                last_parent = parent;
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Refuses what no tree, or no tree on a case-insensitive file system, can hold. Directories count too: `Lib/a` and
/// `lib/b` would be merged there.
fn refuse_clashes(entries: &[Entry]) -> Result<(), ManifestError> {
    let mut seen: HashMap<String, (&str, bool)> = HashMap::with_capacity(entries.len());
    let mut last_parent = "";
    for entry in entries {
        let path = entry.path.as_str();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        // Neighbours mostly share their directory; its ancestors need one look.
        let directories = (parent != last_parent).then(|| entry.path.ancestors()).into_iter().flatten();
        last_parent = parent;
        for (name, is_file) in directories.map(|directory| (directory, false)).chain([(path, true)]) {
            match seen.insert(fold(name), (name, is_file)) {
                None => {}
                Some((other, false)) if !is_file && other == name => {}
                Some((other, other_is_file)) if other == name && other_is_file != is_file => {
                    return Err(ManifestError::FileIsDirectory(name.to_owned()));
                }
                Some((other, _)) => return Err(ManifestError::CaseClash(other.to_owned(), name.to_owned())),
            }
        }
    }
    Ok(())
}

fn encode(entries: &[Entry], mut put: impl FnMut(&[u8])) -> Result<(), ManifestError> {
    put(format!("{{\"version\":{FORMAT_VERSION},\"entries\":[").as_bytes());
    let mut line = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        line.clear();
        line.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut line, entry).map_err(ManifestError::Syntax)?;
        put(&line);
    }
    put(b"\n]}\n");
    Ok(())
}

/// What can be read of any version.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(deserialize_with = "bounded_entries")]
    entries: Vec<Entry>,
}

/// Stops at the limit instead of filling memory first.
fn bounded_entries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Bounded;
    impl<'de> serde::de::Visitor<'de> for Bounded {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_FILES} files")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<Entry>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = sequence.next_element()? {
                if entries.len() == MAX_FILES {
                    return Err(serde::de::Error::invalid_length(MAX_FILES + 1, &self));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_seq(Bounded)
}

/// Inside a manifest the key already says SHA-256; 64 digits a line keep 200,000 files near the size limit.
mod bare_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::content::digest::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Digest::from_hex(&hex).map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
