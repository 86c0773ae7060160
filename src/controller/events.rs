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
use tokio::time::Instant;

use crate::api::{FIELD_MANAGER, conditions::Readiness};

/// Remembered at most, those told last: each keeps the whole event. What repeats itself does so soon; told again after it was
/// forgotten, it is an event of its own.
const REMEMBERED_MAX: usize = 1_024;

/// Whom it is about, the reason, and the sentence: what makes two events the same. A recorder itself would count one with another
/// sentence as a repetition, and lose that.
type Key = (String, &'static str, String);

/// The recorder that counts one, and when it told it last.
struct Told {
    recorder: Recorder,
    at: Instant,
}

/// What was told.
#[derive(Default)]
pub struct Events(Mutex<HashMap<Key, Told>>);

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
            let longest_ago = all.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone());
            longest_ago.and_then(|key| all.remove(&key));
        }
        let new = || Recorder::new(client.clone(), Reporter { controller: FIELD_MANAGER.into(), instance: None });
        let told = all.entry(key.clone()).or_insert_with(|| Told { recorder: new(), at: Instant::now() });
        told.at = Instant::now();
        told.recorder.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_told_longest_ago_are_forgotten_first() {
        let nobody = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        let (client, events) = (Client::new(nobody, "default"), Events::default());
        let key = |number: usize| (number.to_string(), "Succeeded", "serving".to_owned());
        for number in 0..REMEMBERED_MAX {
            events.recorder(&client, &key(number));
        }
        events.recorder(&client, &key(0));
        events.recorder(&client, &key(REMEMBERED_MAX));
        let all = events.0.lock().unwrap();
        assert_eq!(all.len(), REMEMBERED_MAX);
        assert!(all.contains_key(&key(0)), "it was told again");
        assert!(!all.contains_key(&key(1)), "it was told longest ago");
    }
}
