//! Brings objects of every kind into every state, with a site and without one, and holds them against the recorded ones. With
//! `UPDATE=1` it records them.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::{Value, json};

use super::recorded::{Recorded, State, essence, kinds, read, states, write};
use crate::{
    kinds::{CLUSTER, DEFAULT, ready, until_ready},
    world::World,
};

/// What keeps a deleted object in the tests: somebody else's business with it.
const HOLD: &str = "example.com/hold";

/// Kinds of which a server has to do with one object alone.
const OF_THE_SITE: [&str; 2] = ["ClientAgentConfig", "Site"];

/// Objects that a site brings into a state and leaves there: kind, name, spec, reason.
fn declared() -> Vec<(&'static str, State, Value, &'static str)> {
    let directory = |path: &str| json!({"source": {"directory": {"path": path}}});
    let program = |package: &str| json!({"packageRef": package, "argv": ["install.sh"]});
    let everywhere = |package: &str| json!({"package": package, "distributionPoints": {"all": {}}});
    let offer = |program: &str| json!({"program": program, "collection": "done", "userMayStart": true});
    let with = |mut spec: Value, more: Value| {
        json_patch::merge(&mut spec, &more);
        spec
    };
    let suspended = json!({"suspend": true});
    vec![
        ("Package", State::Done, directory("packages/good"), "Succeeded"),
        ("Package", State::Working, directory("packages/none"), "SourceUnavailable"),
        ("Package", State::Stalled, directory("/etc"), "SourceNotPermitted"),
        ("Package", State::Suspended, with(directory("packages/good"), suspended.clone()), "Suspended"),
        ("Program", State::Done, program("done"), "Succeeded"),
        ("Program", State::Astray, program("nobody"), "ReferenceNotFound"),
        (
            "Program",
            State::Stalled,
            with(program("done"), json!({"dependsOn": {"program": "stalled"}})),
            "ProgramConflict",
        ),
        ("Program", State::Suspended, with(program("done"), suspended.clone()), "Suspended"),
        ("Distribution", State::Done, everywhere("done"), "Succeeded"),
        (
            "Distribution",
            State::Working,
            with(everywhere("done"), json!({"startAfter": "2999-01-01T00:00:00Z"})),
            "WaitingForStart",
        ),
        ("Distribution", State::Astray, everywhere("nobody"), "ReferenceNotFound"),
        ("Distribution", State::Suspended, with(everywhere("done"), suspended.clone()), "Suspended"),
        ("Collection", State::Done, json!({"query": "true"}), "Succeeded"),
        ("Collection", State::Stalled, json!({"query": "client.facts.nothing +"}), "QueryFailed"),
        ("Collection", State::Suspended, json!({"query": "true", "suspend": true}), "Suspended"),
        ("Advertisement", State::Done, offer("done"), "Succeeded"),
        ("Advertisement", State::Astray, offer("nobody"), "ReferenceNotFound"),
        ("Advertisement", State::Stalled, offer("stalled"), "ProgramConflict"),
        ("Advertisement", State::Suspended, with(offer("done"), suspended), "Suspended"),
        ("DistributionPoint", State::Working, json!({}), "Unreachable"),
        ("ClientAgentConfig", State::Stalled, json!({}), "NotThisSite"),
        ("Site", State::Stalled, json!({}), "NotThisSite"),
    ]
}

/// The spec of an object that is deleted, and held.
fn deleted(kind: &str) -> Value {
    match kind {
        "Package" => json!({"source": {"none": {}}}),
        "Program" => json!({"packageRef": "done", "argv": ["install.sh"]}),
        "Distribution" => json!({"package": "done", "distributionPoints": {"all": {}}}),
        "Collection" => json!({"query": "true"}),
        "Advertisement" => json!({"program": "done", "collection": "done", "userMayStart": true}),
        _ => json!({}),
    }
}

fn place(kind: &str) -> String {
    let crds = waybill::api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let of = if crd.spec.scope == "Namespaced" { DEFAULT } else { CLUSTER };
    format!("{of}/{}", crd.spec.names.plural)
}

fn make(world: &World, kind: &str, name: &str, finalizers: &[&str], spec: &Value) -> String {
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "finalizers": finalizers}, "spec": spec});
    assert!(world.ask("POST", &place(kind), Some(&object)).is_object(), "{kind} {name}");
    format!("{}/{name}", place(kind))
}

/// The objects met so far.
#[derive(Default)]
struct Met(BTreeMap<(String, State), Value>);

impl Met {
    fn take(&mut self, world: &World, state: State, path: &str) {
        let object = world.ask("GET", path, None);
        let kind = object["kind"].as_str().unwrap().to_owned();
        // Where the test stands is no part of what is recorded.
        let scratch = world.path("").display().to_string();
        let text = essence(&object).to_string().replace(scratch.trim_end_matches('/'), "/scratch");
        let met = self.0.insert((kind.clone(), state), serde_json::from_str(&text).unwrap());
        assert_eq!(met, None, "{kind} {state:?} twice");
    }
}

#[test]
fn objects_are_in_the_states_that_are_recorded() {
    let mut world = World::new();
    world.script("good", 1, "");
    // Other bytes: what a point holds of one package it has for all of them.
    world.script("nowhere", 1, "");
    world.start("site");
    world.join(&["client"]);
    world.until("it is there", |world| !world.list("/apis/fleet.waybill.dev/v1alpha1/clients").is_empty());
    let mut met = Met::default();
    with_a_site(&mut world, &mut met);
    without_a_site(&mut world, &mut met);

    let Met(mut met) = met;
    for kind in kinds() {
        let objects = states(&kind).into_iter().map(|state| {
            let object = met.remove(&(kind.clone(), state)).unwrap_or_else(|| panic!("no {kind} came to {state:?}"));
            Recorded { state, object }
        });
        let objects: Vec<Recorded> = objects.collect();
        if update() {
            write(&kind, &objects);
        }
        assert_eq!(objects.iter().map(mute).collect::<Vec<_>>(), read(&kind).iter().map(mute).collect::<Vec<_>>());
    }
    assert_eq!(met.keys().collect::<Vec<_>>(), Vec::<&(String, State)>::new(), "met, and not to be recorded");
}

/// Without the words of its conditions, which tell of other objects too.
fn mute(recorded: &Recorded) -> Recorded {
    let mut recorded = recorded.clone();
    for condition in recorded.object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        assert!(condition["message"].as_str().is_some_and(|text| !text.is_empty()), "{condition}");
        condition["message"] = Value::Null;
    }
    recorded
}

/// States that a site brings objects into.
fn with_a_site(world: &mut World, met: &mut Met) {
    let mut left = Vec::new();
    for (kind, state, spec, reason) in declared() {
        let name = format!("{state:?}").to_lowercase();
        left.push((make(world, kind, &name, &[], &spec), state, reason));
    }
    for (path, state, reason) in left {
        until_ready(world, &path, reason);
        met.take(world, state, &path);
    }
    // Nobody holds what it offers.
    make(world, "Package", "nowhere", &[], &json!({"source": {"directory": {"path": "packages/nowhere"}}}));
    make(world, "Program", "nowhere", &[], &json!({"packageRef": "nowhere", "argv": ["install.sh"]}));
    let later = json!({"package": "nowhere", "distributionPoints": {"all": {}}, "startAfter": "2999-01-01T00:00:00Z"});
    make(world, "Distribution", "nowhere", &[], &later);
    let waiting = json!({"program": "nowhere", "collection": "done", "userMayStart": true});
    let waiting = make(world, "Advertisement", "working", &[], &waiting);
    until_ready(world, &waiting, "WaitingForContent");
    met.take(world, State::Working, &waiting);
    the_sites_own(world, met);

    // Its content is the last copy of what somebody is offered.
    make(world, "Package", "copied", &[], &json!({"source": {"directory": {"path": "packages/good"}}}));
    make(world, "Program", "copied", &[], &json!({"packageRef": "copied", "argv": ["install.sh"]}));
    make(world, "Distribution", "copied", &[], &json!({"package": "copied", "distributionPoints": {"all": {}}}));
    let offer = json!({"program": "copied", "collection": "done", "userMayStart": true});
    until_ready(world, &make(world, "Advertisement", "copied", &[], &offer), "Succeeded");
    let rows = "/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses";
    world.until("it is offered", |world| world.list(rows).iter().any(|row| row.to_string().contains("\"copied\"")));
    let copied = format!("{DEFAULT}/packages/copied");
    world.ask("DELETE", &copied, None);
    until_ready(world, &copied, "LastCopy");
    met.take(world, State::DeletingStalled, &copied);
    deleting(world, met);
}

/// Objects that are deleted, and held by somebody else's finalizer.
fn deleting(world: &World, met: &mut Met) {
    for kind in kinds() {
        // Objects of these kinds that are not the site's own are no business of this server.
        let path = if OF_THE_SITE.contains(&kind.as_str()) {
            let own = format!("{}/main", place(&kind));
            world.ask("PATCH", &own, Some(&json!({"metadata": {"finalizers": [HOLD]}})));
            own
        } else {
            make(world, &kind, "deleting", &[HOLD], &deleted(&kind))
        };
        world.until("it is looked at", |world| !ready(world, &path).is_empty());
        world.ask("DELETE", &path, None);
        world.until("that is seen", |world| {
            let object = world.ask("GET", &path, None);
            !object["metadata"]["deletionTimestamp"].is_null() && !ready(world, &path).is_empty()
        });
        if kind == "Package" {
            until_ready(world, &path, "RemovalPending");
        }
        met.take(world, State::Deleting, &path);
    }
}

/// States of the three objects that belong to the site.
fn the_sites_own(world: &World, met: &mut Met) {
    let own = ["DistributionPoint", "ClientAgentConfig", "Site"].map(|kind| format!("{}/main", place(kind)));
    world.ask(
        "POST",
        &place("ClientAgentConfig"),
        Some(&json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "ClientAgentConfig", "metadata": {"name": "main"},
            "spec": {}})),
    );
    for path in &own {
        until_ready(world, path, "Succeeded");
        met.take(world, State::Done, path);
        world.ask("PATCH", path, Some(&json!({"spec": {"suspend": true}})));
        until_ready(world, path, "Suspended");
        met.take(world, State::Suspended, path);
        world.ask("PATCH", path, Some(&json!({"spec": {"suspend": false}})));
        until_ready(world, path, "Succeeded");
    }
    // No drive that takes anything.
    let drive = json!([{"path": world.path("full").display().to_string()}]);
    fs::create_dir(world.path("full")).unwrap();
    fs::write(world.path("full/NO_WAYBILL_ON_DRIVE"), "").unwrap();
    let before = world.ask("GET", &own[0], None)["spec"].clone();
    world.ask("PATCH", &own[0], Some(&json!({"spec": {"drives": drive}})));
    until_ready(world, &own[0], "DiskFull");
    met.take(world, State::Stalled, &own[0]);
    world.ask("PATCH", &own[0], Some(&json!({"spec": {"drives": before["drives"]}})));
    until_ready(world, &own[0], "Succeeded");
}

/// States of objects that nobody looks at: the API is there, and no site.
fn without_a_site(world: &mut World, met: &mut Met) {
    let endpoints: Value = serde_json::from_slice(&fs::read(world.path("site/endpoints.json")).unwrap()).unwrap();
    let address = endpoints["apiUrl"].as_str().unwrap().trim_start_matches("https://").trim_end_matches('/').to_owned();
    world.stop("site");
    // The objects alone, as an API server of their own has them.
    fs::create_dir(world.path("alone")).unwrap();
    fs::write(world.path("alone/state.json"), r#"{"kind":"waybill-apiserver","schema":1,"minReader":1}"#).unwrap();
    for part in
        ["api", "kubeconfig", "api.db", "api.db-wal"].iter().filter(|part| world.path("site").join(part).exists())
    {
        let copied = Command::new("cp").arg("-a").arg(world.path("site").join(part)).arg(world.path("alone")).status();
        assert!(copied.unwrap().success());
    }
    world.start_as("site", &["apiserver", "--state", "alone", "--listen", &address]);
    let collections = place("Collection");
    world.until("the API is there", |world| world.ask("GET", &collections, None).is_object());
    for kind in kinds() {
        met.take(world, State::New, &make(world, &kind, "new", &[], &deleted(&kind)));
        let name = match &*kind {
            "DistributionPoint" => "main",
            // What the site said of it before counts no more, though it was bad.
            kind if OF_THE_SITE.contains(&kind) => "stalled",
            _ => "done",
        };
        let path = format!("{}/{name}", place(&kind));
        world.ask("PATCH", &path, Some(&json!({"spec": {"suspend": true}})));
        met.take(world, State::Edited, &path);
    }
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}
