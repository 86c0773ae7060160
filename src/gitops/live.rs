//! What the API server holds of our kinds, kept current by watches: who edited what, what is gone, what is on its way
//! out. Reads only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream::SelectAll};
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::{
    apply::SYNC_LABEL,
    kinds::{Kinds, ObjectKey},
};
use crate::content::digest::Digest;

/// The part of a live object that files can declare, and what tells it apart from another of the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveObject {
    /// Its identity.
    pub uid: String,
    /// Its version; grows with every change.
    pub resource_version: u64,
    /// Whether it is being deleted and only waits for finalizers.
    pub deleting: bool,
    /// The sync that owns it, by its label.
    pub sync: Option<String>,
    /// Everything but `metadata`, `status` and type, and of metadata labels and annotations.
    pub content: Value,
    /// Digest of `content`.
    pub digest: Digest,
}

impl LiveObject {
    /// Takes what matters of an object.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let mut content = object.data.as_object().cloned().unwrap_or_else(Map::new);
        content.remove("status");
        let (labels, annotations) = (&metadata.labels, &metadata.annotations);
        content.insert("metadata".to_owned(), json!({ "labels": labels, "annotations": annotations }));
        let content = Value::Object(content);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0),
            deleting: metadata.deletion_timestamp.is_some(),
            sync: labels.as_ref().and_then(|labels| labels.get(SYNC_LABEL)).cloned(),
            digest: Digest::of(content.to_string().as_bytes()),
            content,
        }
    }
}

/// All live objects of our kinds.
#[derive(Debug, Default)]
pub struct Live {
    state: Mutex<State>,
    /// Told of every change that could matter to a sync; changes of status are none.
    pub changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, LiveObject>,
    listed: BTreeSet<String>,
    kinds: usize,
}

impl Live {
    /// Watches until the future is dropped. Lost watches are taken up again with backoff.
    pub async fn follow(self: Arc<Self>, client: Client, kinds: Arc<Kinds>) {
        let kinds = kinds.in_order();
        self.state().kinds = kinds.len();
        let mut events = SelectAll::new();
        for kind in kinds {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource);
            let name = kind.resource.kind.clone();
            let events_of_kind = watcher::watcher(api, watcher::Config::default()).default_backoff();
            events.push(events_of_kind.map(move |event| (name.clone(), event)).boxed());
        }
        let mut listing: BTreeMap<String, BTreeMap<ObjectKey, LiveObject>> = BTreeMap::new();
        while let Some((kind, event)) = events.next().await {
            let matters = match event {
                Ok(Event::Init) => {
                    listing.insert(kind, BTreeMap::new());
                    false
                }
                Ok(Event::InitApply(object)) => {
                    listing.entry(kind.clone()).or_default().insert(key(&kind, &object), LiveObject::of(&object));
                    false
                }
                Ok(Event::InitDone) => self.replace(&kind, listing.remove(&kind).unwrap_or_default()),
                Ok(Event::Apply(object)) => self.put(key(&kind, &object), LiveObject::of(&object)),
                Ok(Event::Delete(object)) => self.remove(&key(&kind, &object), &LiveObject::of(&object)),
                Err(error) => {
                    tracing::debug!(kind, %error, "a watch of git sync was interrupted");
                    false
                }
            };
            if matters {
                self.changed.notify_one();
            }
        }
    }

    /// Whether every kind has been listed once; before that nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        let state = self.state();
        state.kinds > 0 && state.listed.len() == state.kinds
    }

    /// Looks at the objects; keep it short.
    pub fn with<T>(&self, look: impl FnOnce(&BTreeMap<ObjectKey, LiveObject>) -> T) -> T {
        look(&self.state().objects)
    }

    /// Takes in an object, for instance the answer to our own write, unless a newer state of it is known.
    pub fn put(&self, key: ObjectKey, mut object: LiveObject) -> bool {
        let mut state = self.state();
        let known = state.objects.get(&key);
        // Who is leaving never turns back.
        object.deleting |= known.is_some_and(|known| known.deleting && known.uid == object.uid);
        match known {
            Some(known) if known.resource_version >= object.resource_version && known.uid == object.uid => false,
            known => {
                let matters = known.is_none_or(|known| {
                    (known.digest, known.deleting, &known.uid) != (object.digest, object.deleting, &object.uid)
                });
                state.objects.insert(key, object);
                matters
            }
        }
    }

    /// Takes in that this object was deleted just now: it is on its way out, whenever the watch says so.
    pub fn leaves(&self, key: &ObjectKey, uid: &str) {
        if let Some(known) = self.state().objects.get_mut(key).filter(|known| known.uid == uid) {
            known.deleting = true;
        }
    }

    fn remove(&self, key: &ObjectKey, gone: &LiveObject) -> bool {
        let mut state = self.state();
        let same = state.objects.get(key).is_some_and(|known| known.uid == gone.uid);
        same && state.objects.remove(key).is_some()
    }

    fn replace(&self, kind: &str, objects: BTreeMap<ObjectKey, LiveObject>) -> bool {
        let mut state = self.state();
        state
            .objects
            .retain(|key, known| key.kind != kind || objects.get(key).is_some_and(|listed| listed.uid == known.uid));
        for (key, mut listed) in objects {
            let known = state.objects.get(&key);
            listed.deleting |= known.is_some_and(|known| known.deleting);
            if known.is_none_or(|known| known.resource_version < listed.resource_version) {
                state.objects.insert(key, listed);
            }
        }
        state.listed.insert(kind.to_owned());
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(kind: &str, object: &DynamicObject) -> ObjectKey {
    ObjectKey {
        kind: kind.to_owned(),
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, resource_version: u64) -> LiveObject {
        let content = Value::Null;
        let digest = Digest::of(b"");
        LiveObject { uid: uid.to_owned(), resource_version, deleting: false, sync: None, content, digest }
    }

    #[test]
    fn what_was_deleted_is_leaving_whatever_the_watch_still_tells_of_it() {
        let (live, key) = (Live::default(), ObjectKey::namespaced("Package", "default", "tool"));
        let is_leaving = || live.with(|objects| objects[&key].deleting);
        live.put(key.clone(), object("1", 5));
        live.leaves(&key, "another");
        assert!(!is_leaving());
        live.leaves(&key, "1");
        assert!(is_leaving());
        // A status that was written before the deletion, and a listing of that time.
        live.put(key.clone(), object("1", 6));
        assert!(is_leaving());
        live.replace("Package", BTreeMap::from([(key.clone(), object("1", 7))]));
        assert!(is_leaving());
        live.put(key.clone(), object("2", 9));
        assert!(!is_leaving(), "one of the same name that was made since");
    }
}
