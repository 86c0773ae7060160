//! What housekeeping has to look at. It is kept with every write, so that a change costs what it touches, however much is stored: the
//! object itself, those that named it as their owner, and those that wait for its end. What is to be done is not known here.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::Key;

/// Where namespaces are kept.
const NAMESPACES: &str = "namespaces";

/// Objects that are due, and what makes others so.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// By the uid of an owner: the objects that name it, whether it exists or not.
    dependents: HashMap<String, BTreeSet<Key>>,
    /// By their uid: objects that are being deleted. They may wait for their dependents.
    terminating: HashMap<String, Key>,
    /// Namespaces that are being deleted. They wait for what is in them.
    ending: HashSet<String>,
    due: BTreeSet<Key>,
}

impl Agenda {
    /// Takes note of a write: what was at the key, and what is there now.
    pub(super) fn note(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let (old, new) = (owners(before), owners(after));
        for uid in old.difference(&new) {
            self.forget_dependent(uid, key);
        }
        for uid in new.difference(&old) {
            self.dependents.entry((*uid).to_owned()).or_default().insert(key.clone());
        }
        self.due.extend(old.union(&new).filter_map(|uid| self.terminating.get(*uid)).cloned());
        if let Some((namespace, _)) = key.path.split_once('/')
            && self.ending.contains(namespace)
        {
            self.due.insert(Key::new(&NAMESPACES.into(), "", namespace));
        }
        let ends = after.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string());
        if ends || !new.is_empty() {
            self.due.insert(key.clone());
        }
        self.note_identity(key, uid(before), uid(after), ends);
    }

    /// Who has the key now; an identity that is gone leaves its dependents behind.
    fn note_identity(&mut self, key: &Key, before: Option<&str>, after: Option<&str>, ends: bool) {
        if let Some(gone) = before.filter(|uid| after != Some(uid)) {
            self.terminating.remove(gone);
            self.due.extend(self.dependents.get(gone).into_iter().flatten().cloned());
            if &*key.resource == NAMESPACES {
                self.ending.remove(&key.path);
            }
        }
        if let Some(uid) = after.filter(|_| ends) {
            self.terminating.insert(uid.to_owned(), key.clone());
            if &*key.resource == NAMESPACES {
                self.ending.insert(key.path.clone());
            }
        }
    }

    fn forget_dependent(&mut self, uid: &str, key: &Key) {
        if let Some(dependents) = self.dependents.get_mut(uid) {
            dependents.remove(key);
            if dependents.is_empty() {
                self.dependents.remove(uid);
            }
        }
    }

    /// Hands out what is due.
    pub(super) fn take(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.due)
    }

    /// Something stays due: it could not be done.
    pub(super) fn put_back(&mut self, key: Key) {
        self.due.insert(key);
    }

    /// The objects that name this uid as an owner's.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }
}

fn uid(object: Option<&Value>) -> Option<&str> {
    object?["metadata"]["uid"].as_str()
}

/// The uids of the owners that an object names.
fn owners(object: Option<&Value>) -> BTreeSet<&str> {
    let references = object.and_then(|object| object["metadata"]["ownerReferences"].as_array());
    references.into_iter().flatten().filter_map(|reference| reference["uid"].as_str()).collect()
}
