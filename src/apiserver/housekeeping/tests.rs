//! What housekeeping costs, counted in objects read, and that it overlooks nothing.

use std::sync::{Arc, atomic::Ordering};

use serde_json::json;

use super::*;
use crate::apiserver::{
    access::{Access, Authority},
    delete::Policy,
    kinds::{Kinds, builtin},
    namespaces,
    store::{Effect, Object, Store, Write, version_of},
};

/// Objects beside those that change.
const MANY: usize = 5_000;
/// Objects read for a change of one; each is read a few times, when it is looked at and when it is deleted.
const FEW: usize = 20;

struct Kept {
    server: Server,
    directory: tempfile::TempDir,
}

impl Kept {
    /// A server whose housekeeping runs when the test says so.
    fn new() -> Kept {
        Kept::within(tempfile::tempdir().unwrap())
    }

    fn within(directory: tempfile::TempDir) -> Kept {
        let store = Store::open(&directory.path().join("api.db"), &|_, _| {}).unwrap();
        namespaces::prepare(&store).unwrap();
        let kinds = Kinds::new(builtin::kinds(), &[], vec![]).unwrap();
        let authority = Authority::Own(Access::new([]));
        Kept { server: Server { store: Arc::new(store), kinds, authority, fleet: None, front_proxy: None }, directory }
    }

    /// Ends, and opens the same database again.
    fn again(self) -> Kept {
        drop(self.server);
        Kept::within(self.directory)
    }

    /// Stores a ConfigMap whose owners are these.
    async fn put(&self, name: &str, owners: &[&Object]) -> Object {
        self.put_held(name, owners, &[]).await
    }

    /// The same with finalizers.
    async fn put_held(&self, name: &str, owners: &[&Object], finalizers: &[&str]) -> Object {
        let live = self.get(name);
        let owners: Vec<Value> = owners.iter().map(|owner| reference(owner)).collect();
        let mut object = match &live {
            Some(live) => (**live).clone(),
            None => json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()}}),
        };
        object["metadata"]["ownerReferences"] = owners.into();
        object["metadata"]["finalizers"] = json!(finalizers);
        let over = live.is_some() && finalizers.is_empty() && object["metadata"]["deletionTimestamp"].is_string();
        let effect = if over { Effect::Remove } else { Effect::Put(object) };
        let expected = live.map(|live| version_of(&live));
        self.server.store.write(Write { key: key(name), expected, effect, within: None }).await.unwrap()
    }

    fn get(&self, name: &str) -> Option<Object> {
        self.server.store.get(&key(name))
    }

    async fn delete(&self, name: &str, policy: Policy) {
        let mut deletion = Deletion::default();
        deletion.policy = Some(policy);
        let kind = self.server.kinds.find("", "v1", "configmaps").unwrap();
        delete::delete(&self.server.store, kind, &key(name), &deletion).await.unwrap();
    }

    /// Keeps house until nothing changes any more; how many objects were read for it.
    async fn settle(&self) -> usize {
        let read = || self.server.store.objects_read.load(Ordering::Relaxed);
        let before = read();
        loop {
            let revision = self.server.store.revision();
            look(&self.server).await;
            if self.server.store.revision() == revision {
                return read() - before;
            }
        }
    }
}

fn reference(owner: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": true})
}

fn key(name: &str) -> Key {
    Key::new(&"configmaps".into(), "default", name)
}

#[tokio::test]
async fn a_change_costs_what_it_touches_however_much_is_owned() {
    let kept = Kept::new();
    let owner = kept.put("owner", &[]).await;
    let lone = kept.put("lone", &[]).await;
    let names: Vec<String> = (0..MANY).map(|n| format!("owned-{n}")).collect();
    let owners = [&owner];
    futures::future::join_all(names.iter().map(|name| kept.put(name, &owners))).await;
    kept.settle().await;
    for (what, owners) in [("owned-7", vec![&owner, &lone]), ("lone", vec![]), ("new", vec![&owner])] {
        kept.put(what, &owners).await;
        let read = kept.settle().await;
        assert!(read <= FEW, "{read} objects were read after a change of {what}");
    }
    // one of two owners goes, and then the only one of another
    kept.delete("lone", Policy::Background).await;
    let read = kept.settle().await;
    assert!(read <= FEW, "{read} objects were read after the end of an owner");
    assert_eq!(kept.get("owned-7").unwrap()["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    assert!(names.iter().all(|name| kept.get(name).is_some()));
    kept.delete("owner", Policy::Background).await;
    let read = kept.settle().await;
    assert!(names.iter().all(|name| kept.get(name).is_none()) && kept.get("new").is_none());
    assert!(read <= FEW * MANY, "{read} objects were read after the end of all");
}

#[tokio::test]
async fn an_owner_waits_for_its_dependents_and_goes_when_they_are_gone() {
    let kept = Kept::new();
    let owner = kept.put("owner", &[]).await;
    kept.put("free", &[&owner]).await;
    kept.put_held("held", &[&owner], &["example.dev/x"]).await;
    kept.settle().await;
    kept.delete("owner", Policy::Foreground).await;
    kept.settle().await;
    assert!(kept.get("free").is_none() && kept.get("owner").is_some());
    assert!(kept.get("held").unwrap()["metadata"]["deletionTimestamp"].is_string());
    kept.put_held("held", &[&owner], &[]).await;
    kept.settle().await;
    assert!(kept.get("held").is_none() && kept.get("owner").is_none());
}

#[tokio::test]
async fn what_ended_before_a_restart_is_followed_after_it() {
    let kept = Kept::new();
    let (gone, orphaning) = (kept.put("gone", &[]).await, kept.put("orphaning", &[]).await);
    kept.put("left", &[&gone]).await;
    kept.put("released", &[&orphaning]).await;
    kept.settle().await;
    kept.delete("gone", Policy::Background).await;
    kept.delete("orphaning", Policy::Orphan).await;
    let kept = kept.again();
    assert!(kept.get("left").is_some() && kept.get("orphaning").is_some());
    kept.settle().await;
    assert!(kept.get("left").is_none() && kept.get("orphaning").is_none());
    assert!(kept.get("released").unwrap()["metadata"]["ownerReferences"].is_null());
}

#[tokio::test]
async fn a_namespace_ends_with_what_is_in_it() {
    let kept = Kept::new();
    kept.put("free", &[]).await;
    kept.put_held("held", &[], &["example.dev/x"]).await;
    kept.settle().await;
    let namespaces = kept.server.kinds.find("", "v1", "namespaces").unwrap();
    let place = Key::new(&namespaces.resource, "", "default");
    delete::delete(&kept.server.store, namespaces, &place, &Deletion::default()).await.unwrap();
    kept.settle().await;
    assert!(kept.get("free").is_none() && kept.get("held").is_some() && kept.server.store.get(&place).is_some());
    kept.put_held("held", &[], &[]).await;
    kept.settle().await;
    assert!(kept.get("held").is_none() && kept.server.store.get(&place).is_none());
}
