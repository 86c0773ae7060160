//! The CustomResourceDefinitions as objects: what is compiled in or loaded at start can be read like anywhere else.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    admit,
    store::{Effect, Key, Refusal, Store, Write, version_of},
};

/// Makes the stored definitions equal to the documents: new and changed ones are written, others go.
pub(super) fn publish(store: &Store, documents: &[Value]) -> Result<(), Refusal> {
    let resource: Arc<str> = "customresourcedefinitions.apiextensions.k8s.io".into();
    let mut wanted = BTreeSet::new();
    for document in documents {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        wanted.insert(name.to_owned());
        let key = Key::new(&resource, "", name);
        let live = store.get(&key);
        if live.as_ref().is_some_and(|l| l["spec"] == document["spec"]) {
            continue;
        }
        let effect = Effect::Put(definition(document, live.as_deref()));
        store.write_blocking(Write { key, expected: live.map(|l| version_of(&l)), effect, within: None })?;
    }
    for (name, live) in store.list(&resource, "").1 {
        if !wanted.contains(&name) {
            let key = Key::new(&resource, "", &name);
            let write = Write { key, expected: Some(version_of(&live)), effect: Effect::Remove, within: None };
            store.write_blocking(write)?;
        }
    }
    Ok(())
}

/// The document as an established definition.
fn definition(document: &Value, live: Option<&Value>) -> Value {
    let now = admit::now();
    let kept = |field: &str, new: Value| live.map_or(new, |l| l["metadata"][field].clone());
    let generation = live.and_then(|l| l["metadata"]["generation"].as_i64()).unwrap_or(0) + 1;
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    let mut object = document.clone();
    object["apiVersion"] = json!("apiextensions.k8s.io/v1");
    object["kind"] = json!("CustomResourceDefinition");
    object["metadata"]["uid"] = kept("uid", json!(uuid::Uuid::new_v4().to_string()));
    object["metadata"]["creationTimestamp"] = kept("creationTimestamp", json!(now));
    object["metadata"]["generation"] = json!(generation);
    let versions: Vec<&Value> =
        document["spec"]["versions"].as_array().into_iter().flatten().map(|v| &v["name"]).collect();
    object["status"] = json!({
        "acceptedNames": document["spec"]["names"], "storedVersions": versions,
        "conditions": [condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted")],
    });
    object
}
