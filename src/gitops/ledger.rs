//! What this sync owns, on disk: which file declared an object and in which state it was last applied. Survives kill -9
//! at any point: the old ledger or the new one is there, and a lost one is rebuilt from the labels of live objects.
//! Does not decide anything.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{kinds::ObjectKey, live::LiveObject, load::Loaded};
use crate::content::digest::Digest;

/// The format written; a newer one is not read.
const SCHEMA: u32 = 1;

/// What is known of one object that this sync owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// The file that declared it when it was last applied.
    pub file: String,
    /// Digest of the manifest that was applied.
    pub manifest: Digest,
    /// Digest of what the API server held right afterwards.
    pub live: Digest,
    /// The object's identity in the API.
    pub uid: String,
    /// Whether it was there when nothing was held back: what a revision brings does not make it look smaller what the same
    /// revision removes.
    #[serde(default = "settled")]
    pub settled: bool,
}

/// What earlier versions wrote down.
const fn settled() -> bool {
    true
}

impl Owned {
    /// An object that was applied, and whether it is settled already.
    #[must_use]
    pub fn applied(loaded: &Loaded, live: &LiveObject, settled: bool) -> Self {
        let (file, uid) = (loaded.file.clone(), live.uid.clone());
        Self { file, manifest: loaded.digest, live: live.digest, uid, settled }
    }
}

/// All objects that this sync owns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// By name.
    pub objects: BTreeMap<ObjectKey, Owned>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    key: ObjectKey,
    #[serde(flatten)]
    owned: Owned,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    schema: u32,
    objects: Vec<Row>,
}

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system refused.
    #[error("the sync ledger {path} cannot be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Written by a newer version.
    #[error("the sync ledger {path} has schema {schema}, this version reads {SCHEMA}: use the newer version")]
    Newer {
        /// The file.
        path: String,
        /// Its schema.
        schema: u32,
    },
}

impl Ledger {
    /// Reads the ledger; an absent one is empty. A damaged one is set aside, since the labels of the live objects hold
    /// the same knowledge but for the digests.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Io { path: path.display().to_string(), source };
        let empty = Self { path: path.to_owned(), objects: BTreeMap::new() };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
            Err(error) => return Err(failed(error)),
        };
        match serde_json::from_slice::<Contents>(&bytes) {
            Ok(contents) if contents.schema > SCHEMA => {
                Err(LedgerError::Newer { path: path.display().to_string(), schema: contents.schema })
            }
            Ok(contents) => {
                let objects = contents.objects.into_iter().map(|row| (row.key, row.owned)).collect();
                Ok(Self { objects, ..empty })
            }
            Err(error) => {
                tracing::warn!(ledger = %path.display(), %error, "the sync ledger is damaged; it is rebuilt from the live objects");
                fs::rename(path, path.with_extension("damaged")).map_err(failed)?;
                Ok(empty)
            }
        }
    }

    /// Writes the ledger so that it survives a power cut.
    pub fn save(&self) -> io::Result<()> {
        let rows = self.objects.iter().map(|(key, owned)| Row { key: key.clone(), owned: owned.clone() });
        let contents = Contents { schema: SCHEMA, objects: rows.collect() };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(io::BufWriter::new(&mut file), &contents)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned() -> Owned {
        let (manifest, live) = (Digest::of(b"m"), Digest::of(b"l"));
        Owned { file: "a.yaml".to_owned(), manifest, live, uid: "u".to_owned(), settled: false }
    }

    #[test]
    fn what_is_saved_is_there_again() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("ledger.json");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.objects.insert(ObjectKey::namespaced("Package", "apps", "office"), owned());
        ledger.objects.insert(ObjectKey::cluster("Site", "main"), owned());
        ledger.save().unwrap();
        assert_eq!(Ledger::open(&path).unwrap().objects, ledger.objects);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_damaged_ledger_is_set_aside_and_a_newer_one_refused() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("ledger.json");
        fs::write(&path, "{\"schema\":1,\"obj").unwrap();
        assert!(Ledger::open(&path).unwrap().objects.is_empty());
        assert!(path.with_extension("damaged").exists());
        fs::write(&path, "{\"schema\":2,\"objects\":[]}").unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Newer { schema: 2, .. })));
    }
}
