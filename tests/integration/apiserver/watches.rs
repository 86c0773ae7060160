//! What watchers are told: events as a selector sees them, from the past, and when the past is gone.

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;

use super::support::{Served, program};

/// The next `count` events as words.
pub(super) async fn events(api: &Api<DynamicObject>, params: WatchParams, version: &str, count: usize) -> Vec<String> {
    let stream = api.watch(&params.timeout(10), version).await.unwrap();
    let events: Vec<_> = stream.take(count).try_collect().await.unwrap();
    events
        .into_iter()
        .map(|e| match e {
            WatchEvent::Added(o) => format!("+{}", o.name_any()),
            WatchEvent::Modified(o) => format!("~{}", o.name_any()),
            WatchEvent::Deleted(o) => format!("-{}", o.name_any()),
            WatchEvent::Bookmark(b) => format!("bookmark {}", b.metadata.annotations.len()),
            WatchEvent::Error(e) => format!("error {}", e.code),
        })
        .collect()
}

#[tokio::test]
async fn the_past_is_told_as_it_happened() {
    let Some(served) = Served::start().await else { return };
    let admin = served.programs().await;
    let a = admin.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    let from = a.resource_version().unwrap();
    let label = |l: &str| Patch::Merge(json!({"metadata": {"labels": {"app": l}}}));
    admin.patch("a", &PatchParams::default(), &label("x")).await.unwrap();
    admin.patch("a", &PatchParams::default(), &label("y")).await.unwrap();
    admin.patch("a", &PatchParams::default(), &label("x")).await.unwrap();
    admin.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(events(&admin, WatchParams::default(), &from, 4).await, ["~a", "~a", "~a", "-a"]);
    let seen = WatchParams::default().labels("app=x");
    assert_eq!(events(&admin, seen, &from, 4).await, ["+a", "-a", "+a", "-a"]);
    assert_eq!(events(&admin, WatchParams::default(), "1", 1).await, ["error 410"]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    let params = WatchParams::default().initial_events();
    assert_eq!(events(&api, params, "0", 2).await, ["+a", "bookmark 1"]);
}

#[tokio::test]
async fn a_reflector_follows() {
    let Some(served) = Served::start().await else { return };
    let api = served.programs().await;
    let mut stream =
        Box::pin(kube::runtime::watcher(api.clone(), kube::runtime::watcher::Config::default().streaming_lists()));
    api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    loop {
        if let kube::runtime::watcher::Event::Apply(o) | kube::runtime::watcher::Event::InitApply(o) =
            stream.try_next().await.unwrap().unwrap()
        {
            assert_eq!(o.name_any(), "a");
            break;
        }
    }
}
