//! Events beside objects: of transitions that somebody may want to know of, progress alone is none. One that repeats itself is
//! counted up instead of told again, so that an object that comes and goes does not fill the cluster with its story.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::api::{FIELD_MANAGER, conditions::Readiness};

/// Remembered at most; forgetting them only tells some of them anew.
const REMEMBERED_MAX: usize = 10_000;

/// Whom it is about, the reason, and the sentence: what makes two events the same. A recorder itself would count one with another
/// sentence as a repetition, and lose that.
type Key = (String, &'static str, String);

/// What was told, each with the recorder that counts it.
#[derive(Default)]
pub struct Events(Mutex<HashMap<Key, Recorder>>);

impl Events {
    /// Tells of an object that it is now so.
    pub(super) async fn tell(&self, client: &Client, mut about: ObjectReference, readiness: &Readiness) {
        let type_ = match readiness {
            Readiness::Progressing(..) => return,
            Readiness::Ready(..) => EventType::Normal,
            Readiness::Stalled(..) => EventType::Warning,
        };
        // It is about the object, not about how it was at that moment.
        about.resource_version = None;
        let reason = readiness.reason().as_str();
        let key = (about.uid.clone().unwrap_or_default(), reason, readiness.message().to_owned());
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(readiness.message().to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder(client, &key).publish(&event, &about).await {
            tracing::debug!(%error, "an event was not recorded");
            // The next one begins anew, whatever became of those before.
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    fn recorder(&self, client: &Client, key: &Key) -> Recorder {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX && !all.contains_key(key) {
            all.clear();
        }
        let new = || Recorder::new(client.clone(), Reporter { controller: FIELD_MANAGER.into(), instance: None });
        all.entry(key.clone()).or_insert_with(new).clone()
    }
}
