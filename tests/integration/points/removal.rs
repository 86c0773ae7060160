//! The end of packages: with one of their points off, and of declared ones, which is none.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Command};

use serde_json::Value;

use super::{DECLARED, installed, locations, path_of};
use crate::{require, world::World};

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

fn uid(world: &World, object: &str) -> Value {
    world.ask("GET", &format!("{DECLARED}/{object}"), None)["metadata"]["uid"].clone()
}

#[test]
fn what_is_deleted_with_kubectl_but_declared_comes_back_with_content_and_offers() {
    let Some(kubectl) = require::program("kubectl") else { return };
    let mut world = World::new();
    for package in ["tool", "shelved"] {
        world.package(package, 1);
    }
    world.advertise("tool");
    world.up();
    world.until("it ran", |world| world.lines().contains_key("tool 1"));
    for package in ["tool", "shelved"] {
        world.until("both points hold it", |world| installed(world, package, &[("dp", 1), ("main", 1)]));
    }
    let delete = |world: &World, object: &str| {
        let before = uid(world, object);
        let mut command = Command::new(&kubectl);
        command.args(["delete", &object.replacen('/', ".waybill.dev/", 1), "--timeout=30s"]);
        command.env("HOME", world.path("")).env("KUBECONFIG", world.path("site/kubeconfig"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{object}: {}{}", String::from_utf8_lossy(&output.stderr), world.logs());
        world.until("it is there again", |world| uid(world, object).is_string() && uid(world, object) != before);
    };
    let copies = |world: &World| {
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        ["main", "dp"].map(|point| ["tool", "shelved"].map(|package| inode(&path_of(world, package, 1, point))))
    };
    let before = copies(&world);
    delete(&world, "packages/tool");
    delete(&world, "packages/shelved");
    assert_eq!(copies(&world), before, "the content stayed where it was");
    for kind in ["programs", "distributions", "advertisements", "packages"] {
        delete(&world, &format!("{kind}/tool"));
    }
    delete(&world, "collections/everybody");

    let ready = |world: &World, object: &str| {
        let status = &world.ask("GET", &format!("{DECLARED}/{object}"), None)["status"];
        let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
        status["conditions"].as_array().is_some_and(|all| all.iter().any(is_ready))
    };
    for object in ["packages/tool", "packages/shelved", "distributions/tool", "advertisements/tool"] {
        world.until(object, |world| ready(world, object));
    }
    world.script("tool", 2, "true");
    world.until("a change goes out as ever", |world| world.lines().contains_key("tool 2"));
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1), ("tool 2".to_owned(), 1)].into());

    // Out of the files, it goes.
    world.take_out("tool-offer.yaml");
    world.take_out("tool.yaml");
    world.until("it is gone", |world| world.is_gone(&format!("{DECLARED}/packages/tool")));
    assert!(!world.published("site/dp", "tool") && !world.published("dp", "tool"));
}
