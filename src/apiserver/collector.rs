//! What owners leave behind: a foreground deletion waits for its dependents' end, an orphaning one for their release, and an object
//! whose owners are all gone goes too.

use serde_json::{Value, json};

use super::{
    call::Server,
    delete::{self, Deletion, FOREGROUND, ORPHAN},
    kinds::Kind,
    store::{Effect, Key, Object, Write, version_of},
};

/// Takes an object one step further that is being deleted or has owners. Whether that was all that can be done now; what is waited
/// for leads here again.
pub(super) async fn collect(server: &Server, kind: &Kind, key: &Key, object: &Object) -> bool {
    if object["metadata"]["deletionTimestamp"].is_null() {
        abandoned(server, kind, key, object).await
    } else if has_finalizer(object, ORPHAN) {
        orphan(server, kind, key, object).await
    } else if has_finalizer(object, FOREGROUND) {
        foreground(server, kind, key, object).await
    } else {
        true
    }
}

/// Deletes the object if its owners are all gone, else takes the references to owners that are gone from it.
async fn abandoned(server: &Server, kind: &Kind, key: &Key, object: &Object) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kept: Vec<Value> = references.iter().filter(|reference| lives(server, object, reference)).cloned().collect();
    if kept.len() == references.len() {
        return true;
    }
    if !kept.is_empty() {
        let mut free = (**object).clone();
        free["metadata"]["ownerReferences"] = kept.into();
        return put(server, key, object, free).await;
    }
    // whoever changed it meanwhile may have given it another owner
    match delete::delete(&server.store, kind, key, &Deletion::unchanged(object)).await {
        Ok(_) => true,
        Err(failure) => {
            tracing::debug!(%failure, object = key.path, "an abandoned object is not deleted yet");
            false
        }
    }
}

/// Whether the owner that a reference names exists. One of a kind that is not served here is none of our business: it counts as alive.
fn lives(server: &Server, object: &Value, reference: &Value) -> bool {
    let named = |kind: &&Kind| reference["kind"] == kind.kind && reference["apiVersion"] == kind.api_version();
    let Some(kind) = server.kinds.iter().map(|kind| &**kind).find(named) else { return true };
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = if kind.namespaced { text(&object["metadata"]["namespace"]) } else { String::new() };
    let owner = server.store.get(&Key::new(&kind.resource, &namespace, &text(&reference["name"])));
    owner.is_some_and(|owner| owner["metadata"]["uid"] == reference["uid"])
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|x| x == name))
}

/// Objects that name the owner's uid.
fn dependents(server: &Server, owner: &Value) -> Vec<(Key, Object)> {
    server.store.dependents(owner["metadata"]["uid"].as_str().unwrap_or_default())
}

/// Releases the dependents, then the owner.
async fn orphan(server: &Server, kind: &Kind, key: &Key, owner: &Object) -> bool {
    let uid = &owner["metadata"]["uid"];
    let mut done = true;
    for (key, object) in dependents(server, owner) {
        let mut free = (*object).clone();
        if let Some(references) = free["metadata"]["ownerReferences"].as_array_mut() {
            references.retain(|r| r["uid"] != *uid);
        }
        done &= put(server, &key, &object, pruned(free, "ownerReferences")).await;
    }
    done && release(server, kind, key, owner, ORPHAN).await
}

/// Deletes the dependents; the owner goes once none that blocks it is left.
async fn foreground(server: &Server, kind: &Kind, key: &Key, owner: &Object) -> bool {
    let uid = &owner["metadata"]["uid"];
    let (mut blocked, mut done) = (false, true);
    for (key, object) in dependents(server, owner) {
        let Some(kind) = server.kinds.stored_as(&key.resource) else { continue };
        let blocks = |r: &Value| r["uid"] == *uid && r["blockOwnerDeletion"] == true;
        let held = object["metadata"]["ownerReferences"].as_array().is_some_and(|r| r.iter().any(blocks));
        if object["metadata"]["deletionTimestamp"].is_string() {
            blocked |= held;
            continue;
        }
        match delete::delete(&server.store, kind, &key, &Deletion::default()).await {
            Ok(delete::Deleted::Waiting(_)) => blocked |= held,
            Ok(delete::Deleted::Gone(_)) => {}
            Err(failure) if failure.code == 404 => {}
            Err(failure) => {
                tracing::warn!(%failure, object = key.path, "a dependent could not be deleted");
                done = false;
            }
        }
    }
    if blocked || !done {
        return done;
    }
    release(server, kind, key, owner, FOREGROUND).await
}

/// Takes the finalizer off; an object without any ends.
async fn release(server: &Server, kind: &Kind, key: &Key, owner: &Object, finalizer: &str) -> bool {
    let mut free = (**owner).clone();
    if let Some(finalizers) = free["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != finalizer);
    }
    let free = pruned(free, "finalizers");
    let effect = if super::admit::is_over(kind, &free) { Effect::Remove } else { Effect::Put(free) };
    write(server, key, owner, effect).await
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

/// Writes unless the object changed meanwhile; whether it did.
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
