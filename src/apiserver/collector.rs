//! What deletion with a policy waits for: a foreground deletion for its dependents' end, an orphaning one for the
//! dependents' release. Dependents of owners that are simply gone are left alone: nothing here makes any.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    call::Server,
    delete::{self, Deletion, FOREGROUND, ORPHAN},
    kinds::Kind,
    store::{Effect, Key, Object, Write, version_of},
};

/// Takes every terminating object that waits for its dependents one step further.
pub(super) async fn collect(server: &Server) {
    for kind in server.kinds.stored() {
        for (path, owner) in server.store.list(&kind.resource, "").1 {
            if owner["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let key = Key { resource: kind.resource.clone(), path };
            if has_finalizer(&owner, ORPHAN) {
                orphan(server, kind, &key, &owner).await;
            } else if has_finalizer(&owner, FOREGROUND) {
                foreground(server, kind, &key, &owner).await;
            }
        }
    }
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|x| x == name))
}

/// Objects that name the owner's uid, with their kinds.
fn dependents(server: &Server, uid: &Value) -> Vec<(Arc<Kind>, Key, Object)> {
    let names =
        |o: &Value| o["metadata"]["ownerReferences"].as_array().is_some_and(|r| r.iter().any(|r| r["uid"] == *uid));
    let mut found = vec![];
    for kind in server.kinds.stored() {
        for (path, object) in server.store.list(&kind.resource, "").1 {
            if names(&object) {
                found.push((kind.clone(), Key { resource: kind.resource.clone(), path }, object));
            }
        }
    }
    found
}

/// Releases the dependents, then the owner.
async fn orphan(server: &Server, kind: &Kind, key: &Key, owner: &Object) {
    let uid = &owner["metadata"]["uid"];
    let mut done = true;
    for (_, key, object) in dependents(server, uid) {
        let mut free = (*object).clone();
        if let Some(references) = free["metadata"]["ownerReferences"].as_array_mut() {
            references.retain(|r| r["uid"] != *uid);
        }
        done &= put(server, &key, &object, pruned(free, "ownerReferences")).await;
    }
    if done {
        release(server, kind, key, owner, ORPHAN).await;
    }
}

/// Deletes the dependents; the owner goes once none that blocks it is left.
async fn foreground(server: &Server, kind: &Kind, key: &Key, owner: &Object) {
    let uid = &owner["metadata"]["uid"];
    let mut blocked = false;
    for (kind, key, object) in dependents(server, uid) {
        let blocks = |r: &Value| r["uid"] == *uid && r["blockOwnerDeletion"] == true;
        let held = object["metadata"]["ownerReferences"].as_array().is_some_and(|r| r.iter().any(blocks));
        if object["metadata"]["deletionTimestamp"].is_string() {
            blocked |= held;
            continue;
        }
        match delete::delete(&server.store, &kind, &key, &Deletion::default()).await {
            Ok(delete::Deleted::Waiting(_)) => blocked |= held,
            Ok(delete::Deleted::Gone(_)) => {}
            Err(failure) if failure.code == 404 => {}
            Err(failure) => {
                tracing::warn!(%failure, object = key.path, "a dependent could not be deleted");
                blocked = true;
            }
        }
    }
    if !blocked {
        release(server, kind, key, owner, FOREGROUND).await;
    }
}

/// Takes the finalizer off; an object without any ends.
async fn release(server: &Server, kind: &Kind, key: &Key, owner: &Object, finalizer: &str) {
    let mut free = (**owner).clone();
    if let Some(finalizers) = free["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != finalizer);
    }
    let free = pruned(free, "finalizers");
    let effect = if super::admit::is_over(kind, &free) { Effect::Remove } else { Effect::Put(free) };
    write(server, key, owner, effect).await;
}

/// The object without a list of its metadata if that is empty.
fn pruned(mut object: Value, list: &str) -> Value {
    if object["metadata"][list] == json!([])
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove(list);
    }
    object
}

async fn put(server: &Server, key: &Key, live: &Object, object: Value) -> bool {
    write(server, key, live, Effect::Put(object)).await
}

/// Writes unless the object changed meanwhile: that change leads here again.
async fn write(server: &Server, key: &Key, live: &Object, effect: Effect) -> bool {
    let write = Write { key: key.clone(), expected: Some(version_of(live)), effect, within: None };
    match server.store.write(write).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, object = key.path, "not collected yet");
            false
        }
    }
}
