//! `suspend` on each kind: what it stops, what goes on meanwhile, and that the end of it brings everything up to date.

use serde_json::json;

use super::{CLUSTER, DEFAULT, bodies, count, ready, reconcile, spec, until_ready};
use crate::world::{HEAD, World};

/// A site with one package, offered to one client, everything at rest.
fn at_rest() -> World {
    let mut world = World::new();
    world.script("p", 1, "");
    world.declare("p");
    world.advertise("p");
    world.start("site");
    world.join(&["client"]);
    world.until("the first run", |world| world.lines().get("p 1") == Some(&1));
    until_ready(&world, &format!("{DEFAULT}/advertisements/p"), "Succeeded");
    world
}

/// The states of a version's copies, as the ledger has them.
fn copies(world: &World, version: u32, which: &str) -> i64 {
    count(world, &format!("SELECT count(*) FROM locations WHERE source_version = {version} AND {which}"))
}

const HELD: &str = "state = 'Installed' AND wanted = 'Hold'";

fn version(world: &World) -> i64 {
    world.ask("GET", &format!("{DEFAULT}/packages/p"), None)["status"]["sourceVersion"].as_i64().unwrap_or_default()
}

/// Changes a file of the served directory: what a file says is nobody else's to change.
fn edit(world: &World, file: &str, old: &str, new: &str) {
    let text = std::fs::read_to_string(world.path("fleet").join(file)).unwrap();
    assert!(text.contains(old), "{text}");
    world.write(file, text.replace(old, new));
}

/// Lets the collection's query answer this, and waits until the collection has it.
fn query(world: &World, old: &str, new: &str) {
    edit(world, "everybody.yaml", &format!("query: '{old}'"), &format!("query: '{new}'"));
    let path = format!("{DEFAULT}/collections/everybody");
    world.until("the query", |world| world.ask("GET", &path, None)["spec"]["query"] == new);
}

fn suspend(world: &World, path: &str, yes: bool) {
    spec(world, path, json!({"suspend": yes}));
    if yes {
        until_ready(world, path, "Suspended");
    }
}

#[test]
fn a_suspended_object_keeps_what_it_did_last_and_catches_up_afterwards() {
    let world = at_rest();
    let path = |kind: &str, name: &str| format!("{DEFAULT}/{kind}/{name}");
    let (package, program, distribution) = (path("packages", "p"), path("programs", "p"), path("distributions", "p"));

    // Package: the source is not read
    suspend(&world, &package, true);
    world.script("p", 2, "");
    reconcile(&world, &package, "a");
    assert_eq!(version(&world), 1);
    suspend(&world, &package, false);
    world.until("version 2", |world| version(world) == 2 && copies(world, 2, HELD) == 1);
    world.until("its run", |world| world.lines().get("p 2") == Some(&1));

    // Program: clients keep what they were told
    let records = || count(&world, "SELECT count(*) FROM records");
    let before = records();
    suspend(&world, &program, true);
    edit(&world, "p.yaml", "argv: [install.sh]", "argv: [install.sh, loudly]");
    world.until("the edit", |world| world.ask("GET", &program, None)["spec"]["argv"][1] == "loudly");
    until_ready(&world, &program, "Suspended");
    reconcile(&world, &package, "b");
    assert_eq!(records(), before);
    suspend(&world, &program, false);
    world.until("a record with the edit", |_| records() == before + 1);

    // Distribution, then its point: nothing new is copied, what is there stays
    let point = format!("{CLUSTER}/distributionpoints/main");
    for (number, path) in [(3_u32, &distribution), (4, &point)] {
        suspend(&world, path, true);
        world.script("p", u64::from(number), "");
        world.until("a new version", |world| version(world) == i64::from(number));
        reconcile(&world, &distribution, &format!("c{number}"));
        reconcile(&world, &package, &format!("c{number}"));
        assert_eq!(copies(&world, number, "true"), 0, "{path}: no new copies");
        assert_eq!(copies(&world, number - 1, HELD), 1, "{path}: what it holds stays");
        suspend(&world, path, false);
        world.until("the copy", |world| copies(world, number, HELD) == 1);
        world.until("its run", |world| world.lines().get(&format!("p {number}")) == Some(&1));
    }

    // Advertisement: no new starts, and the offer is the same again afterwards
    let offer = path("advertisements", "p");
    until_ready(&world, &offer, "Succeeded");
    let told = bodies(&world);
    suspend(&world, &offer, true);
    world.until("clients are told", |world| bodies(world) != told);
    world.script("p", 5, "");
    world.until("a new version", |world| copies(world, 5, HELD) == 1);
    world.until("the client knows", |world| {
        let rows = world.list("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses");
        rows.iter().any(|row| row["status"]["reason"] == "AdvertisementSuspended")
    });
    assert_eq!(world.lines().get("p 5"), None);
    suspend(&world, &offer, false);
    world.until("it starts again", |world| world.lines().get("p 5") == Some(&1));
}

#[test]
fn a_suspended_collection_and_configuration_keep_what_they_said() {
    let world = at_rest();
    let collection = format!("{DEFAULT}/collections/everybody");
    let members = || world.ask("GET", &collection, None)["status"]["memberCount"].as_i64();
    world.until("one member", |_| members() == Some(1));
    suspend(&world, &collection, true);
    let told = bodies(&world);
    query(&world, "true", "false");
    reconcile(&world, &collection, "a");
    assert_eq!((members(), bodies(&world)), (Some(1), told.clone()));
    suspend(&world, &collection, false);
    world.until("nobody is a member", |_| members() == Some(0));
    query(&world, "false", "true");
    world.until("the client is offered it again", |world| bodies(world) == told);

    let config = format!("{CLUSTER}/clientagentconfigs/main");
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "ClientAgentConfig", "metadata": {"name": "main"}, "spec": {}});
    world.ask("POST", &format!("{CLUSTER}/clientagentconfigs"), Some(&object));
    until_ready(&world, &config, "Succeeded");
    suspend(&world, &config, true);
    spec(&world, &config, json!({"pollInterval": "17m"}));
    until_ready(&world, &config, "Suspended");
    // something else changes and changes back, so that policy was compiled in between
    for (old, new) in [("true", "false"), ("false", "true")] {
        query(&world, old, new);
        world.until("policy was compiled", |world| (bodies(world) == told) == (new == "true"));
    }
    suspend(&world, &config, false);
    world.until("clients are told", |world| bodies(world) != told);
}

#[test]
fn a_suspended_site_offers_and_copies_nothing_new_also_after_a_restart() {
    let mut world = at_rest();
    let site = format!("{CLUSTER}/sites/main");
    let told = bodies(&world);
    suspend(&world, &site, true);

    world.script("p", 2, "");
    world.write(
        "late.yaml",
        format!("{HEAD}: Advertisement\nmetadata: {{name: late}}\nspec: {{program: p, collection: everybody, userMayStart: true}}\n"),
    );
    let late = format!("{DEFAULT}/advertisements/late");
    let held = |world: &World, when: &str| {
        until_ready(world, &late, "Suspended");
        world.until("the new version is known", |world| version(world) == 2);
        reconcile(world, &format!("{DEFAULT}/packages/p"), when);
        reconcile(world, &format!("{DEFAULT}/distributions/p"), when);
        assert_eq!(copies(world, 2, "true"), 0, "{when}: nothing is copied");
        assert_eq!(copies(world, 1, HELD), 1, "{when}: what is there stays");
        assert_eq!(bodies(world).first(), told.first(), "{when}: clients keep what they were offered");
    };
    held(&world, "while it runs");
    world.kill("site");
    // one more client shows that policy was compiled since
    world.join(&["client-2"]);
    world.until("the new client has a policy", |world| bodies(world).len() == 2);
    let kept = bodies(&world).into_iter().filter(|one| told.contains(one)).count();
    assert_eq!(kept, 1, "the first client's policy outlives the restart");
    until_ready(&world, &late, "Suspended");
    reconcile(&world, &format!("{DEFAULT}/packages/p"), "after a restart");
    assert_eq!((copies(&world, 2, "true"), copies(&world, 1, HELD)), (0, 1));
    assert_eq!(
        world.lines().into_iter().collect::<Vec<_>>(),
        [("p 1".to_owned(), 1)],
        "the new client is offered nothing"
    );

    suspend(&world, &site, false);
    world.until("both clients run the new version", |world| world.lines().get("p 2") == Some(&2));
    until_ready(&world, &late, "Succeeded");
    assert_eq!(ready(&world, &site), "Succeeded");
}
