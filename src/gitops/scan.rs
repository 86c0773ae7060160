//! A guess at what a file that does not parse declares, good enough to decide what must *not* be removed. Errs on the
//! side of naming too much.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

use super::kinds::{GROUP, ObjectKey};

/// The kinds and names that a broken text mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    kinds: BTreeSet<String>,
    names: BTreeSet<String>,
    /// Whether the text names our API group at all; if not, it is somebody else's file.
    pub ours: bool,
}

static FIELD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\b(kind|name)["']?[ \t]*:[ \t]*["']?([A-Za-z0-9][A-Za-z0-9.\-]*)"#).ok());

impl Mentions {
    /// Collects every `kind:` and `name:` of the text, wherever it stands.
    pub fn of(text: &str) -> Self {
        let mut found = Self { ours: text.contains(GROUP), ..Self::default() };
        for capture in FIELD.iter().flat_map(|field| field.captures_iter(text)) {
            let value = capture[2].to_owned();
            if &capture[1] == "kind" {
                found.kinds.insert(value)
            } else {
                found.names.insert(value)
            };
        }
        found
    }

    /// Whether the text may declare this object.
    pub fn may_declare(&self, key: &ObjectKey) -> bool {
        self.names.contains(&key.name) && self.kinds.contains(&key.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_text_still_names_its_objects() {
        let found = Mentions::of(
            "apiVersion: waybill.dev/v1alpha1\nkind: Package\nmetadata: {name: \"office\", namespace: apps\nspec:\n  [[[\n",
        );
        assert!(found.ours);
        assert!(found.may_declare(&ObjectKey::namespaced("Package", "apps", "office")));
        assert!(!found.may_declare(&ObjectKey::namespaced("Package", "apps", "other")));
        assert!(!found.may_declare(&ObjectKey::namespaced("Program", "apps", "office")));
    }
}
