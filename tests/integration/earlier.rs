//! What a site and a client of an earlier version left is taken up by the present one, and the earlier version stays what it was.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    previous::{self, ADDRESS, Address, PORT},
    world::{SILENCE, World},
};

/// Of every name, kind, right to execute and byte in the folder.
const AS_IT_WAS: &str = "96aabd63032cbf4bd1106e3d1f74795413c4e025d988c52659c61c127b7c8e02";

fn add(hash: &mut Sha256, folder: &Path, below: &Path) {
    let mut entries: Vec<_> = fs::read_dir(folder.join(below)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = below.join(entry.file_name());
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_dir() { Vec::new() } else { fs::read(entry.path()).unwrap() };
        let executable = !metadata.is_dir() && metadata.permissions().mode() & 0o100 != 0;
        hash.update(format!("{}\0{}\0{executable}\0{}\0", path.display(), metadata.is_dir(), content.len()));
        hash.update(content);
        if metadata.is_dir() {
            add(hash, folder, &path);
        }
    }
}

#[test]
fn the_earlier_release_is_never_edited() {
    let mut hash = Sha256::new();
    add(&mut hash, &previous::fixture(""), Path::new(""));
    let is: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        is, AS_IT_WAS,
        "tests/fixtures/previous proves something only as it was; its README says how it is replaced"
    );
}

#[test]
fn a_state_of_an_earlier_version_is_taken_up_and_nothing_runs_twice() {
    let mut world = World::new();
    let (directory, address) = (world.path(".").canonicalize().unwrap(), Address::take());
    previous::unpack(&directory, &address);
    let client = previous::client_id(&directory);
    let (listen, api) = (format!("{ADDRESS}:{PORT}"), format!("{ADDRESS}:{}", PORT - 1));
    world.start_as("site", &["up", "fleet", "--state", "site", "--listen", &listen, "--api-listen", &api]);
    let pid = world.pid("site");
    world.until("the site is up", |world| {
        let text = fs::read(world.path("site/endpoints.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|endpoints| endpoints["pid"] == pid)
    });
    world.start_as("client", &["agent", "run", "--state", "client", "--config", "agent.json"]);

    // The site knows its machine, what that has done, and the version of the package; it made itself the grant that is new.
    let clients = |world: &World| world.list("/apis/fleet.waybill.dev/v1alpha1/clients");
    let began = clients(&world)[0]["status"]["lastSeen"].clone();
    world.until("it is heard of", |world| clients(world)[0]["status"]["lastSeen"] != began);
    let offered = |world: &World, name: &str, state: &str| {
        let path = format!("/apis/waybill.dev/v1alpha1/namespaces/default/advertisements/{name}");
        let status = world.ask("GET", &path, None)["status"].clone();
        status["conditions"][0]["status"] == "True" && status["clients"][state] == 1
    };
    world.until("what ran is known", |world| offered(world, "tool", "succeeded") && offered(world, "broken", "failed"));
    let granted = &world.ask("GET", "/apis/waybill.dev/v1alpha1/sites/main", None)["spec"]["namespaces"];
    assert_eq!(granted[0]["name"], "*");
    let version = |world: &World| {
        let package = "/apis/waybill.dev/v1alpha1/namespaces/default/packages/tool";
        world.ask("GET", package, None)["status"]["sourceVersion"].clone()
    };
    assert_eq!(version(&world), 1);
    std::thread::sleep(SILENCE);
    assert_eq!(previous::lines(&directory), [""; 0], "it ran before, under the earlier version\n{}", world.logs());

    previous::change_package(&directory);
    world.until("the change has run", |_| previous::lines(&directory) == ["ran 2"]);
    world.until("it is told", |world| version(world) == 2 && offered(world, "tool", "succeeded"));
    let names: Vec<_> = clients(&world).iter().map(|one| one["metadata"]["name"].clone()).collect();
    assert_eq!(names, [client], "it is the same machine");
    let output = world.command(&["agent", "history", "--state", "client"]).output().unwrap();
    let history = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((history.matches("Succeeded").count(), history.matches("Failed").count()), (2, 1), "{history}");
    assert_eq!(previous::lines(&directory), ["ran 2"]);
}
