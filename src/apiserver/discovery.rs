//! Discovery documents, aggregated and plain, made from the kinds.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest;
use serde_json::{Value, json};

use super::kinds::{Kind, Kinds, Nature};

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// Subresources and their verbs.
fn subresources(kind: &Kind) -> Vec<(&'static str, &'static [&'static str])> {
    let mut out: Vec<(&str, &[&str])> = vec![];
    if kind.nature == Nature::Namespace {
        out.push(("finalize", &["update"]));
    }
    if kind.status_subresource {
        out.push(("status", STATUS_VERBS));
    }
    out
}

/// Groups other than the core one, in order.
fn group_names(kinds: &Kinds) -> Vec<&str> {
    let mut names: Vec<&str> = vec![];
    for (group, _) in kinds.group_versions() {
        if !group.is_empty() && !names.contains(&group) {
            names.push(group);
        }
    }
    names
}

fn versions<'a>(kinds: &'a Kinds, group: &str) -> Vec<&'a str> {
    kinds.group_versions().into_iter().filter(|(g, _)| *g == group).map(|(_, v)| v).collect()
}

/// `APIGroupDiscoveryList` of the core group or of all others.
pub(super) fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let names = if core { vec![""] } else { group_names(kinds) };
    let items: Vec<Value> = names
        .into_iter()
        .map(|group| {
            let versions: Vec<Value> = versions(kinds, group)
                .into_iter()
                .map(|version| {
                    let here = kinds.iter().filter(|k| k.group == group && k.version == version);
                    json!({"version": version, "freshness": "Current", "resources": here.map(|k| resource(k)).collect::<Vec<_>>()})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !core {
                metadata["name"] = json!(group);
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn resource(kind: &Kind) -> Value {
    let mut out = json!({
        "resource": kind.plural, "responseKind": kind.gvk(), "singularResource": kind.singular, "verbs": kind.verbs,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
    });
    let subs: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, verbs)| json!({"subresource": name, "responseKind": kind.gvk(), "verbs": verbs}))
        .collect();
    for (name, list) in
        [("shortNames", json!(kind.short_names)), ("categories", json!(kind.categories)), ("subresources", json!(subs))]
    {
        if list.as_array().is_some_and(|l| !l.is_empty()) {
            out[name] = list;
        }
    }
    out
}

/// `APIGroupList`.
pub(super) fn groups(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = group_names(kinds).into_iter().map(|g| group_members(kinds, g)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `APIGroup` of one group.
pub(super) fn group(kinds: &Kinds, name: &str) -> Option<Value> {
    if versions(kinds, name).is_empty() {
        return None;
    }
    let mut group = group_members(kinds, name);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn group_members(kinds: &Kinds, name: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, name)
        .into_iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// `APIResourceList` of one group version.
pub(super) fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let here: Vec<&Kind> = kinds.iter().filter(|k| k.group == group && k.version == version).map(|k| &**k).collect();
    let first = here.first()?;
    let resources: Vec<Value> = here.iter().flat_map(|k| entries(k)).collect();
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": resources}),
    )
}

fn entries(kind: &Kind) -> Vec<Value> {
    let mut main = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs});
    if !kind.short_names.is_empty() {
        main["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        main["categories"] = json!(kind.categories);
    }
    if kind.is_stored() {
        main["storageVersionHash"] = json!(storage_hash(kind));
    }
    let subs = subresources(kind).into_iter().map(|(name, verbs)| {
        json!({"name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs})
    });
    std::iter::once(main).chain(subs).collect()
}

/// A short hash that changes when objects are stored in another version: of `group/version/kind`.
fn storage_hash(kind: &Kind) -> String {
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    STANDARD.encode(&digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..8])
}
