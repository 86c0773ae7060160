//! A served directory: what appears, changes, breaks and vanishes in it.

use std::fs;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::support::{SITE, World, collection, collections, package};

#[tokio::test(flavor = "multi_thread")]
async fn objects_follow_the_files() {
    let Some(mut world) = World::new().await else { return };
    world.write("site.yaml", SITE);
    world.write("a.yaml", &collections(0..4));
    world.serve_directory();
    let first = world.until(|state| state.objects == 5).await;
    assert_eq!(world.names("Collection").await, ["c0", "c1", "c2", "c3"]);
    assert_eq!((first.guard, first.problem, first.diagnostics.len()), (None, None, 0));

    world.write("sub/b.yaml", &collection("later", "x"));
    let second = world.until(|state| state.objects == 6).await;
    assert_ne!(second.revision, first.revision);

    world.write("sub/b.yaml", &collection("later", "z"));
    world.until(|state| state.revision != second.revision).await;
    assert_eq!(world.get("Collection", "later").await.unwrap()["spec"]["clients"][0], "z");

    fs::remove_file(world.fleet().join("sub/b.yaml")).unwrap();
    world.until(|state| state.objects == 5).await;
    assert_eq!(world.names("Collection").await, ["c0", "c1", "c2", "c3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_made_and_never_deleted() {
    let Some(mut world) = World::new().await else { return };
    let text = collection("x", "a").replace("{name: x}", "{name: x, namespace: apps}");
    world.write("a.yaml", &format!("{SITE}{}{text}", collections(0..4)));
    world.serve_directory();
    world.until(|state| state.objects == 6).await;
    let namespaces: Api<Namespace> = Api::all(world.admin());
    assert!(namespaces.get_opt("apps").await.unwrap().is_some());

    world.write("a.yaml", &format!("{SITE}{}", collections(0..4)));
    world.until(|state| state.objects == 5).await;
    let namespace = namespaces.get("apps").await.unwrap();
    assert!(namespace.metadata.deletion_timestamp.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_its_objects_and_stops_no_other() {
    let Some(mut world) = World::new().await else { return };
    world.write("good.yaml", &collections(0..3));
    world.write("bad.yaml", &collections(3..6));
    world.serve_directory();
    world.until(|state| state.objects == 6).await;

    world.write("bad.yaml", &format!("{}kind: [\n", collection("c3", "changed")));
    world.write("good.yaml", &collection("c0", "changed"));
    let state = world.until(|state| state.objects == 4).await;
    assert_eq!(world.names("Collection").await, ["c0", "c3", "c4", "c5"]);
    assert_eq!(world.get("Collection", "c0").await.unwrap()["spec"]["clients"][0], "changed");
    assert_eq!(world.get("Collection", "c3").await.unwrap()["spec"]["clients"][0], "a");
    let shown = state.diagnostics[0].to_string();
    assert!(shown.starts_with("bad.yaml:6:7: ") || shown.starts_with("bad.yaml:7:"), "{shown}");

    world.write("bad.yaml", &collection("c3", "changed"));
    world.until(|state| state.objects == 2 && state.diagnostics.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_object_has_its_place_and_stops_no_other() {
    let Some(mut world) = World::new().await else { return };
    let wrong =
        "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {name: wrong}\nspec:\n  client: [a]\n---\n";
    world.write("a.yaml", &format!("{wrong}{}", collection("right", "a")));
    world.write("b.yaml", &collection("other", "a"));
    world.serve_directory();
    let state = world.until(|state| state.objects == 2).await;
    assert_eq!(world.names("Collection").await, ["other", "right"]);
    let shown = state.diagnostics[0].to_string();
    assert!(shown.starts_with("a.yaml:5:3: ") && shown.ends_with(" 5 |   client: [a]\n   |   ^"), "{shown}");

    world.write("a.yaml", &wrong.replace("client:", "clients:"));
    world.until(|state| state.diagnostics.is_empty() && state.objects == 2).await;
    assert_eq!(world.names("Collection").await, ["other", "wrong"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_editor_does_while_saving_removes_nothing() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..2));
    world.write("b.yaml", &collections(2..8));
    world.serve_directory();
    world.until(|state| state.objects == 8).await;
    let uid = world.get("Collection", "c0").await.unwrap()["metadata"]["uid"].clone();
    let before = world.now().revision;

    fs::write(world.fleet().join("a.yaml"), "").unwrap();
    world.until(|state| state.revision != before).await;
    fs::write(world.fleet().join("a.yaml"), collections(0..2)).unwrap();
    world.until(|state| state.revision == before).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(world.get("Collection", "c0").await.unwrap()["metadata"]["uid"], uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_replaced_is_followed() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..3));
    world.serve_directory();
    world.until(|state| state.objects == 3).await;
    let (aside, fleet) = (world.fleet().with_extension("old"), world.fleet());
    fs::rename(&fleet, &aside).unwrap();
    world.until(|state| state.problem.is_some()).await;
    assert_eq!(world.names("Collection").await.len(), 3);
    fs::create_dir(&fleet).unwrap();
    world.write("a.yaml", &collections(0..4));
    world.until(|state| state.objects == 4 && state.problem.is_none()).await;
    // And the new directory is watched, not only polled once.
    world.write("a.yaml", &collections(0..5));
    world.until(|state| state.objects == 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_objects_of_a_revision_are_there_once_it_counts_as_applied() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &(0..5).map(|n| package(&format!("p{n}"))).collect::<String>());
    world.serve_directory();
    world.until(|state| state.objects > 0).await;
    // `until` waits for the first state that is not applying.
    assert_eq!(world.now().objects, 20);
    for kind in ["Package", "Program", "Distribution", "Advertisement"] {
        assert_eq!(world.names(kind).await.len(), 5, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_objects() {
    let Some(mut world) = World::new().await else { return };
    for file in 0..10 {
        world.write(&format!("{file}.yaml"), &collections(file * 100..(file + 1) * 100));
    }
    world.serve_directory();
    world.until(|state| state.objects == 1000).await;
    assert_eq!(world.names("Collection").await.len(), 1000);
    world.write("0.yaml", &collection("c0", "changed"));
    world.until(|state| state.objects == 901).await;
    assert_eq!(world.get("Collection", "c0").await.unwrap()["spec"]["clients"][0], "changed");
}
