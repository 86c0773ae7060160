//! Joining when something is in the way: a site that is not there yet, an identity that is damaged.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::Value;

use crate::world::World;

fn log(world: &World, name: &str) -> String {
    fs::read_to_string(world.path(&format!("{name}.log"))).unwrap_or_default()
}

fn id(world: &World) -> String {
    let session = fs::read(world.path("client/session.json")).unwrap_or_default();
    let session: Value = serde_json::from_slice(&session).unwrap_or_default();
    session["id"].as_str().unwrap_or_default().to_owned()
}

/// A site, and a client of it on which a program has run.
fn with_a_client_that_has_run() -> World {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.start("site");
    world.join(&["client"]);
    world.until("it has run", |world| world.lines().get("tool 1") == Some(&1));
    world
}

#[test]
fn a_machine_that_starts_before_its_site_waits_and_a_refusal_ends_it() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.start("site");
    world.invite("client");
    world.stop("site");
    world.start("client");
    world.until("it says that it waits", |world| {
        log(world, "client").contains("enrolment cannot be reached; trying again")
    });
    world.start("site");
    world.until("it has joined and runs", |world| world.lines().get("tool 1") == Some(&1));
    // The same file again, for another machine: used up.
    fs::copy(world.path("client.json"), world.path("second.json")).unwrap();
    let words = ["agent", "run", "--join", "second.json", "--state", "second", "--config", "agent.json"];
    let output = world.command(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("was used up; create another"), "{said}");
}

#[test]
fn a_copied_state_is_noticed_and_shown() {
    let mut world = with_a_client_that_has_run();
    let clients = |world: &World| world.list("/apis/fleet.waybill.dev/v1alpha1/clients");
    world.until("its outcome is known", |world| {
        let rows = world.list("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses");
        rows.iter().any(|row| row["status"]["state"] == "Succeeded")
    });
    assert_eq!(clients(&world)[0]["status"]["copied"], false);
    world.stop("client");
    let copied = Command::new("cp").arg("-a").arg(world.path("client")).arg(world.path("copy")).status().unwrap();
    assert!(copied.success());
    world.start("client");
    world.start_as("copy", &["agent", "run", "--state", "copy", "--config", "agent.json"]);
    world.package("tool", 2);
    world.until("it is noticed", |world| clients(world)[0]["status"]["copied"] == true);
    assert_eq!(clients(&world).len(), 1);
    world.package("tool", 3);
    world.until("both go on", |world| world.lines().get("tool 3") == Some(&2));
    let said = |words: &[&str]| {
        let output = world.command(&[words, &["--state", "site"]].concat()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let warnings = said(&["messages", "--component", "Security", "--severity", "warning"]);
    assert_eq!(warnings.matches("its state directory was copied to another machine").count(), 1, "{warnings}");
    let status = said(&["status"]);
    assert!(status.contains(&format!("Two machines report as client {}", id(&world))), "{status}");
}

#[test]
fn a_damaged_identity_is_named_and_a_new_join_file_mends_it() {
    let mut world = with_a_client_that_has_run();
    for (file, damaged) in [("session.json", Some(&b"\xff{"[..])), ("device.key", None), ("session.json", Some(b""))] {
        world.stop("client");
        let old = id(&world);
        let path = world.path(&format!("client/{file}"));
        match damaged {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let words = ["agent", "run", "--state", "client", "--config", "agent.json"];
        let output = world.command(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(&format!("{file} is damaged or missing")), "{said}");
        assert!(said.contains("start once with --join and a new join file"), "{said}");
        // What it was told helps.
        world.invite("client");
        world.start("client");
        world.until("it has joined anew", |world| !id(world).is_empty() && id(world) != old);
        world.package("tool", 2);
        world.until("it goes on", |world| world.lines().get("tool 2") == Some(&1));
    }
    assert_eq!(world.lines().values().collect::<Vec<_>>(), [&1, &1], "{:?}", world.lines());
    assert_eq!(fs::read(world.path("client/session.json.damaged")).unwrap(), b"\xff{");
    for kept in ["session.json.damaged", "device.key.damaged", "session.json.damaged-3"] {
        let mode = fs::metadata(world.path("client").join(kept)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{kept}");
    }
}
