//! Files of a new version that another tree of the cache already has: they are copied here instead of fetched. A copy is
//! verified like a download, so this decides only where bytes come from, never whether they are right.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use crate::content::{
    Entry, Manifest, copy,
    digest::{Digest, Hasher},
};

/// Where the cache has files of some content.
pub(super) struct Unchanged {
    files: HashMap<Digest, PathBuf>,
}

impl Unchanged {
    /// Looks for the files of `wanted` in the `trees` that the cache has.
    pub(super) fn find(wanted: &Manifest, trees: impl Iterator<Item = (PathBuf, Manifest)>) -> Self {
        let digests: HashSet<Digest> = wanted.entries().iter().map(|entry| entry.digest).collect();
        let mut files = HashMap::new();
        for (tree, manifest) in trees {
            for entry in manifest.entries().iter().filter(|entry| digests.contains(&entry.digest)) {
                files.entry(entry.digest).or_insert_with(|| entry.path.below(&tree));
            }
        }
        Self { files }
    }

    /// The file, from `offset_bytes` on, if the cache has it and its bytes are still right. A damaged one is passed over:
    /// blaming it on a distribution point would be wrong, and the point has a good one.
    pub(super) fn open(&self, entry: &Entry, offset_bytes: u64) -> Option<File> {
        let path = self.files.get(&entry.digest)?;
        sound(path, entry, offset_bytes).unwrap_or_else(|error| {
            tracing::debug!(path = %path.display(), %error, "a file of another version cannot be read");
            None
        })
    }
}

fn sound(path: &Path, entry: &Entry, offset_bytes: u64) -> io::Result<Option<File>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != entry.size_bytes || digest_of(&mut file)? != entry.digest {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset_bytes))?;
    Ok(Some(file))
}

fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    copy::hash(file, &mut hasher)?;
    Ok(hasher.finish())
}

/// The complete trees beneath a cache's `directory`, but for `except`; `manifest` reads the manifest of one.
pub(super) fn trees(
    directory: &Path,
    except: Digest,
    manifest: impl Fn(&Digest) -> Option<Manifest>,
) -> io::Result<impl Iterator<Item = (PathBuf, Manifest)>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries.flatten().filter_map(move |entry| {
        let digest = Digest::from_hex(entry.file_name().to_str()?).ok().filter(|digest| *digest != except)?;
        Some((entry.path(), manifest(&digest)?))
    }))
}
