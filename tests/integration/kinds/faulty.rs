//! A fleet of bad objects around one good one: each bad one says why it is not done, in the words of kstatus, none stops
//! another, and what is tried again is tried more and more rarely.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use waybill::model::reason::Reason;

use super::{CLUSTER, DEFAULT, ready, until_ready};
use crate::world::{HEAD, World};

/// What every reconciled kind is listed as.
const KINDS: &[(&str, &str)] = &[
    (CLUSTER, "sites"),
    (CLUSTER, "distributionpoints"),
    (CLUSTER, "clientagentconfigs"),
    (DEFAULT, "packages"),
    (DEFAULT, "programs"),
    (DEFAULT, "distributions"),
    (DEFAULT, "collections"),
    (DEFAULT, "advertisements"),
];

/// Bad objects: plural, name, spec, and the reason they must show.
fn bad() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let directory = |path: &str| json!({"source": {"directory": {"path": path}}});
    let distribution = |package: &str, more: Value| {
        let mut spec = json!({"package": package, "distributionPoints": {"all": {}}});
        json_patch::merge(&mut spec, &more);
        spec
    };
    let offer = |program: &str, more: Value| {
        let mut spec = json!({"program": program, "collection": "everybody", "userMayStart": true});
        json_patch::merge(&mut spec, &more);
        spec
    };
    vec![
        ("packages", "missing", directory("packages/none"), "SourceUnavailable"),
        ("packages", "outside", directory("/etc"), "SourceNotPermitted"),
        ("packages", "linked", directory("packages/linked"), "SourceRefused"),
        ("packages", "empty", json!({"source": {"none": {}}}), "Succeeded"),
        ("programs", "astray", json!({"packageRef": "nobody", "argv": ["a"]}), "ReferenceNotFound"),
        (
            "programs",
            "in-a-circle",
            json!({"packageRef": "good", "argv": ["install.sh"], "dependsOn": {"program": "in-a-circle"}}),
            "ProgramConflict",
        ),
        ("programs", "of-missing", json!({"packageRef": "missing", "argv": ["a"]}), "Succeeded"),
        ("programs", "of-linked", json!({"packageRef": "linked", "argv": ["a"]}), "Succeeded"),
        ("programs", "of-empty", json!({"packageRef": "empty", "argv": ["/bin/true"]}), "Succeeded"),
        ("distributions", "of-nothing", distribution("nobody", json!({})), "ReferenceNotFound"),
        (
            "distributions",
            "to-nobody",
            json!({"package": "good", "distributionPoints": {"names": ["nobody"]}}),
            "ReferenceNotFound",
        ),
        ("distributions", "of-missing", distribution("missing", json!({})), "WaitingForRecord"),
        ("distributions", "to-many", distribution("good", json!({"minAvailable": 9})), "WaitingForDistributionPoints"),
        (
            "distributions",
            "later",
            distribution("good", json!({"startAfter": "2999-01-01T00:00:00Z"})),
            "WaitingForStart",
        ),
        ("collections", "broken", json!({"query": "client.nothing +"}), "QueryFailed"),
        ("collections", "of-nobody", json!({"query": "client.facts.nothing == 1"}), "QueryFailed"),
        ("advertisements", "of-nothing", offer("nobody", json!({})), "ReferenceNotFound"),
        ("advertisements", "to-nothing", offer("good", json!({"collection": "nobody"})), "ReferenceNotFound"),
        ("advertisements", "to-broken", offer("good", json!({"collection": "broken"})), "ReferenceNotFound"),
        ("advertisements", "of-missing", offer("of-missing", json!({})), "SourceUnavailable"),
        ("advertisements", "of-linked", offer("of-linked", json!({})), "SourceRefused"),
        ("advertisements", "contrary", offer("of-empty", json!({"rerun": "OncePerVersion"})), "ProgramConflict"),
        ("advertisements", "held", offer("good", json!({"suspend": true})), "Suspended"),
        ("distributionpoints", "silent", json!({}), "Unreachable"),
        ("clientagentconfigs", "elsewhere", json!({}), "NotThisSite"),
        ("sites", "elsewhere", json!({}), "NotThisSite"),
    ]
}

fn kind(plural: &str) -> String {
    let kinds = waybill::api::crds();
    kinds.iter().find(|crd| crd.spec.names.plural == plural).unwrap().spec.names.kind.clone()
}

fn place(plural: &str) -> String {
    let (place, _) = KINDS.iter().find(|one| one.1 == plural).unwrap();
    format!("{place}/{plural}")
}

fn make(world: &World, plural: &str, name: &str, spec: Value) {
    let object =
        json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind(plural), "metadata": {"name": name}, "spec": spec});
    assert!(world.ask("POST", &place(plural), Some(&object)).is_object(), "{plural}/{name}");
}

/// What an object says otherwise than kstatus wants it: one Ready, Reconciling or Stalled exactly when it is not done and
/// never both, each of the present generation and with a reason from the one list.
fn faults(object: &Value) -> Vec<String> {
    let generation = &object["metadata"]["generation"];
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|one| one["type"] == kind);
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut faults = vec![];
    let mut wrong = |fault: bool, what: &str| {
        if fault {
            faults.push(format!("{} {}: {what}: {conditions:?}", object["kind"], object["metadata"]["name"]));
        }
    };
    for one in &conditions {
        wrong(!known.contains(one["reason"].as_str().unwrap_or_default()), "a reason of its own");
        wrong(one["observedGeneration"] != *generation, "of another generation");
        wrong(one["message"].as_str().is_none_or(str::is_empty), "without a word");
    }
    wrong(object["status"]["observedGeneration"] != *generation, "not looked at");
    let (reconciling, stalled) = (find("Reconciling"), find("Stalled"));
    wrong(
        [reconciling, stalled].into_iter().flatten().any(|one| one["status"] != "True"),
        "present though it does not hold",
    );
    let expected = match find("Ready").and_then(|one| one["status"].as_str()) {
        Some("True") => (false, false),
        Some("Unknown") => (true, false),
        Some("False") => (false, true),
        _ => return vec![format!("{} says nothing of Ready", object["metadata"]["name"])],
    };
    wrong((reconciling.is_some(), stalled.is_some()) != expected, "in two minds");
    let why = reconciling.or(stalled).map(|one| &one["reason"]);
    wrong(why.is_some() && why != find("Ready").map(|one| &one["reason"]), "two reasons");
    faults
}

/// `why` and `status` lead to the package whose source is refused: its words, and an exit code for scripts.
fn whoever_has_to_act_is_told(world: &World) {
    let client = world.list("/apis/fleet.waybill.dev/v1alpha1/clients")[0]["metadata"]["name"].clone();
    let said = |words: &[&str]| {
        let output = world.command(words).args(["--state", "site"]).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    for (name, reason) in [("of-linked", "SourceRefused"), ("of-missing", "SourceUnavailable")] {
        let (text, code) = said(&["why", name, client.as_str().unwrap()]);
        let answer = text.lines().last().unwrap();
        assert!(answer.starts_with(&format!("record: failed ({reason}): package ")), "{text}");
        assert_eq!(code, Some(1), "{text}");
        let (text, _) = said(&["status"]);
        let has_row =
            |cells: &[&str]| text.lines().any(|line| line.split_whitespace().take(cells.len()).eq(cells.to_vec()));
        let full = format!("default/{name}");
        assert!(has_row(&[&full, reason, "Critical"]), "{text}");
        assert!(has_row(&["Advertisement", &full, reason, "package"]), "{text}");
    }
}

/// What waits for somebody is told in the log when it turns, and not at every look.
fn told_once(world: &World) {
    let log = std::fs::read_to_string(world.path("site.log")).unwrap();
    let stalls: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(" stalled ")?.1)).collect();
    let mut once = BTreeSet::new();
    let again: Vec<_> = stalls.iter().filter(|stall| !once.insert(**stall)).collect();
    assert!(again.is_empty() && once.iter().any(|stall| stall.contains("outside")), "{again:?} of {stalls:?}");
}

#[test]
fn bad_objects_say_why_and_stop_no_other() {
    let mut world = World::new();
    for name in ["good", "linked", "copied"] {
        world.script(name, 1, "");
    }
    std::os::unix::fs::symlink("/etc/passwd", world.path("fleet/packages/linked/passwd")).unwrap();
    world.write("half.yaml", format!("{HEAD}: Collection\nmetadata: {{name: half\n"));
    world.start("site");
    for (plural, name, spec, _) in bad() {
        make(&world, plural, name, spec);
    }
    // the good one comes after all the bad ones
    world.declare("good");
    // not by a file, which would bring it back
    make(&world, "packages", "copied", json!({"source": {"directory": {"path": "packages/copied"}}}));
    make(&world, "programs", "copied", json!({"packageRef": "copied", "argv": ["install.sh"]}));
    make(&world, "distributions", "copied", json!({"package": "copied", "distributionPoints": {"all": {}}}));
    world.advertise("good");
    world.advertise("copied");
    world.join(&["client"]);
    world.until("the good one runs", |world| {
        world.lines().get("good 1") == Some(&1) && world.lines().get("copied 1") == Some(&1)
    });
    for (plural, name, _, reason) in bad() {
        until_ready(&world, &format!("{}/{name}", place(plural)), reason);
    }
    until_ready(&world, &format!("{CLUSTER}/sites/main"), "ManifestsInvalid");
    whoever_has_to_act_is_told(&world);
    // its content is the last copy under a live advertisement
    let copied = format!("{DEFAULT}/packages/copied");
    let of_content = |world: &World| {
        let status = world.ask("GET", &copied, None)["status"].take();
        ["sourceVersion", "digest", "sizeBytes", "files", "sourceDate"].map(|field| status[field].clone())
    };
    let before = of_content(&world);
    assert_eq!(before.iter().filter(|field| field.is_null()).count(), 0, "{before:?}");
    world.ask("DELETE", &copied, None);
    world.until("it is held", |world| {
        let reason = ready(world, &copied);
        reason == "LastCopy" || reason == "RemovalPending"
    });
    until_ready(&world, &copied, "LastCopy");
    assert_eq!(of_content(&world), before, "it is all there still");
    assert_eq!(world.ask("GET", &copied, None)["status"]["distribution"]["installed"], 1);

    for (place, plural) in KINDS {
        let mut found = vec![];
        for _ in 0..40 {
            let objects = world.list(&format!("{place}/{plural}"));
            assert!(!objects.is_empty(), "{plural}");
            found = objects.iter().flat_map(faults).collect::<Vec<_>>();
            if found.is_empty() {
                break;
            }
            // it may just have been changed
            std::thread::sleep(Duration::from_millis(250));
        }
        assert_eq!(found, Vec::<String>::new());
    }
    told_once(&world);
    // everything still moves: a new version of the good one arrives
    world.advertise("good");
    world.script("good", 2, "");
    world.until("the good one runs again", |world| world.lines().get("good 2") == Some(&1));
    until_ready(&world, &format!("{DEFAULT}/packages/good"), "Succeeded");
    until_ready(&world, &format!("{DEFAULT}/advertisements/good"), "Succeeded");

    // a directory that is gone removes nothing, and says so
    std::fs::rename(world.path("fleet"), world.path("gone")).unwrap();
    until_ready(&world, &format!("{CLUSTER}/sites/main"), "PruneGuard");
    std::fs::rename(world.path("gone"), world.path("fleet")).unwrap();
    until_ready(&world, &format!("{CLUSTER}/sites/main"), "ManifestsInvalid");
}

#[test]
fn a_site_says_by_its_health_and_in_its_first_line_that_somebody_has_to_act() {
    let mut world = World::new();
    world.package("good", 1);
    world.start("site");
    let site = format!("{CLUSTER}/sites/main");
    let status = |world: &World| world.ask("GET", &site, None)["status"].clone();
    let first_line = |world: &World| {
        let output = world.command(&["status", "--state", "site"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    until_ready(&world, &format!("{DEFAULT}/packages/good"), "Succeeded");
    world.until("all is well", |world| status(world)["heldUp"] == 0);
    assert!(!first_line(&world).contains("held up"), "{}", first_line(&world));

    make(&world, "packages", "missing", json!({"source": {"directory": {"path": "packages/none"}}}));
    make(&world, "collections", "broken", json!({"query": "client.nothing +"}));
    world.until("both are counted", |world| status(world)["heldUp"] == 2);
    let said = status(&world);
    assert_eq!(said["health"], "Critical", "no client gets the package");
    let named =
        "serving; held up: Collection default/broken (QueryFailed), Package default/missing (SourceUnavailable)";
    assert!(said["conditions"][0]["message"] == named, "{said}");
    let line = first_line(&world);
    assert!(
        line.starts_with("Site main: ready True, health Critical, ") && line.ends_with(", 2 objects are held up"),
        "{line}"
    );

    for object in ["packages/missing", "collections/broken"] {
        world.ask("DELETE", &format!("{DEFAULT}/{object}"), None);
    }
    world.until("they are gone", |world| status(world)["heldUp"] == 0);
}
