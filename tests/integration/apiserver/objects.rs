//! The life of objects through `kube::Client`: every write, its conflicts, status, finalizers, dry run, namespaces.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::support::{Served, program, programs};
use crate::require;

fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    let made = api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    assert_eq!(made.data["spec"]["priority"], 10, "defaults are filled in");
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(code(api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await), 409);

    let mut new = made.clone();
    new.data["spec"]["priority"] = json!(20);
    let replaced = api.replace("a", &PostParams::default(), &new).await.unwrap();
    assert_eq!(replaced.metadata.generation, Some(2));
    assert_eq!(code(api.replace("a", &PostParams::default(), &new).await), 409, "the version is old");

    let merge = Patch::Merge(json!({"spec": {"size": 5}}));
    assert_eq!(api.patch("a", &PatchParams::default(), &merge).await.unwrap().data["spec"]["size"], 5);
    let bad = Patch::Merge(json!({"spec": {"priority": 1000}}));
    assert_eq!(code(api.patch("a", &PatchParams::default(), &bad).await), 422);

    let listed = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert!(api.delete("a", &DeleteParams::default()).await.unwrap().right().is_some(), "gone, so a Status");
    assert_eq!(code(api.get("a").await), 404);
}

#[tokio::test]
async fn apply_owns_fields_and_conflicts_name_the_owner() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    let one = program("a", json!({"command": "run", "size": 1}));
    api.patch("a", &PatchParams::apply("one"), &Patch::Apply(&one)).await.unwrap();
    let two = program("a", json!({"command": "run", "size": 2}));
    assert_eq!(code(api.patch("a", &PatchParams::apply("two"), &Patch::Apply(&two)).await), 409);
    let forced = api.patch("a", &PatchParams::apply("two").force(), &Patch::Apply(&two)).await.unwrap();
    assert_eq!(forced.data["spec"]["size"], 2);
    let again = api.patch("a", &PatchParams::apply("two").force(), &Patch::Apply(&two)).await.unwrap();
    assert_eq!(again.resource_version(), forced.resource_version(), "an apply that changes nothing writes nothing");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    let both = Patch::Merge(json!({"status": {"phase": "Ready"}, "spec": {"size": 9}}));
    let main = api.patch("a", &PatchParams::default(), &both).await.unwrap();
    assert!(main.data.get("status").is_none());
    let status = api
        .patch_status(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {"phase": "Ready"},
        "spec": {"size": 1}})),
        )
        .await
        .unwrap();
    assert_eq!(status.data["status"]["phase"], "Ready");
    assert_eq!(status.data["spec"]["size"], 9);
    assert_eq!(status.metadata.generation, main.metadata.generation);
}

#[tokio::test]
async fn deletion_waits_for_finalizers_and_a_dry_run_changes_nothing() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    let mut a = program("a", json!({"command": "run"}));
    a.metadata.finalizers = Some(vec!["example.dev/x".into()]);
    api.create(&PostParams::default(), &a).await.unwrap();
    api.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert!(api.get("a").await.unwrap().metadata.deletion_timestamp.is_none());
    let waiting = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(code(api.get("a").await), 404);
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_and_takes_nothing_new() {
    let Some(served) = Served::start().await else { return };
    if !served.collects() {
        return require::missing("kube-controller-manager", "it empties deleted namespaces");
    }
    let client = served.admin().await;
    let prod = &served.unique("prod");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let inside: Api<DynamicObject> = Api::namespaced_with(client, prod, &programs());
    assert_eq!(code(inside.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await), 404);
    let object = serde_json::from_value(json!({"metadata": {"name": prod}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let mut held = program("held", json!({"command": "run"}));
    held.metadata.finalizers = Some(vec!["example.dev/x".into()]);
    inside.create(&PostParams::default(), &held).await.unwrap();
    inside.create(&PostParams::default(), &program("free", json!({"command": "run"}))).await.unwrap();

    let ending = namespaces.delete(prod, &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(ending.status.unwrap().phase.as_deref(), Some("Terminating"));
    assert_eq!(code(inside.create(&PostParams::default(), &program("b", json!({"command": "run"}))).await), 403);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    // the emptying runs beside us; it must have marked the object before its finalizer may go for good
    kube::runtime::wait::await_condition(inside.clone(), "held", |o: Option<&DynamicObject>| {
        o.is_some_and(|o| o.metadata.deletion_timestamp.is_some())
    })
    .await
    .unwrap();
    inside.patch("held", &PatchParams::default(), &release).await.unwrap();
    let uid = ending.metadata.uid.unwrap();
    let gone = kube::runtime::conditions::is_deleted(&uid);
    tokio::time::timeout(
        std::time::Duration::from_secs(10),
        kube::runtime::wait::await_condition(namespaces, prod, gone),
    )
    .await
    .unwrap()
    .unwrap();
}

#[tokio::test]
async fn pages_are_of_one_snapshot() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    for n in 0..5 {
        api.create(&PostParams::default(), &program(&format!("p{n}"), json!({"command": "run"}))).await.unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    api.delete("p3", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &program("p9", json!({"command": "run"}))).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    let names: Vec<_> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["p2", "p3", "p4"]);
}

#[tokio::test]
async fn sixty_patches_at_once_all_succeed() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    let patches = (0..60).map(|n| {
        let api = api.clone();
        async move {
            let label = Patch::Merge(json!({"metadata": {"labels": {format!("l{n}"): "x"}}}));
            api.patch("a", &PatchParams::default(), &label).await.unwrap();
        }
    });
    futures::future::join_all(patches).await;
    assert_eq!(api.get("a").await.unwrap().labels().len(), 60);
}

#[tokio::test]
async fn foreground_deletion_waits_for_dependents_and_orphans_are_released() {
    let Some(served) = Served::start().await else { return };
    if !served.collects() {
        return require::missing("kube-controller-manager", "it follows owner references");
    }
    let api = served.programs().await;
    for (owner, kid) in [("one", "kid"), ("two", "orphan")] {
        let made = api.create(&PostParams::default(), &program(owner, json!({"command": "run"}))).await.unwrap();
        let mut child = program(kid, json!({"command": "run"}));
        child.metadata.owner_references = Some(vec![
            serde_json::from_value(json!({"apiVersion": "content.example.dev/v1", "kind": "Program", "name": owner,
                "uid": made.metadata.uid, "blockOwnerDeletion": true}))
            .unwrap(),
        ]);
        api.create(&PostParams::default(), &child).await.unwrap();
    }
    for (name, params) in [("one", DeleteParams::foreground()), ("two", DeleteParams::orphan())] {
        let waiting = api.delete(name, &params).await.unwrap().left().unwrap();
        let uid = waiting.metadata.uid.unwrap();
        let gone = kube::runtime::conditions::is_deleted(&uid);
        let wait = kube::runtime::wait::await_condition(api.clone(), name, gone);
        tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.unwrap().unwrap();
    }
    assert_eq!(code(api.get("kid").await), 404);
    assert!(api.get("orphan").await.unwrap().metadata.owner_references.is_none());
}
