//! The life of namespaces: those that always exist, and the emptying of those that are being deleted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    admit,
    answer::Answer,
    call::{Call, Server},
    delete::{self, Deletion},
    failure::Failure,
    kinds::Nature,
    read::show,
    store::{Effect, Key, Object, Refusal, Store, Write, version_of},
};

/// Namespaces that exist from the start. Clients take the uid of kube-system for the cluster's.
const ALWAYS: &[&str] = &["default", "kube-system"];

/// Makes the namespaces that always exist.
pub(super) fn prepare(store: &Store) -> Result<(), Refusal> {
    for name in ALWAYS {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": admit::now(),
                "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        let write = Write { key: key(name), expected: None, effect: Effect::Put(object), within: None };
        match store.write_blocking(write) {
            Ok(_) | Err(Refusal::Raced) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn key(name: &str) -> Key {
    Key::new(&"namespaces".into(), "", name)
}

/// Deletes everything inside a terminating namespace; when nothing is left, the namespace itself. Objects with finalizers are waited
/// for. Whether that was all that can be done now.
pub(super) async fn empty(server: &Server, name: &str, namespace: &Object) -> bool {
    if namespace["metadata"]["deletionTimestamp"].is_null() {
        return true;
    }
    let (mut left, mut done) = (0, true);
    for kind in server.kinds.stored().filter(|k| k.namespaced) {
        for (path, object) in server.store.list(&kind.resource, name).1 {
            left += 1;
            if object["metadata"]["deletionTimestamp"].is_string() {
                continue;
            }
            let key = Key { resource: kind.resource.clone(), path };
            match delete::delete(&server.store, kind, &key, &Deletion::default()).await {
                Ok(delete::Deleted::Gone(_)) => left -= 1,
                Ok(delete::Deleted::Waiting(_)) => {}
                Err(f) if f.code == 404 => left -= 1,
                Err(failure) => {
                    tracing::warn!(%failure, namespace = name, "an object of a terminating namespace stays");
                    done = false;
                }
            }
        }
    }
    if left > 0 || namespace["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
        return done;
    }
    if let Err(error) = without_finalizers(&server.store, name, &json!([])).await {
        tracing::debug!(%error, namespace = name, "the namespace is not finalized yet");
        done = false;
    }
    done
}

/// Sets spec.finalizers; a terminating namespace without any ends.
async fn without_finalizers(store: &Store, name: &str, finalizers: &Value) -> Result<Object, Refusal> {
    let Some(live) = store.get(&key(name)) else { return Err(Refusal::Raced) };
    let mut object = (*live).clone();
    object["spec"]["finalizers"] = finalizers.clone();
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    if none(finalizers) {
        object["spec"] = json!({});
    }
    let over = none(finalizers)
        && object["metadata"]["deletionTimestamp"].is_string()
        && none(&object["metadata"]["finalizers"]);
    let effect = if over { Effect::Remove } else { Effect::Put(object.clone()) };
    let write = Write { key: key(name), expected: Some(version_of(&live)), effect, within: None };
    let written = store.write(write).await?;
    Ok(if over { Arc::new(object) } else { written })
}

/// PUT of `/finalize`.
pub(super) async fn finalize(call: &Call<'_>, object: &Value) -> Result<Answer, Failure> {
    debug_assert_eq!(call.kind.nature, Nature::Namespace);
    let store = &call.server.store;
    if store.get(&key(&call.request.name)).is_none() {
        return Err(call.not_found());
    }
    match without_finalizers(store, &call.request.name, &object["spec"]["finalizers"]).await {
        Ok(object) => show(call, 200, &object),
        Err(Refusal::Raced) => Err(Failure::stale("", "namespaces", &call.request.name)),
        Err(e) => Err(Failure::internal(e.to_string())),
    }
}
