//! Objects that Argo CD or Flux applies are theirs: a site beside the real API server takes no field of them, changes none, and
//! what they apply again, as they do every few minutes, changes nothing.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, RealApi},
    tenure::site::Place,
};

/// The field managers of the tools, and an annotation by which each knows its own.
const OWNERS: [(&str, &str); 2] = [
    ("argocd-controller", "argocd.argoproj.io/tracking-id"),
    ("kustomize-controller", "kustomize.toolkit.fluxcd.io/checksum"),
];

/// One object of every kind, as the tool applies it.
fn manifests(annotation: &str) -> Vec<Value> {
    let kinds = [
        ("Site", "main", json!({"namespaces": [{"name": "default"}]})),
        ("ClientAgentConfig", "main", json!({"reportOutput": "Always"})),
        ("DistributionPoint", "main", json!({})),
        ("Package", "tool", json!({"source": {"directory": {"path": "tool"}}})),
        ("Program", "tool", json!({"packageRef": "tool", "argv": ["run.sh"]})),
        ("Distribution", "tool", json!({"package": "tool", "distributionPoints": {"all": {}}})),
        ("Collection", "tool", json!({"query": "true"})),
        (
            "Advertisement",
            "tool",
            json!({"program": "tool", "collection": "tool", "assignments": [{"asSoonAsPossible": {}}],
                "rerun": "OncePerVersion"}),
        ),
    ];
    let known: BTreeSet<String> = waybill::api::crds().iter().map(|crd| crd.spec.names.kind.clone()).collect();
    assert_eq!(known, kinds.iter().map(|(kind, ..)| (*kind).to_owned()).collect(), "every kind");
    let manifest = |(kind, name, spec)| {
        json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "spec": spec, "metadata": {"name": name,
            "labels": {"app.kubernetes.io/instance": "fleet"}, "annotations": {annotation: "fleet"}}})
    };
    kinds.into_iter().map(manifest).collect()
}

fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
    match kind {
        "Site" | "ClientAgentConfig" | "DistributionPoint" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), "default", &resource),
    }
}

/// Applies a manifest. Without force a field that somebody else has changed would be a conflict.
async fn apply(client: &Client, owner: &str, manifest: &Value, force: bool) -> DynamicObject {
    let (kind, name) = (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap());
    let params = PatchParams { force, ..PatchParams::apply(owner) };
    objects(client, kind).patch(name, &params, &Patch::Apply(manifest)).await.unwrap()
}

async fn live(client: &Client, manifest: &Value) -> DynamicObject {
    let (kind, name) = (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap());
    objects(client, kind).get(name).await.unwrap()
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array().into_iter().flatten();
    let of_now = |one: &&Value| one["observedGeneration"].as_i64() == object.metadata.generation;
    conditions.filter(of_now).any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// What a writer that is none of the tools has besides status: the finalizer of a package, and the site's first word of itself.
fn foreign_fields(object: &DynamicObject) -> Vec<String> {
    let is_tool = |entry: &&ManagedFieldsEntry| {
        entry.subresource.is_none() && OWNERS.iter().all(|(owner, _)| entry.manager.as_deref() != Some(owner))
    };
    let mut found = Vec::new();
    for entry in object.managed_fields().iter().filter(is_tool) {
        let fields = entry.fields_v1.as_ref().map(|fields| fields.0.clone()).unwrap_or_default();
        for (part, below) in fields.as_object().into_iter().flatten() {
            let names = below.as_object().into_iter().flat_map(|below| below.keys());
            found.extend(names.filter(|name| *name != ".").map(|name| format!("{part} {name}")));
        }
    }
    found
}

#[test]
fn what_a_gitops_tool_applies_is_its_own_and_applied_again_changes_nothing() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    let site = place.serve();
    let _machine = place.join(&site, "machine", &json!({}));
    let client = place.block_on(api.client(&ADMIN, "default"));
    for (version, (owner, annotation)) in (1..).zip(OWNERS) {
        // New content each time: the site has something to do with every object.
        place.source(version);
        let manifests = manifests(annotation);
        let mut generations = Vec::new();
        for manifest in &manifests {
            generations.push(place.block_on(apply(&client, owner, manifest, true)).metadata.generation);
        }
        place.until_lines(&["ran 1", "ran 2"][..version as usize]);
        for (manifest, generation) in manifests.iter().zip(generations) {
            let what = format!("{} of {owner}", manifest["kind"]);
            place.until(&format!("{what} is ready"), || is_ready(&place.block_on(live(&client, manifest))));
            // The figures in its status may change in between; the rest may not.
            place.until(&format!("{what} is not changed by being applied again"), || {
                let before = place.block_on(live(&client, manifest));
                let again = place.block_on(apply(&client, owner, manifest, false));
                before.resource_version() == again.resource_version()
            });
            let object = place.block_on(live(&client, manifest));
            assert_eq!(object.metadata.generation, generation, "{what}: nobody writes its spec");
            assert_eq!(object.labels()["app.kubernetes.io/instance"], "fleet", "{what}");
            assert_eq!(object.annotations()[annotation], "fleet", "{what}");
            assert!(!object.labels().keys().any(|label| label.starts_with("waybill.dev/")), "{what}: no sync has it");
            let expected: &[&str] = if manifest["kind"] == "Package" { &["f:metadata f:finalizers"] } else { &[] };
            assert_eq!(foreign_fields(&object), expected, "{what}");
        }
    }
    assert_eq!(place.site()["status"]["sync"], Value::Null, "a site in a cluster has no sync of its own");
}
