//! The watch of one kind, in which an object that cannot be read concerns nobody else: a newer definition may let in what this
//! version does not know, and one such object must not hide all others of its kind. What was known of it before stays in force,
//! and the object itself says what is wrong. Decides nothing about objects that can be read.

use std::{
    collections::HashSet,
    fmt,
    future::ready,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{
        Controller, WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{Reconciled, present};
use crate::{
    api::{
        FIELD_MANAGER, LAST_APPLIED_ANNOTATION,
        conditions::{Readiness, conditions},
    },
    clock,
    model::reason::Reason,
    transport::kubernetes::in_words,
};

/// Objects that still have to be told that they cannot be read; of more, a later look at the whole kind tells.
const WAITING_MAX: usize = 256;

/// Objects of one kind that are gone and of which nobody was told yet.
const GONE_MAX: usize = 65_536;
/// The same trouble with a watch is told again after this time.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Which objects this version cannot read. Clones are one.
#[derive(Clone)]
pub struct Unreadable {
    uids: Arc<Mutex<HashSet<String>>>,
    tell: mpsc::Sender<Finding>,
}

/// One of them.
pub(super) struct Finding {
    resource: ApiResource,
    metadata: ObjectMeta,
    /// What is wrong, in the words of the decoder.
    error: String,
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unreadable").field(&self.uids().len()).finish()
    }
}

impl Unreadable {
    pub(super) fn new() -> (Self, mpsc::Receiver<Finding>) {
        let (tell, findings) = mpsc::channel(WAITING_MAX);
        (Self { uids: Arc::default(), tell }, findings)
    }

    /// Whether the object with this uid is as it was before it could not be read any more.
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.uids().contains(uid)
    }

    /// Whether there are any: such an object may be missing where all are counted.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.uids().is_empty()
    }

    fn uids(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<K: Reconciled>(&self, object: DeserializeGuard<K>) -> Result<K, Box<ObjectMeta>> {
        match object.0 {
            Ok(mut object) => {
                self.uids().remove(&object.uid().unwrap_or_default());
                without_bookkeeping(object.meta_mut());
                Ok(object)
            }
            Err(unread) => {
                self.uids().insert(unread.metadata.uid.clone().unwrap_or_default());
                let finding = Finding {
                    resource: ApiResource::erase::<K>(&()),
                    metadata: unread.metadata.clone(),
                    error: unread.error,
                };
                // Where there are too many, the object says nothing until the next look at all of its kind.
                let _ = self.tell.try_send(finding);
                Err(Box::new(unread.metadata))
            }
        }
    }
}

/// Takes out what only API server and kubectl read: who wrote which field, and how the object was applied last. It is most of an
/// object, and the stores hold every one.
fn without_bookkeeping(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}

/// The events of one kind on their way to its store.
struct Sorter<K: Reconciled> {
    unreadable: Unreadable,
    known: Store<K>,
    /// Objects named since a list began.
    listed: HashSet<ObjectRef<K>>,
    gone: mpsc::Sender<K>,
}

impl<K: Reconciled> Sorter<K> {
    /// The event as it concerns those that can be read; nothing if it concerns none.
    fn sort(&mut self, event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
        Some(match event {
            Event::Init => {
                self.listed.clear();
                Event::Init
            }
            // What is not named between the beginning and the end is forgotten.
            Event::InitApply(object) => {
                let object = self.unreadable.read(object).or_else(|metadata| self.before(&metadata).ok_or(())).ok()?;
                self.listed.insert(ObjectRef::from_obj(&object));
                Event::InitApply(object)
            }
            Event::InitDone => {
                let missing = |known: &Arc<K>| !self.listed.contains(&ObjectRef::from_obj(&**known));
                self.known.state().into_iter().filter(missing).for_each(|known| self.tell(&known));
                self.listed.clear();
                Event::InitDone
            }
            Event::Apply(object) => Event::Apply(self.unreadable.read(object).ok()?),
            Event::Delete(DeserializeGuard(object)) => {
                let object = object.or_else(|unread| self.before(&unread.metadata).ok_or(Box::new(unread.metadata)));
                let uid = object.as_ref().map_or_else(|metadata| &metadata.uid, |object| &object.meta().uid);
                self.unreadable.uids().remove(uid.as_deref().unwrap_or_default());
                let object = object.ok()?;
                self.tell(&object);
                Event::Delete(object)
            }
        })
    }

    fn before(&self, metadata: &ObjectMeta) -> Option<K> {
        let name = ObjectRef::<K>::new(metadata.name.as_deref().unwrap_or_default());
        let name = match &metadata.namespace {
            Some(namespace) => name.within(namespace),
            None => name,
        };
        self.known.get(&name).map(Arc::unwrap_or_clone)
    }

    fn tell(&self, gone: &K) {
        // Where so many go at once, those who depend on the rest look again by themselves.
        let _ = self.gone.try_send(gone.clone());
    }
}

/// The controller of one kind, and what it hears of.
pub(super) struct Watched<K: Reconciled> {
    pub(super) controller: Controller<K>,
    /// Objects that are gone, as they were last.
    pub(super) gone: mpsc::Receiver<K>,
}

/// The watch of one kind, which the server ends after `timeout`, and the store of what it knows.
pub(super) fn watched<K: Reconciled>(
    client: &Client,
    timeout: Duration,
    unreadable: &Unreadable,
) -> (Watched<K>, Store<K>) {
    let (store, writer) = reflector::store();
    let (sender, gone) = mpsc::channel(GONE_MAX);
    let mut sorter =
        Sorter { unreadable: unreadable.clone(), known: store.clone(), listed: HashSet::new(), gone: sender };
    let config = watcher::Config::default().timeout(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX));
    let events = watcher::watcher(Api::<DeserializeGuard<K>>::all(client.clone()), config);
    let mut troubles = Troubles::default();
    let events = events.inspect(move |event| troubles.note(&K::kind(&()), &K::plural(&()), event.as_ref().err()));
    let readable = events.filter_map(move |event| ready(event.map(|event| sorter.sort(event)).transpose()));
    let objects = reflector::reflector(writer, readable).applied_objects();
    (Watched { controller: Controller::for_stream(objects, store.clone()), gone }, store)
}

/// Says in the log that a watch does not work, and that it does again; of one trouble once in a while.
#[derive(Default)]
struct Troubles {
    last: Option<Instant>,
}

impl Troubles {
    fn note(&mut self, kind: &str, plural: &str, error: Option<&watcher::Error>) {
        let Some(error) = error else {
            if self.last.take().is_some() {
                tracing::info!(kind, "objects are watched again");
            }
            return;
        };
        if self.last.is_some_and(|last| last.elapsed() < SAID_AGAIN) {
            return;
        }
        self.last = Some(Instant::now());
        let said = in_words(error);
        match refusal(error).map(|status| status.code) {
            Some(404) => tracing::error!(
                kind,
                "the cluster has no definition {plural}.waybill.dev: apply it (`waybill crds apply`); nothing is offered meanwhile"
            ),
            Some(403) => tracing::error!(
                kind,
                error = said,
                "this site may not list and watch {plural}.waybill.dev: its role lacks that right; nothing is offered meanwhile"
            ),
            _ => tracing::warn!(kind, error = said, "objects are not watched at the moment; tried again"),
        }
    }
}

fn refusal(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Tells each object that it cannot be read, in its conditions and in the log.
pub(super) async fn tell(client: Client, mut findings: mpsc::Receiver<Finding>) {
    while let Some(finding) = findings.recv().await {
        let (kind, name) = (&finding.resource.kind, finding.metadata.name.as_deref().unwrap_or_default());
        tracing::warn!(%kind, object = name, error = finding.error, "an object cannot be read; all others are");
        if let Err(error) = write(&client, &finding).await {
            tracing::warn!(%kind, object = name, error = in_words(&error), "it could not be told so in its status");
        }
    }
}

async fn write(client: &Client, finding: &Finding) -> Result<(), kube::Error> {
    let name = finding.metadata.name.as_deref().unwrap_or_default();
    let objects: Api<DynamicObject> = match finding.metadata.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &finding.resource),
        None => Api::all_with(client.clone(), &finding.resource),
    };
    let Some(object) = present::find(&objects, name).await? else { return Ok(()) };
    let present: Map<String, Value> = object.data["status"].as_object().cloned().unwrap_or_default();
    let text = format!(
        "this version of Waybill cannot read it: {}; take that out, or bring the site to the version that knows it",
        finding.error
    );
    let readiness = Readiness::Stalled(Reason::InvalidSpec, text);
    let before: Vec<Condition> =
        present.get("conditions").and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let mut status = present.clone();
    status.insert("observedGeneration".into(), generation.into());
    status.insert("conditions".into(), json!(conditions(&readiness, &[], generation, &before, clock::now())));
    if status == present {
        return Ok(());
    }
    let metadata = json!({"name": name, "namespace": finding.metadata.namespace});
    let body = json!({"apiVersion": finding.resource.api_version, "kind": finding.resource.kind,
        "metadata": metadata, "status": status});
    let params = PatchParams::apply(FIELD_MANAGER).force();
    objects.patch_status(name, &params, &Patch::Apply(&body)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use kube::core::error_boundary::InvalidObject;

    use super::*;
    use crate::api::package::Package;

    fn package(name: &str, uid: &str, generation: i64) -> Package {
        let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Package",
            "metadata": {"name": name, "namespace": "n", "uid": uid, "generation": generation},
            "spec": {"source": {"none": {}}}});
        serde_json::from_value(object).unwrap()
    }

    fn unread(name: &str, uid: &str) -> DeserializeGuard<Package> {
        DeserializeGuard(Err(InvalidObject {
            error: "unknown field `tomorrow`".into(),
            metadata: package(name, uid, 2).metadata,
        }))
    }

    fn good(name: &str, uid: &str) -> DeserializeGuard<Package> {
        DeserializeGuard(Ok(package(name, uid, 1)))
    }

    /// Names that the store knows after these events.
    fn names(store: &Store<Package>) -> Vec<String> {
        let mut names: Vec<String> = store.state().iter().map(|one| one.name_any()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_api_server_and_kubectl_keep_in_objects_is_not_kept_here() {
        let mut applied = package("a", "1", 1);
        applied.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        let annotations = [(LAST_APPLIED_ANNOTATION, "{}"), ("waybill.dev/reconcile-now", "1")];
        applied.metadata.annotations = Some(annotations.map(|(key, value)| (key.into(), value.into())).into());
        let (unreadable, _findings) = Unreadable::new();
        let known = unreadable.read(DeserializeGuard(Ok(applied))).unwrap();
        assert_eq!(known.metadata.managed_fields, None);
        assert_eq!(known.annotations().keys().collect::<Vec<_>>(), ["waybill.dev/reconcile-now"]);
    }

    #[test]
    fn what_cannot_be_read_hides_nobody_and_stays_as_it_was() {
        let (unreadable, mut findings) = Unreadable::new();
        let (store, mut writer) = reflector::store();
        let (sender, mut gone) = mpsc::channel(8);
        let mut sorter =
            Sorter { unreadable: unreadable.clone(), known: store.clone(), listed: HashSet::new(), gone: sender };
        let mut play = |event| {
            let sorted = sorter.sort(event);
            sorted.iter().for_each(|event| writer.apply_watcher_event(event));
            (names(&store), unreadable.holds("1"), unreadable.holds("2"))
        };
        let none: [&str; 0] = [];
        play(Event::Init);
        play(Event::InitApply(unread("odd", "2")));
        play(Event::InitApply(good("a", "1")));
        assert_eq!(play(Event::InitDone), (vec!["a".into()], false, true));
        assert_eq!(findings.try_recv().unwrap().metadata.name.as_deref(), Some("odd"));

        // Known before: it stays, also over a new list of everything.
        assert_eq!(play(Event::Apply(unread("a", "1"))), (vec!["a".into()], true, true));
        play(Event::Init);
        play(Event::InitApply(unread("a", "1")));
        play(Event::InitApply(good("odd", "2")));
        assert_eq!(play(Event::InitDone), (vec!["a".into(), "odd".into()], true, false));
        assert_eq!(store.get(&ObjectRef::new("a").within("n")).unwrap().metadata.generation, Some(1));

        // Mended, and gone.
        assert!(!play(Event::Apply(good("a", "1"))).1);
        play(Event::Apply(unread("a", "1")));
        assert_eq!(play(Event::Delete(unread("a", "1"))), (vec!["odd".into()], false, false));
        assert_eq!(gone.try_recv().unwrap().name_any(), "a");
        // Gone while nobody watched.
        play(Event::Init);
        assert_eq!(play(Event::InitDone).0, none);
        assert_eq!(gone.try_recv().unwrap().name_any(), "odd");
        assert!(gone.try_recv().is_err());
    }
}
