//! Which directories hold package content rather than manifests: those that a Package of the tree names as its source.
//! Nothing beneath them is read as a manifest, whatever it looks like. Does not look at the disk.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kinds::ObjectKey;

/// The source directories declared so far, each with who declared it.
#[derive(Debug, Default)]
pub(crate) struct SourceDirectories(BTreeMap<String, ObjectKey>);

/// Why a declared source directory does not count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HoldsManifests {
    /// The directory, relative to the root.
    pub(crate) directory: String,
    /// The manifest in it that is already in use.
    pub(crate) manifest: String,
}

impl HoldsManifests {
    /// How it is called: the root has no name of its own.
    pub(crate) fn named(&self) -> String {
        if self.directory.is_empty() {
            "`.`, which is all of the tree,".to_owned()
        } else {
            format!("`{}`", self.directory)
        }
    }
}

impl SourceDirectories {
    /// Whether a path (file or directory, relative to the root) lies in a source directory.
    pub(crate) fn cover(&self, path: &str) -> bool {
        self.0.keys().any(|directory| within(path, directory))
    }

    /// Notes the source directory of a Package. Refused if a manifest in use, its own for instance, lies in it: content
    /// and manifests must not be mixed.
    pub(crate) fn declare<'a>(
        &mut self,
        key: &ObjectKey,
        package: &Value,
        mut manifests_in_use: impl Iterator<Item = &'a str>,
    ) -> Result<(), HoldsManifests> {
        let Some(directory) = source_directory(package) else { return Ok(()) };
        if let Some(manifest) = manifests_in_use.find(|manifest| within(manifest, &directory)) {
            return Err(HoldsManifests { manifest: manifest.to_owned(), directory });
        }
        self.0.entry(directory).or_insert_with(|| key.clone());
        Ok(())
    }
}

/// The directory a Package's content comes from, relative to the root of the tree; nothing if it has none, or one that
/// does not lie in the tree.
fn source_directory(package: &Value) -> Option<String> {
    let directory = package.pointer("/spec/source/directory")?;
    let path = directory.as_str().or_else(|| directory.get("path")?.as_str())?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!path.starts_with('/') && !parts.contains(&"..")).then(|| parts.join("/"))
}

fn within(path: &str, directory: &str) -> bool {
    directory.is_empty() || path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
