//! A package is removed while one of its points is off.

use super::{DECLARED, installed, locations};
use crate::world::World;

#[test]
fn a_package_goes_when_every_point_has_removed_it_also_the_one_that_was_off() {
    let mut world = World::new();
    world.package("tool", 1);
    world.package("other", 1);
    world.start("site");
    world.join(&["dp"]);
    for package in ["tool", "other"] {
        world.until("both points hold it", |world| installed(world, package, &[("dp", 1), ("main", 1)]));
    }
    world.stop("dp");
    world.take_out("tool.yaml");
    let object = format!("{DECLARED}/packages/tool");
    let waits = |world: &World| {
        let tool = world.ask("GET", &object, None);
        let is_held = tool["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let is_leaving = tool["metadata"]["deletionTimestamp"].is_string();
        let rows = locations(world, "tool");
        is_held
            && is_leaving
            && rows.contains(&("main".into(), 1, "Removed".into()))
            && rows.contains(&("dp".into(), 1, "RemovalPending".into()))
    };
    world.until("the object waits for the point that is off", waits);
    assert!(!world.published("site/dp", "tool") && world.published("dp", "tool"));
    // The ledger, not the memory of a process.
    world.kill("site");
    world.until("it still waits", waits);

    world.start("dp");
    world.until("the object is gone", |world| world.is_gone(&object));
    assert!(!world.published("dp", "tool"), "not before the content");
    assert!(world.published("dp", "other") && world.published("site/dp", "other"), "the other package stays");
}

#[test]
fn a_package_goes_although_another_one_with_the_same_bytes_is_offered() {
    let mut world = World::new();
    for package in ["kept", "twin"] {
        world.write(&format!("packages/{package}/install.sh"), "#!/bin/sh\ntrue\n");
        world.declare(package);
        world.advertise(package);
    }
    world.start("site");
    world.join(&["client"]);
    for package in ["kept", "twin"] {
        let path = format!("{DECLARED}/advertisements/{package}");
        world.until("it ran", |world| world.ask("GET", &path, None)["status"]["clients"]["succeeded"] == 1);
    }
    world.take_out("twin-offer.yaml");
    world.take_out("twin.yaml");
    world.until("the twin is gone", |world| world.is_gone(&format!("{DECLARED}/packages/twin")));
    assert!(world.published("site/dp", "kept") && !world.published("site/dp", "twin"));
}
