//! Full disks under a whole fleet of real processes: each part has a small disk of its own, which the test fills to the
//! last byte and empties again. What cannot be done is said and waits; nothing else stops, nothing is damaged, and
//! everything is done once there is room, without a restart. Needs a user and mount namespace, no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use rustix::mount::{MountFlags, mount};
use serde_json::Value;

use crate::{
    faults::fleet::{Fleet, Size},
    run::full_disk::{MAY_MOUNT, fill, inside},
    world::unseal,
};

const SMALL: Size = Size { points: 1, access_points: 1, clients: 2 };

/// A fleet in version 1 in which each of `parts`, a path below the scratch directory, is a disk of so many MiB.
fn fleet(parts: &[(&str, u32)]) -> Fleet {
    let mut fleet = Fleet::new(SMALL);
    fleet.publish(1);
    fleet.up();
    for client in ["client-1", "client-2"] {
        ran(&fleet, client, 1);
    }
    for state in ["site", "dp-1"] {
        holds(&fleet, state, 1);
    }
    for (part, mib) in parts {
        let process = part.split('/').next().unwrap();
        fleet.world.stop(process);
        let (path, aside) = (fleet.world.path(part), fleet.world.path("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let options = std::ffi::CString::new(format!("size={mib}m,mode=700")).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&path).status().unwrap();
        assert!(copied.success());
        unseal(&aside);
        fs::remove_dir_all(aside).unwrap();
        fleet.world.start(process);
    }
    fleet
}

fn ran(fleet: &Fleet, client: &str, version: u64) {
    let start = (client.to_owned(), version);
    fleet.world.until(&format!("{client} runs version {version}"), |_| fleet.starts().contains_key(&start));
}

fn holds(fleet: &Fleet, state: &str, version: u64) {
    let name = format!("{version}-");
    fleet.world.until(&format!("{state} holds version {version}"), |_| {
        let versions = fleet.published(state);
        versions.iter().any(|(version, files)| version.starts_with(&name) && *files == fleet.source())
    });
}

/// Waits until a process says that a disk is full, and where.
fn said(fleet: &Fleet, name: &str, words: &[&str]) {
    let log = || fs::read_to_string(fleet.world.path(&format!("{name}.log"))).unwrap_or_default();
    let tells = |line: &str| words.iter().all(|word| line.contains(word));
    fleet.world.until(&format!("{name} says {words:?}"), |_| log().lines().any(tells));
}

/// The databases are whole, and everybody ran every version up to this one once and said so.
fn is_whole(fleet: &mut Fleet, version: u64) {
    let mut messages = Value::Null;
    fleet.world.until("all is known", |_| {
        messages = fleet.status()["advertisements"][0]["messages"].take();
        messages["succeeded"] == 2 * version
    });
    assert_eq!((&messages["started"], &messages["failed"]), (&(2 * version).into(), &0.into()), "{messages}");
    let starts = fleet.starts();
    assert!(starts.len() as u64 == 2 * version && starts.values().all(|count| *count == 1), "{starts:?}");
    for name in ["client-1", "client-2", "cap-1", "dp-1", "site"] {
        fleet.world.stop(name);
    }
    for database in ["site/site.db", "site/api.db", "site/dp/dp.db", "dp-1/dp.db", "client-1/agent.db"] {
        let path = fleet.world.path(database);
        assert!(path.exists(), "{database}");
        let check: String =
            Connection::open(path).unwrap().query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{database}");
    }
}

/// What the site's listener for health answers, and whether that is well.
fn asked(fleet: &Fleet, path: &str) -> (bool, String) {
    let url = format!("http://127.0.0.1:{}{path}", fleet.world.port() + 2);
    fleet.world.runtime().block_on(async {
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().is_success(), answer.text().await.unwrap())
    })
}

fn readiness(fleet: &Fleet) -> (bool, String) {
    asked(fleet, "/readyz")
}

fn package(fleet: &Fleet) -> Value {
    fleet.world.ask("GET", "/apis/waybill.dev/v1alpha1/namespaces/default/packages/tool", None)["status"].take()
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

fn empty(ballast: &Path) {
    fs::remove_file(ballast).unwrap();
}

#[test]
fn a_full_library_holds_a_new_version_up_says_so_and_nothing_else() {
    if !inside("full_disk::a_full_library_holds_a_new_version_up_says_so_and_nothing_else", MAY_MOUNT) {
        return;
    }
    let mut fleet = fleet(&[("site/library", 12)]);
    let ballast = fill(&fleet.world.path("site/library"));
    fleet.publish(2);
    fleet.world.until("the package says why", |_| {
        let status = package(&fleet);
        let shown = ["Ready", "Reconciling"].map(|kind| condition(&status, kind)["reason"].clone());
        shown.contains(&"DiskFull".into()) && condition(&status, "Ready")["message"].to_string().contains("library")
    });
    assert_eq!(package(&fleet)["sourceVersion"], 1, "the version before stays");
    empty(&ballast);
    ran(&fleet, "client-1", 2);
    ran(&fleet, "client-2", 2);
    holds(&fleet, "dp-1", 2);
    is_whole(&mut fleet, 2);
}

#[test]
fn full_points_access_points_and_clients_wait_for_room_and_hold_nobody_up() {
    if !inside("full_disk::full_points_access_points_and_clients_wait_for_room_and_hold_nobody_up", MAY_MOUNT) {
        return;
    }
    let parts = [("dp-1/content", 16), ("cap-1", 8), ("client-1", 16)];
    let mut fleet = fleet(&parts);
    let full = parts.map(|(part, _)| fill(&fleet.world.path(part)));
    let copy = fleet.world.path("cap-1/policy.json");
    let before = fs::read(&copy).unwrap();
    fleet.publish(2);
    ran(&fleet, "client-2", 2);
    holds(&fleet, "site", 2);
    said(&fleet, "cap-1", &["policy.json", "No space left"]);
    said(&fleet, "client-1", &["client-1", "disk is full"]);
    // The site knows where it stands with the point.
    let location = || {
        let all = fleet.world.list("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/contentlocations");
        let ours = |one: &Value| one["status"]["distributionPoint"] == "dp-1" && one["status"]["sourceVersion"] == 2;
        all.into_iter().find(ours).map_or(Value::Null, |mut one| one["status"].take())
    };
    fleet.world.until("the site says why", |_| location().to_string().contains("DiskFull"));
    // And so do the Distribution and the point itself, to whoever looks there first.
    let message = |path: &str| {
        let status = fleet.world.ask("GET", &format!("/apis/waybill.dev/v1alpha1/{path}"), None)["status"].take();
        condition(&status, "Ready")["message"].as_str().unwrap_or_default().to_owned()
    };
    fleet.world.until("the distribution says where and why", |_| {
        message("namespaces/default/distributions/tool").contains("; dp-1: DiskFull: ")
    });
    fleet.world.until("the point says what it has no room for", |_| {
        message("distributionpoints/dp-1").contains("; version 2 of package default/tool: DiskFull: ")
    });
    let tells = |one: &Value| one["reason"] == "DiskFull" && one["text"].to_string().contains("dp-1");
    fleet.world.until("a message says where", |_| fleet.messages().iter().any(tells));
    assert!(!fleet.starts().contains_key(&("client-1".to_owned(), 2)), "nothing begins that cannot be written down");
    assert_eq!(fs::read(&copy).unwrap(), before);

    full.each_ref().iter().for_each(|ballast: &&PathBuf| empty(ballast));
    ran(&fleet, "client-1", 2);
    holds(&fleet, "dp-1", 2);
    fleet.world.until("the access point keeps what is new", |_| fs::read(&copy).unwrap() != before);
    fleet.publish(3);
    ran(&fleet, "client-1", 3);
    ran(&fleet, "client-2", 3);
    holds(&fleet, "dp-1", 3);
    is_whole(&mut fleet, 3);
}

/// Waits until the point has told of its small disk.
fn told_of_disk(fleet: &Fleet) {
    fleet.world.until("it has told of its new disk", |_| {
        let systems = fleet.status()["sites"][0]["systems"].take();
        let ours = |one: &&Value| one["system"] == "dp-1" && one["totalKib"].as_u64().is_some_and(|kib| kib < 64 << 10);
        systems.as_array().into_iter().flatten().any(|one| ours(&one))
    });
}

#[test]
fn a_point_whose_own_database_is_full_tells_it_once() {
    if !inside("full_disk::a_point_whose_own_database_is_full_tells_it_once", MAY_MOUNT) {
        return;
    }
    let mut fleet = fleet(&[("dp-1", 32)]);
    told_of_disk(&fleet);
    let ballast = fill(&fleet.world.path("dp-1"));
    fleet.publish(2);
    let told = |fleet: &Fleet| {
        let tells = |one: &&Value| one["text"].to_string().contains("dp-1 cannot write its database");
        fleet.messages().iter().filter(tells).map(|one| one["reason"].clone()).collect::<Vec<_>>()
    };
    fleet.world.until("the site hears of it", |_| !told(&fleet).is_empty());
    ran(&fleet, "client-1", 2);
    ran(&fleet, "client-2", 2);
    std::thread::sleep(crate::world::SILENCE);
    assert_eq!(told(&fleet), ["DiskFull"]);
    empty(&ballast);
    holds(&fleet, "dp-1", 2);
    fleet.publish(3);
    holds(&fleet, "dp-1", 3);
    ran(&fleet, "client-1", 3);
    ran(&fleet, "client-2", 3);
    assert_eq!(told(&fleet), ["DiskFull"]);
    is_whole(&mut fleet, 3);
}

#[test]
fn a_point_that_is_started_on_a_full_disk_serves_says_so_and_recovers() {
    if !inside("full_disk::a_point_that_is_started_on_a_full_disk_serves_says_so_and_recovers", MAY_MOUNT) {
        return;
    }
    let mut fleet = fleet(&[("dp-1", 32)]);
    told_of_disk(&fleet);
    // Ended in good order, so that nothing that writing needs is left beside its database, and filled to the last byte.
    fleet.world.stop("dp-1");
    let ballast = fill(&fleet.world.path("dp-1"));
    fleet.world.start("dp-1");
    said(&fleet, "dp-1", &["disk is full", "serves what it has"]);
    said(&fleet, "dp-1", &["the distribution point serves"]);
    let tells = |one: &Value| one["text"].to_string().contains("dp-1 cannot write its database");
    fleet.world.until("the site hears of it", |_| {
        fleet.messages().iter().any(|one| tells(one) && one["reason"] == "DiskFull")
    });
    holds(&fleet, "dp-1", 1);
    fleet.publish(2);
    ran(&fleet, "client-1", 2);
    ran(&fleet, "client-2", 2);
    empty(&ballast);
    holds(&fleet, "dp-1", 2);
    fleet.publish(3);
    holds(&fleet, "dp-1", 3);
    ran(&fleet, "client-1", 3);
    ran(&fleet, "client-2", 3);
    is_whole(&mut fleet, 3);
}

#[test]
fn a_site_whose_disk_is_full_goes_on_answering_and_catches_up() {
    if !inside("full_disk::a_site_whose_disk_is_full_goes_on_answering_and_catches_up", MAY_MOUNT) {
        return;
    }
    let mut fleet = fleet(&[("site", 64)]);
    let ballast = fill(&fleet.world.path("site"));
    fleet.publish(2);
    said(&fleet, "site", &["full"]);
    fleet.world.until("it is not ready", |_| !readiness(&fleet).0);
    let (_, why) = readiness(&fleet);
    assert!(why.contains("[-]disk failed: the disk of the state directory is full\n"), "{why}");
    fleet.world.until("a database says why", |_| {
        let (_, why) = readiness(&fleet);
        why.contains("database or disk is full")
    });
    assert!(asked(&fleet, "/healthz").0, "it is alive, and a restart would not help");
    assert_eq!(fleet.status()["packages"][0]["name"], "tool", "what is there can be read");
    assert!(!fleet.starts().contains_key(&("client-1".to_owned(), 2)));
    empty(&ballast);
    fleet.world.until("it is ready again by itself", |_| readiness(&fleet) == (true, "ok\n".to_owned()));
    ran(&fleet, "client-1", 2);
    ran(&fleet, "client-2", 2);
    for state in ["site", "dp-1"] {
        holds(&fleet, state, 2);
    }
    is_whole(&mut fleet, 2);
}
