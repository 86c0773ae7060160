//! What is deleted with kubectl is offered no more at once: nothing else has to happen first.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{DEFAULT, until_ready};
use crate::world::World;

/// Far more than it takes, and far less than what comes by itself.
const AT_ONCE: Duration = Duration::from_secs(20);

#[test]
fn a_deleted_advertisement_or_collection_takes_its_offers_along() {
    let mut world = World::new();
    world.script("p", 1, "");
    world.declare("p");
    world.start("site");
    world.join(&["client"]);
    let make = |kind: &str, spec: serde_json::Value| {
        let (path, name) = (format!("{DEFAULT}/{}s", kind.to_lowercase()), json!({"name": "p"}));
        let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": name, "spec": spec});
        world.ask("POST", &path, Some(&object));
    };
    let is_offered = |world: &World| {
        let shown = world.command(&["agent", "offers", "--state", "client"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("default/p")
    };
    for deleted in ["advertisements", "collections"] {
        make("Collection", json!({"query": "true"}));
        make("Advertisement", json!({"program": "p", "collection": "p", "userMayStart": true}));
        world.until("it is offered", is_offered);
        until_ready(&world, &format!("{DEFAULT}/advertisements/p"), "Succeeded");
        let began = Instant::now();
        world.ask("DELETE", &format!("{DEFAULT}/{deleted}/p"), None);
        world.until("it is offered no more", |world| !is_offered(world));
        assert!(began.elapsed() < AT_ONCE, "{deleted}: {:?}", began.elapsed());
        for left in ["advertisements", "collections"] {
            world.ask("DELETE", &format!("{DEFAULT}/{left}/p"), None);
        }
    }
}
