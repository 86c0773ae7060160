//! What the kinds promise: their rules, what never changes in them, whose clock their times follow, what `suspend` stops,
//! and that a revision is taken as a whole.

mod deleted;
mod faulty;
mod grants;
mod reasons;
mod revision;
mod rules;
mod summaries;
mod suspend;
mod times;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::world::World;

/// The objects of the namespace that tests use.
pub(crate) const DEFAULT: &str = "/apis/waybill.dev/v1alpha1/namespaces/default";
/// The objects of no namespace.
pub(crate) const CLUSTER: &str = "/apis/waybill.dev/v1alpha1";

/// What a query of the site's database counts.
pub(crate) fn count(world: &World, query: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(world.path("site/site.db"), flags).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

/// Every client's policy body, by its digest.
fn bodies(world: &World) -> Vec<(String, String)> {
    let database = Connection::open_with_flags(world.path("site/site.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = database.prepare("SELECT client, body FROM leaves ORDER BY client").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn spec(world: &World, path: &str, spec: Value) {
    let done = world.ask("PATCH", path, Some(&json!({"spec": spec})));
    assert!(done.is_object(), "{path}");
}

/// Asks for a reconcile and waits until it was handled.
fn reconcile(world: &World, path: &str, token: &str) {
    world.ask("PATCH", path, Some(&json!({"metadata": {"annotations": {"waybill.dev/reconcile-at": token}}})));
    world.until(&format!("{path} handles {token}"), |world| {
        world.ask("GET", path, None)["status"]["lastHandledReconcileAt"] == token
    });
}

/// Reason of the condition Ready, once it speaks of the present generation; empty before.
pub(crate) fn ready(world: &World, path: &str) -> String {
    let object = world.ask("GET", path, None);
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|one| one["type"] == "Ready");
    match ready {
        Some(one) if one["observedGeneration"] == object["metadata"]["generation"] => {
            one["reason"].as_str().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

pub(crate) fn until_ready(world: &World, path: &str, reason: &str) {
    world.until(&format!("{path} is {reason}"), |world| ready(world, path) == reason);
}
