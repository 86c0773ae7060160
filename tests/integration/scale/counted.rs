//! Counts at the API server: watches that were there before, and every write they saw. What is right, the test says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams},
    core::GroupVersionKind,
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// What the API server did: how often each object was written, and what its `Ready` was.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) writes: BTreeMap<String, u32>,
    /// Every write in words, for the report of a failure.
    story: BTreeMap<String, Vec<String>>,
    /// Writes that changed the status or reason of `Ready`.
    pub(super) turns: BTreeMap<String, u32>,
    pub(super) ready: BTreeMap<String, (String, String)>,
    pub(super) now: BTreeMap<String, Value>,
    pub(super) leases: u32,
    last: Option<Instant>,
}

impl Seen {
    fn note(&mut self, deleted: bool, object: &DynamicObject) {
        let value = serde_json::to_value(object).unwrap();
        let kind = value["kind"].as_str().unwrap_or_default().to_owned();
        self.last = Some(Instant::now());
        if kind == "Lease" {
            self.leases += 1;
            return;
        }
        if kind == "Event" {
            let about = &value["regarding"];
            let about = if about.is_object() { about } else { &value["involvedObject"] };
            let text = |field: &str| about[field].as_str().unwrap_or_default();
            let name = format!("events of {}", name(text("kind"), text("namespace"), text("name")));
            *self.writes.entry(name).or_default() += 1;
            return;
        }
        let name = name(&kind, &object.namespace().unwrap_or_default(), &object.name_any());
        *self.writes.entry(name.clone()).or_default() += 1;
        let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|one| one["type"] == "Ready");
        let ready = ready.map(|one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
            (text("status"), text("reason"))
        });
        let mut line = format!("finalizers {} ", value["metadata"]["finalizers"]);
        let _ = write!(line, "status {}", value["status"]);
        self.story.entry(name.clone()).or_default().push(line);
        if let Some(ready) = ready
            && self.ready.insert(name.clone(), ready.clone()) != Some(ready)
        {
            *self.turns.entry(name.clone()).or_default() += 1;
        }
        if deleted {
            self.now.remove(&name);
        } else {
            self.now.insert(name, value);
        }
    }

    pub(super) fn is_ready(&self, name: &str) -> bool {
        self.ready.get(name).is_some_and(|(status, _)| status == "True")
    }

    pub(super) fn tell(&self, name: &str) -> String {
        format!("{name}:\n  {}", self.story.get(name).map(|lines| lines.join("\n  ")).unwrap_or_default())
    }
}

pub(super) fn name(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

/// Watches that count from the moment they are made.
pub(super) struct Watches {
    pub(super) seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watches {
    pub(super) async fn start(client: &Client) -> Self {
        let (seen, mut tasks) = (Arc::new(Mutex::new(Seen::default())), Vec::new());
        for resource in resources() {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let mut version =
                api.list_metadata(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
            let seen = seen.clone();
            tasks.push(tokio::spawn(async move {
                let params = WatchParams::default().timeout(290);
                loop {
                    let mut events = api.watch(&params, &version).await.unwrap().boxed();
                    // A watch that ends is continued where it ended: no write is missed, none is counted twice.
                    while let Some(event) = events.try_next().await.unwrap_or_default() {
                        let object = match &event {
                            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                                object
                            }
                            WatchEvent::Bookmark(bookmark) => {
                                version.clone_from(&bookmark.metadata.resource_version);
                                continue;
                            }
                            WatchEvent::Error(status) => panic!("{status:?}"),
                        };
                        version = object.resource_version().unwrap();
                        seen.lock().unwrap().note(matches!(event, WatchEvent::Deleted(_)), object);
                    }
                }
            }));
        }
        Self { seen, tasks }
    }

    pub(super) fn quiet_for(&self, time: Duration) -> bool {
        self.seen.lock().unwrap().last.is_some_and(|last| last.elapsed() >= time)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Every kind of ours, and what Kubernetes' own machinery would write beside them.
pub(super) fn resources() -> Vec<ApiResource> {
    let own = waybill::api::crds().into_iter().map(|crd| {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(&crd.spec.group, "v1alpha1", &crd.spec.names.kind),
            &crd.spec.names.plural,
        )
    });
    let foreign = [("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease")];
    let foreign = foreign.map(|(group, kind)| ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)));
    own.chain(foreign).collect()
}
