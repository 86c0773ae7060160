//! The verbs that the chart's hooks run, against the real API server, as users who may what the chart gives the hooks' accounts.

use std::process::{Command, Output};

use k8s_openapi::{
    api::apps::v1::StatefulSet, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    runtime::{conditions::is_deleted, wait::await_condition},
};
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, RealApi, User},
    chart, require,
};

/// Where the fields of a definition's `spec` stand.
const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";

fn run(api: &RealApi, user: &User, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(words).arg("--kubeconfig").arg(api.kubeconfig_file(user, "default")).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Changes a definition as another version of the program would have it.
async fn change(crds: &Api<CustomResourceDefinition>, name: &str, change: impl Fn(&mut Value)) {
    let mut definition = serde_json::to_value(crds.get(name).await.unwrap()).unwrap();
    change(&mut definition);
    crds.replace(name, &PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
}

async fn has(crds: &Api<CustomResourceDefinition>, name: &str, field: &str) -> bool {
    let definition = serde_json::to_value(crds.get(name).await.unwrap()).unwrap();
    definition.pointer(&format!("{SPEC}/{field}")).is_some()
}

/// As a version left it that knew nothing of suspended packages, and so offered no selection of them.
fn forget_suspension(definition: &mut Value) {
    fields(definition).remove("suspend");
    definition.pointer_mut("/spec/versions/0").unwrap().as_object_mut().unwrap().remove("selectableFields");
}

fn fields(definition: &mut Value) -> &mut serde_json::Map<String, Value> {
    definition.pointer_mut(SPEC).unwrap().as_object_mut().unwrap()
}

#[tokio::test]
async fn definitions_are_widened_and_never_narrowed() {
    const HOOK: User = User { name: "hook-crds", group: None };
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let client = api.client(&ADMIN, "default").await;
    chart::give(&client, &chart::rendered(&helm), "waybill-crds", &HOOK).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());

    // As an older version left it, as a newer one did, and not at all.
    change(&crds, "packages.waybill.dev", forget_suspension).await;
    let newer = |definition: &mut Value| drop(fields(definition).insert("newer".into(), json!({"type": "string"})));
    change(&crds, "collections.waybill.dev", newer).await;
    let uid = crds.get("sites.waybill.dev").await.unwrap().uid().unwrap();
    crds.delete("sites.waybill.dev", &DeleteParams::default()).await.unwrap();
    await_condition(crds.clone(), "sites.waybill.dev", is_deleted(&uid)).await.unwrap();
    let said = printed(&run(&api, &HOOK, &["crds", "apply"]));
    for expected in [
        "packages.waybill.dev: brought to this version",
        "collections.waybill.dev: kept as it is: a newer version brought v1alpha1 spec.newer",
        "sites.waybill.dev: created",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(
        has(&crds, "packages.waybill.dev", "suspend").await && has(&crds, "collections.waybill.dev", "newer").await
    );
    let versions = async || {
        let listed = crds.list(&Default::default()).await.unwrap();
        listed.iter().map(|crd| crd.resource_version().unwrap()).collect::<Vec<_>>()
    };
    // Once it owns all of them, it changes nothing more.
    let before = versions().await;
    let said = printed(&run(&api, &HOOK, &["crds", "apply"]));
    assert_eq!(said.matches("is of this version").count(), 7, "{said}");
    assert_eq!(versions().await, before);

    // What a newer version's field holds is still there.
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", "Collection"));
    let collections: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Collection", "metadata": {"name": "kept"},
        "spec": {"query": "true", "newer": "x"}});
    collections.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    printed(&run(&api, &HOOK, &["crds", "apply"]));
    assert_eq!(collections.get("kept").await.unwrap().data["spec"]["newer"], "x");

    // Of another line: it has what we lack and lacks what we have. Nothing is changed, not even what could be.
    change(&crds, "packages.waybill.dev", forget_suspension).await;
    change(&crds, "programs.waybill.dev", |definition| {
        forget_suspension(definition);
        newer(definition);
    })
    .await;
    let before = versions().await;
    let refused = run(&api, &HOOK, &["crds", "apply"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("programs.waybill.dev would lose v1alpha1 spec.newer"),
        "{said}"
    );
    assert_eq!(versions().await, before);

    let refused: Vec<_> = api.requests().into_iter().filter(|r| r.user == HOOK.name && r.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test]
async fn a_release_takes_our_finalizers_and_leaves_those_of_others() {
    const HOOK: User = User { name: "hook-release", group: None };
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let client = api.client(&ADMIN, "default").await;
    chart::give(&client, &chart::rendered(&helm), "waybill-release", &HOOK).await;
    let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
    let set = json!({"metadata": {"name": "waybill"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", "Package"));
    let packages: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let package = |name: &str, finalizers: &[&str]| -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Package",
            "metadata": {"name": name, "finalizers": finalizers}, "spec": {"source": {"none": {}}}}))
        .unwrap()
    };
    for one in [package("ours", &["waybill.dev/content", "example.com/theirs"]), package("free", &[])] {
        packages.create(&PostParams::default(), &one).await.unwrap();
    }
    let status = json!({"status": {"sourceVersion": 4, "digest": "sha256:00", "distribution":
        {"targeted": 1, "installed": 1, "pending": 0, "retrying": 0, "failed": 0, "removing": 0}}});
    packages.patch_status("ours", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    packages.delete("ours", &DeleteParams::default()).await.unwrap();

    // A release that the server refused takes nothing from the one that serves the cluster.
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", "Site"));
    let sites: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let site = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Site", "metadata": {"name": "main"}, "spec": {}});
    sites.create(&PostParams::default(), &serde_json::from_value(site).unwrap()).await.unwrap();
    let served_by = async |pod: &str| {
        let status = json!({"status": {"fleet": {"pod": pod, "port": 7443, "certificateAuthority": ""}}});
        sites.patch_status("main", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    };
    served_by("other/waybill-0").await;
    let words = ["release", "--all", "--statefulset=default/waybill"];
    let said = printed(&run(&api, &HOOK, &words));
    for expected in ["served by pod other/waybill-0, not by default/waybill", "nothing is taken off"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(packages.get("ours").await.unwrap().finalizers().len(), 2);
    assert_eq!(sets.get("waybill").await.unwrap().spec.unwrap().replicas, Some(1), "nor is anything stopped");
    served_by("default/waybill-0").await;
    let said = printed(&run(&api, &HOOK, &words));
    for expected in ["default/waybill is stopped", "finalizers taken off 1 packages"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let row = ["default", "ours", "4", "sha256:00", "1"];
    assert!(said.lines().any(|line| line.split_whitespace().eq(row)), "{said}");
    assert_eq!(sets.get("waybill").await.unwrap().spec.unwrap().replicas, Some(0));
    assert_eq!(packages.get("ours").await.unwrap().finalizers(), ["example.com/theirs"]);
    // Again, with nothing left to do and the server gone.
    sets.delete("waybill", &DeleteParams::default()).await.unwrap();
    let said = printed(&run(&api, &HOOK, &words));
    assert!(said.contains("default/waybill is gone already") && said.contains("taken off 0 packages"), "{said}");
    let all = api.requests();
    let refused: Vec<_> = all.iter().filter(|request| request.user == HOOK.name && request.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
