//! The prune guard: what trips it, what does not, and what opens it.

use std::fs;

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use waybill::{api::site::Site, gitops::acknowledge::acknowledge};

use super::support::{SITE, World, collection, collections, package};

#[tokio::test(flavor = "multi_thread")]
async fn one_package_with_all_that_belongs_to_it_does_not_trip_the_guard() {
    let Some(mut world) = World::new().await else { return };
    world.write("site.yaml", &format!("{SITE}{}", collection("everybody", "a")));
    world.write("packages/one/all.yaml", &package("one"));
    world.write("packages/two/all.yaml", &package("two"));
    world.serve_directory();
    world.until(|state| state.objects == 10).await;
    fs::remove_dir_all(world.fleet().join("packages/one")).unwrap();
    let state = world.until(|state| state.objects == 6).await;
    assert_eq!(state.guard, None);
    for kind in ["Package", "Program", "Distribution", "Advertisement"] {
        assert_eq!(world.names(kind).await, ["two"], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_deleted_waits_for_an_acknowledgement_of_that_revision() {
    let Some(mut world) = World::new().await else { return };
    world.write("site.yaml", SITE);
    world.write("large/a.yaml", &collections(0..15));
    world.write("small/b.yaml", &collections(15..20));
    world.commit();
    world.serve_branch();
    world.until(|state| state.objects == 21).await;

    fs::remove_dir_all(world.fleet().join("large")).unwrap();
    world.write("small/c.yaml", &collection("new", "a"));
    let held = world.commit();
    let state = world.until(|state| state.guard.is_some()).await;
    let guard = state.guard.unwrap();
    assert_eq!((guard.revision.as_deref(), guard.removals.len()), (Some(held.as_str()), 15));
    assert!(matches!(guard.owned, 21 | 22), "with or without the new one: {}", guard.owned);
    assert_eq!(world.names("Collection").await.len(), 21, "nothing is removed, the rest is applied");

    world.acknowledge(&"0".repeat(40)).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(world.names("Collection").await.len(), 21);
    world.acknowledge(&held[..7]).await;
    world.until(|state| state.guard.is_none() && state.objects == 7).await;
    assert_eq!(world.names("Collection").await.len(), 6);

    // The next revision that removes too much asks again.
    fs::remove_file(world.fleet().join("site.yaml")).unwrap();
    fs::remove_dir_all(world.fleet().join("small")).unwrap();
    world.commit();
    let state = world.until(|state| state.guard.is_some()).await;
    assert_eq!(state.guard.unwrap().removals.len(), 7, "an empty checkout removes everything, or would");
    assert_eq!(world.names("Collection").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_missing_directory_removes_nothing() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &format!("{SITE}{}", collections(0..3)));
    world.serve_directory();
    world.until(|state| state.objects == 4).await;

    fs::remove_file(world.fleet().join("a.yaml")).unwrap();
    let state = world.until(|state| state.guard.is_some()).await;
    assert_eq!(state.guard.as_ref().unwrap().removals.len(), 4);
    assert!(state.guard.unwrap().revision.is_some() && state.problem.is_none());

    fs::remove_dir(world.fleet()).unwrap();
    let state = world.until(|state| state.problem.is_some()).await;
    let guard = state.guard.unwrap();
    assert_eq!((guard.revision, guard.removals.len()), (None, 4));

    // Also for a sync that was started meanwhile.
    world.stop().await;
    world.serve_directory();
    let state = world.until(|state| state.problem.is_some()).await;
    assert_eq!(state.guard.map(|guard| guard.removals.len()), Some(4));
    assert_eq!(world.names("Collection").await.len(), 3);

    fs::create_dir(world.fleet()).unwrap();
    world.write("a.yaml", &format!("{SITE}{}", collections(0..3)));
    world.until(|state| state.problem.is_none() && state.guard.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_names_what_is_held() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", SITE);
    world.serve_directory();
    world.until(|state| state.objects == 1).await;
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let refused = acknowledge(&world.admin(), revision).await.unwrap_err();
    assert_eq!(refused.to_string(), "no revision is held back, so there is nothing to acknowledge");

    let sites: Api<Site> = Api::all(world.admin());
    let status = json!({ "status": { "sync": { "revision": "r", "objects": 1, "heldRevision": revision } } });
    sites.patch_status("main", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let refused = acknowledge(&world.admin(), "01234").await.unwrap_err();
    assert!(refused.to_string().contains("at least its first 7 digits"), "{refused}");
    let refused = acknowledge(&world.admin(), "1234567").await.unwrap_err();
    assert_eq!(refused.to_string(), format!("revision 1234567 is not held back; {revision} is"));
    assert_eq!(acknowledge(&world.admin(), "0123456").await.unwrap(), revision);
    let annotations = sites.get("main").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations[waybill::api::ACKNOWLEDGE_PRUNE_ANNOTATION], revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_a_revision_does_not_open_the_guard_for_what_it_removes() {
    let Some(mut world) = World::new().await else { return };
    world.write("site.yaml", SITE);
    world.write("a.yaml", &collections(0..40));
    world.commit();
    world.serve_branch();
    world.until(|state| state.objects == 41).await;

    // Another branch altogether, by mistake; and what somebody commits on top of it.
    fs::remove_file(world.fleet().join("a.yaml")).unwrap();
    world.write("b.yaml", &collections(100..270));
    world.commit();
    let both = 41 + 170;
    world.until(|state| state.guard.is_some() && state.objects == both).await;
    world.write("README", "more");
    let head = world.commit();
    let state =
        world.until(|state| state.guard.as_ref().is_some_and(|guard| guard.revision.as_ref() == Some(&head))).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((state.guard.unwrap().removals.len(), world.names("Collection").await.len()), (40, both - 1));
    world.acknowledge(&head).await;
    world.until(|state| state.guard.is_none() && state.objects == 171).await;
}
