//! What a Site grants its namespaces: who is reached, what is said of who is not, and where the first grant comes from.

use serde_json::{Value, json};

use super::{CLUSTER, DEFAULT, ready, spec, until_ready};
use crate::world::{HEAD, World};

/// A package that is offered to everybody, and two clients, of which one has the label `ring=pilot`; nobody says what is granted.
fn offered() -> World {
    let mut world = World::new();
    world.script("p", 1, "");
    world.declare("p");
    world.advertise("p");
    world.start("site");
    world.join(&["client-1", "client-2"]);
    world.until("both runs", |world| world.lines().get("p 1") == Some(&2));
    let pilot = clients(&world).remove(0);
    let (_, labelled) = said(&world, &["clients", "label", &pilot, "ring=pilot"]);
    assert!(labelled.contains("ring=pilot"), "{labelled}");
    world
}

fn site() -> String {
    format!("{CLUSTER}/sites/main")
}

fn advertisement() -> String {
    format!("{DEFAULT}/advertisements/p")
}

fn clients(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world
        .list("/apis/fleet.waybill.dev/v1alpha1/clients")
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Exit code and output of a verb.
fn said(world: &World, words: &[&str]) -> (Option<i32>, String) {
    let output = world.command(words).args(["--state", "site"]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn grant(world: &World, namespaces: &Value) {
    spec(world, &site(), json!({ "namespaces": namespaces }));
}

fn granted(world: &World) -> Value {
    world.ask("GET", &site(), None)["spec"]["namespaces"].clone()
}

/// Waits until the advertisement is so, with so many targets, and answers what it says.
fn until_it_is(world: &World, reason: &str, targeted: u64) -> String {
    world.until(&format!("{reason} with {targeted} targets"), |world| {
        let found = world.ask("GET", &advertisement(), None)["status"]["clients"]["targeted"] == targeted;
        found && ready(world, &advertisement()) == reason
    });
    let object = world.ask("GET", &advertisement(), None);
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    ready["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_namespace_reaches_whom_the_site_grants_it_and_nobody_else() {
    let world = offered();
    assert_eq!(granted(&world), json!([{"name": "*"}]), "the tree has no Site");

    // The tree has one now, and what it says is what is granted: nothing.
    world.write("site.yaml", format!("{HEAD}: Site\nmetadata: {{name: main}}\nspec: {{}}\n"));
    let text = until_it_is(&world, "NamespaceNotGranted", 0);
    assert!(text.contains("adds `name: default` to spec.namespaces of Site main"), "{text}");
    assert_eq!(granted(&world), Value::Null);
    until_ready(&world, &site(), "Succeeded");
    world.until("the site says so", |world| world.ask("GET", &site(), None).to_string().contains("names none"));
    let ids = clients(&world);
    let (code, why) = said(&world, &["why", "p", &ids[0]]);
    assert_eq!(code, Some(1));
    assert!(why.contains("member of collection everybody, but namespace default is granted no client"), "{why}");
    let (_, status) = said(&world, &["status"]);
    assert!(status.contains("NamespaceNotGranted") && status.contains("adds `name: default`"), "{status}");
    world.script("p", 2, "");

    // Exactly those that are granted; the others are told what keeps them.
    grant(&world, &json!([{"name": "default", "query": "client.labels['ring'] == 'pilot'"}, {"name": "*"}]));
    world.until("the pilot's run", |world| world.lines().get("p 2") == Some(&1));
    until_it_is(&world, "Succeeded", 1);
    let (code, why) = said(&world, &["why", "p", &ids[1]]);
    assert_eq!(code, Some(1));
    assert!(why.contains("the grant 'default' of Site main does not include it"), "{why}");
    assert_eq!(said(&world, &["why", "p", &ids[0]]).0, Some(0));

    // Nobody else is said to have been told nothing; what somebody did say stays to be read.
    let silent = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Advertisement", "metadata": {"name": "later"},
        "spec": {"program": "p", "collection": "everybody", "start": "2999-01-01T00:00:00Z", "userMayStart": true}});
    world.ask("POST", &format!("{DEFAULT}/advertisements"), Some(&silent));
    let rows = |world: &World, advertisement: &str| {
        let all = world.list("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses");
        let of = |one: &Value| (one["status"]["advertisement"] == advertisement).then(|| one["status"].clone());
        all.iter().filter_map(of).map(|row| json!([row["client"], row["targeted"]])).collect::<Vec<_>>()
    };
    world.until("it has its rows", |world| !rows(world, "later").is_empty());
    assert_eq!(rows(&world, "later"), [json!([ids[0], true])]);
    assert_eq!(rows(&world, "p"), [json!([ids[0], true]), json!([ids[1], false])]);

    grant(&world, &json!([{"name": "default", "maxClients": 1}]));
    assert!(until_it_is(&world, "TooManyClients", 0).contains("would reach 2 clients"));
    grant(&world, &json!([{"name": "*", "runAs": ["nobody"]}]));
    assert!(until_it_is(&world, "RunAsNotGranted", 0).contains("as nobody only"));

    // A grant with a bad query reaches nobody; the site says so, and other namespaces go on.
    grant(&world, &json!([{"name": "default", "query": "client.id"}, {"name": "*"}]));
    assert!(until_it_is(&world, "QueryFailed", 0).contains("gives a text, not true or false"));
    until_ready(&world, &site(), "QueryFailed");
    let (_, status) = said(&world, &["status"]);
    assert!(status.contains("spec.namespaces[default] reaches nobody"), "{status}");
    assert_eq!(world.lines().get("p 2"), Some(&1), "nobody else has run it meanwhile");

    // Out of the tree again: the site's own object grants all, and everybody catches up.
    world.take_out("site.yaml");
    world.until("the other's run", |world| world.lines().get("p 2") == Some(&2));
    until_it_is(&world, "Succeeded", 2);
    assert_eq!(granted(&world), json!([{"name": "*"}]));
}

#[test]
fn a_grant_that_is_taken_back_withdraws_offers_also_while_the_site_is_suspended_and_ends_no_program() {
    let mut world = World::new();
    world.script("p", 1, &format!("while [ -e '{}' ]; do sleep 0.1; done", world.path("running").display()));
    std::fs::write(world.path("running"), "").unwrap();
    world.declare("p");
    world.advertise("p");
    world.start("site");
    world.join(&["client"]);
    world.until("the program runs", |world| world.lines().get("p 1") == Some(&1));
    spec(&world, &site(), json!({"suspend": true}));
    until_ready(&world, &site(), "Suspended");
    let is_offered = |world: &World| {
        let shown = world.command(&["agent", "offers", "--state", "client"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("default/p")
    };
    world.until("it is offered", is_offered);
    grant(&world, &json!([]));
    world.until("the offer is gone", |world| !is_offered(world));
    std::fs::remove_file(world.path("running")).unwrap();
    world.until("it ends as if nothing had been", |world| {
        let shown = world.command(&["agent", "history", "--state", "client"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("Succeeded")
    });
}

#[test]
fn everything_is_granted_once_to_a_site_that_nobody_declared() {
    let mut world = offered();
    let note =
        |world: &World| world.ask("GET", &site(), None)["metadata"]["annotations"]["waybill.dev/first-grant"].clone();
    assert_eq!(note(&world), "*");

    // As a server that knew of no grants has left it.
    let before = json!({"metadata": {"annotations": {"waybill.dev/first-grant": null}}, "spec": {"namespaces": []}});
    world.ask("PATCH", &site(), Some(&before));
    until_it_is(&world, "NamespaceNotGranted", 0);
    world.kill("site");
    until_it_is(&world, "Succeeded", 2);
    assert_eq!((granted(&world), note(&world)), (json!([{"name": "*"}]), json!("*")));

    // Taken away by somebody, it stays away.
    grant(&world, &json!([]));
    until_it_is(&world, "NamespaceNotGranted", 0);
    world.kill("site");
    world.script("p", 2, "");
    world.until("the new version is there", |world| {
        world.ask("GET", &format!("{DEFAULT}/packages/p"), None)["status"]["sourceVersion"] == 2
    });
    until_it_is(&world, "NamespaceNotGranted", 0);

    // Without its object a site makes it anew.
    world.ask("DELETE", &site(), None);
    until_it_is(&world, "Succeeded", 2);
    world.until("both runs", |world| world.lines().get("p 2") == Some(&2));

    // A tree that cannot be told to have none is taken to have one.
    world.write("site.yaml", format!("{HEAD}: Site\nmetadata: {{name: main}}\nspec: {{namespaces: [{{nome: x}}]}}\n"));
    world.until("the problem is shown", |world| {
        world.ask("GET", &site(), None)["status"]["sync"].to_string().contains("nome")
    });
    world.ask("DELETE", &site(), None);
    world.kill("site");
    world.until("it was made again", |world| !world.ask("GET", &site(), None).is_null());
    until_it_is(&world, "NamespaceNotGranted", 0);
    assert_eq!((granted(&world), note(&world)), (Value::Null, Value::Null));
}
