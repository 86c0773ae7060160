//! What owners leave behind: a foreground deletion waits for its dependents' end, an orphaning one for their release, and an object
//! whose owners are all gone goes too.

use std::{collections::HashSet, sync::Arc};

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

/// Deletes objects whose owners are all gone, and takes references to owners that are gone from the others. An owner of a kind that is
/// not served here is none of our business: it counts as alive.
pub(super) async fn abandoned(server: &Server) {
    // dependents first: an owner is there before anything names it
    let owned = all(server, |object| {
        object["metadata"]["ownerReferences"].is_array() && object["metadata"]["deletionTimestamp"].is_null()
    });
    if owned.is_empty() {
        return;
    }
    let alive: HashSet<Owner> =
        all(server, |_| true).iter().filter_map(|(kind, _, object)| Owner::of(kind, object)).collect();
    for (kind, key, object) in owned {
        let references = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let lives = |reference: &&Value| {
            let Some(owner_kind) = referred(server, reference) else { return true };
            let namespace = if owner_kind.namespaced { &object["metadata"]["namespace"] } else { &Value::Null };
            alive.contains(&Owner::referred(owner_kind, namespace, reference))
        };
        let kept: Vec<Value> = references.iter().filter(lives).cloned().collect();
        if kept.is_empty() && !references.is_empty() {
            // whoever changed it meanwhile may have given it another owner
            match delete::delete(&server.store, &kind, &key, &Deletion::unchanged(&object)).await {
                Ok(_) => {}
                Err(failure) => tracing::debug!(%failure, object = key.path, "an abandoned object is not deleted yet"),
            }
        } else if kept.len() < references.len() {
            let mut free = (*object).clone();
            free["metadata"]["ownerReferences"] = kept.into();
            put(server, &key, &object, free).await;
        }
    }
}

/// All stored objects that fit, with their kinds.
fn all(server: &Server, fits: impl Fn(&Value) -> bool) -> Vec<(Arc<Kind>, Key, Object)> {
    let mut found = vec![];
    for kind in server.kinds.stored() {
        for (path, object) in server.store.list(&kind.resource, "").1 {
            if fits(&object) {
                found.push((kind.clone(), Key { resource: kind.resource.clone(), path }, object));
            }
        }
    }
    found
}

/// The kind that a reference names.
fn referred<'a>(server: &'a Server, reference: &Value) -> Option<&'a Arc<Kind>> {
    server.kinds.iter().find(|kind| reference["kind"] == kind.kind && reference["apiVersion"] == kind.api_version())
}

/// What a reference must name to mean an object.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Owner {
    resource: Arc<str>,
    namespace: String,
    name: String,
    uid: String,
}

impl Owner {
    fn of(kind: &Kind, object: &Value) -> Option<Owner> {
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].as_str().map(str::to_owned);
        let namespace = text("namespace").unwrap_or_default();
        Some(Owner { resource: kind.resource.clone(), namespace, name: text("name")?, uid: text("uid")? })
    }

    fn referred(kind: &Kind, namespace: &Value, reference: &Value) -> Owner {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Owner {
            resource: kind.resource.clone(),
            namespace: text(namespace),
            name: text(&reference["name"]),
            uid: text(&reference["uid"]),
        }
    }
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|x| x == name))
}

/// Objects that name the owner's uid.
fn dependents(server: &Server, uid: &Value) -> Vec<(Arc<Kind>, Key, Object)> {
    all(server, |o| o["metadata"]["ownerReferences"].as_array().is_some_and(|r| r.iter().any(|r| r["uid"] == *uid)))
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
