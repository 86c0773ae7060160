//! What the server does by itself: empties terminating namespaces, follows owner references, and lets old events go. The store
//! says what a change makes due, and of that the state is looked at as it is: how it came about does not matter.

use std::{sync::Weak, time::Duration};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    call::Server,
    collector,
    delete::{self, Deletion},
    kinds::Nature,
    namespaces,
    store::Key,
};

/// How long an event is kept after it was last written; the real server's default.
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// How often old events are looked for.
const EVENTS_EVERY: Duration = Duration::from_secs(60);

/// Changes that come within this time are looked at together, so that a flood of writes costs few looks.
const SETTLE: Duration = Duration::from_millis(20);

/// Objects that are looked at side by side, so that their writes share an fsync.
const AT_ONCE: usize = 64;

/// Runs as long as the server lives.
pub(super) async fn keep(server: Weak<Server>) {
    let Some(mut revisions) = server.upgrade().map(|s| s.store.revisions()) else { return };
    let mut events = tokio::time::interval(EVENTS_EVERY);
    loop {
        revisions.borrow_and_update();
        {
            let Some(server) = server.upgrade() else { return };
            look(&server).await;
        }
        tokio::select! {
            more = revisions.changed() => {
                if more.is_err() {
                    return;
                }
                tokio::time::sleep(SETTLE).await;
            }
            _ = events.tick() => {
                let Some(server) = server.upgrade() else { return };
                forget_events(&server, crate::clock::now()).await;
            }
        }
    }
}

/// Looks at everything that is due.
async fn look(server: &Server) {
    let due = stream::iter(server.store.take_due()).map(async |key| {
        if !look_at(server, &key).await {
            server.store.put_back(key);
        }
    });
    due.buffer_unordered(AT_ONCE).collect().await
}

/// Takes one object a step further; whether that was all that can be done now.
async fn look_at(server: &Server, key: &Key) -> bool {
    let Some(object) = server.store.get(key) else { return true };
    let Some(kind) = server.kinds.stored_as(&key.resource) else { return true };
    let collected = collector::collect(server, kind, key, &object).await;
    collected && (kind.nature != Nature::Namespace || namespaces::empty(server, &key.path, &object).await)
}

/// Deletes the events that nobody wrote for [`EVENT_LIFE`].
async fn forget_events(server: &Server, now: Timestamp) {
    let Some(kind) = server.kinds.stored().find(|k| k.nature == Nature::Event) else { return };
    for (path, event) in server.store.list(&kind.resource, "").1 {
        if last_written(&event).is_some_and(|at| now.duration_since(at).unsigned_abs() > EVENT_LIFE && at < now) {
            let key = Key { resource: kind.resource.clone(), path };
            match delete::delete(&server.store, kind, &key, &Deletion::default()).await {
                Ok(_) => {}
                Err(failure) => tracing::debug!(%failure, event = key.path, "an old event stays"),
            }
        }
    }
}

/// When an event was last written: the newest time of its managers, else its creation.
fn last_written(event: &Value) -> Option<Timestamp> {
    let metadata = &event["metadata"];
    let managers = metadata["managedFields"].as_array().into_iter().flatten().map(|m| &m["time"]);
    managers.chain([&metadata["creationTimestamp"]]).filter_map(|t| t.as_str()?.parse().ok()).max()
}

#[cfg(test)]
mod tests;
