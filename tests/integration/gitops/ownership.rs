//! Who owns which field, how often an object is written, and what a lost ledger costs.

use std::{collections::BTreeSet, fs, time::Duration};

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;
use waybill::gitops::apply::{FIELD_MANAGER, FILE_ANNOTATION, SYNC_LABEL};

use super::support::{SITE, World, collection, collections};

#[tokio::test(flavor = "multi_thread")]
async fn a_kubectl_edit_of_a_files_field_is_put_back_and_another_field_stays_the_editors() {
    let Some(mut world) = World::new().await else { return };
    let declared = collection("c0", "a").replace("clients: [a]", "clients: [a], query: 'false'");
    world.write("a.yaml", &format!("{declared}{}", collection("c1", "a")));
    world.serve_directory();
    world.until(|state| state.objects == 2).await;

    let edit = json!({
        "spec": { "clients": ["mine"], "query": "true", "suspend": true }, "metadata": { "labels": { "team": "x" } },
    });
    world.edit("Collection", "c0", edit).await;
    world.eventually(async || world.get("Collection", "c0").await.unwrap()["spec"]["query"] == "false").await;
    let object = world.get("Collection", "c0").await.unwrap();
    assert_eq!((&object["spec"]["suspend"], &object["metadata"]["labels"]["team"]), (&json!(true), &json!("x")));
    // A set is owned member by member: the file's is back, the editor's stays.
    let clients: BTreeSet<&str> =
        object["spec"]["clients"].as_array().unwrap().iter().filter_map(|client| client.as_str()).collect();
    assert_eq!(clients, BTreeSet::from(["a", "mine"]));

    // And what is put back is left alone afterwards.
    sleep(Duration::from_millis(300)).await;
    let version = world.get("Collection", "c0").await.unwrap()["metadata"]["resourceVersion"].clone();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.get("Collection", "c0").await.unwrap()["metadata"]["resourceVersion"], version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_taken_out_of_the_file_goes_and_a_deleted_object_comes_back() {
    let Some(mut world) = World::new().await else { return };
    let with_query = collection("x", "a").replace("clients: [a]", "clients: [a], query: 'true'");
    world.write("a.yaml", &format!("{with_query}{}", collection("z", "a")));
    world.serve_directory();
    world.until(|state| state.objects == 2).await;
    world.write("a.yaml", &format!("{}{}", collection("x", "a"), collection("z", "a")));
    world.eventually(async || world.get("Collection", "x").await.unwrap()["spec"].get("query").is_none()).await;

    let before = world.get("Collection", "z").await.unwrap()["metadata"]["uid"].clone();
    world.api("Collection").delete("z", &DeleteParams::default()).await.unwrap();
    world
        .eventually(async || {
            world.get("Collection", "z").await.is_some_and(|object| object["metadata"]["uid"] != before)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_declared_is_never_written_again() {
    let Some(mut world) = World::new().await else { return };
    world.resync = Duration::from_millis(200);
    world.write("a.yaml", &format!("{SITE}{}", collections(0..20)));
    world.serve_directory();
    world.until(|state| state.objects == 21).await;
    let versions = async |world: &World| {
        let mut versions = Vec::new();
        for name in world.names("Collection").await {
            let object = world.get("Collection", &name).await.unwrap();
            versions.push((object["metadata"]["resourceVersion"].clone(), object["metadata"]["generation"].clone()));
        }
        versions
    };
    let before = versions(&world).await;
    // Another file changes, the sync is started anew, statuses are written.
    world.write("b.yaml", &collection("other", "a"));
    world.until(|state| state.objects == 22).await;
    world.api("Collection").delete("other", &DeleteParams::default()).await.unwrap();
    world.stop().await;
    fs::remove_file(world.fleet().join("b.yaml")).unwrap();
    world.serve_directory();
    world.until(|state| state.objects == 21).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(versions(&world).await, before);

    let status = json!({ "status": { "memberCount": 1 } });
    world.api("Collection").patch_status("c0", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let after_status = versions(&world).await;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(versions(&world).await, after_status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_costs_no_object_and_forgets_none() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..8));
    world.write("b.yaml", &collection("goes", "a"));
    world
        .api("Collection")
        .patch(
            "by-hand",
            &PatchParams::apply("somebody"),
            &Patch::Apply(json!({
                "apiVersion": "waybill.dev/v1alpha1", "kind": "Collection",
                "metadata": { "name": "by-hand" }, "spec": { "clients": ["a"] },
            })),
        )
        .await
        .unwrap();
    world.serve_directory();
    world.until(|state| state.objects == 9).await;
    world.stop().await;

    fs::remove_file(world.state().join("ledger.json")).unwrap();
    fs::remove_file(world.fleet().join("b.yaml")).unwrap();
    let uid = world.get("Collection", "c0").await.unwrap()["metadata"]["uid"].clone();
    world.serve_directory();
    world.until(|state| state.objects == 8).await;
    world.eventually(async || world.get("Collection", "goes").await.is_none()).await;
    let object = world.get("Collection", "c0").await.unwrap();
    assert_eq!(object["metadata"]["uid"], uid);
    assert_eq!(object["metadata"]["labels"][SYNC_LABEL], "git");
    assert_eq!(object["metadata"]["annotations"][FILE_ANNOTATION], "a.yaml");
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"));
    assert!(world.get("Collection", "by-hand").await.is_some(), "what others made is not touched");
}
