//! Client access points stand in for their site and for each other.

use std::fs;

use serde_json::json;
use waybill::{trust::identity::Role, wire::access::RECORD_PATH};

use super::{
    CLUSTER, FLEET, get_as, has_joined,
    offers::{access_points, offered, poll},
    session, standing,
};
use crate::world::{HEAD, World};

/// A program that users start themselves.
fn offer_to_users(world: &World, name: &str) {
    world.package(name, 1);
    world.write(
        &format!("{name}-offer.yaml"),
        format!(
            "{HEAD}: Advertisement\nmetadata: {{name: {name}}}\n\
             spec: {{program: {name}, collection: everybody, userMayStart: true}}\n"
        ),
    );
    world.write(
        "everybody.yaml",
        format!("{HEAD}: Collection\nmetadata: {{name: everybody}}\nspec: {{query: 'true'}}\n"),
    );
}

/// The client's user starts a program; the agent has to ask an access point where its content is.
fn user_starts(world: &World, name: &str) {
    let output = world.command(&["agent", "start", name, "--state", "client"]).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), world.logs());
}

#[test]
fn an_agent_goes_from_one_access_point_to_another_and_back_while_the_site_is_away() {
    let mut world = World::new();
    for name in ["one", "two"] {
        offer_to_users(&world, name);
    }
    world.start("site");
    world.join(&["dp", "cap-2", "cap-3", "client"]);
    world.until("all access points are known", |world| {
        has_joined(world, "client") && access_points(world, "client").len() == 3
    });
    let systems = |world: &World| world.ask("GET", &format!("{CLUSTER}/sites/main"), None)["status"]["systems"].clone();
    world.until("the site shows its systems", |world| {
        let is_well = |name: &str| {
            let all = systems(world);
            let mut rows = all.as_array().into_iter().flatten().filter(|row| row["system"] == name);
            let row = rows.next().cloned().unwrap_or_default();
            row["role"] == "ClientAccessPoint" && row["available"] == true && row["state"] == "OK"
        };
        is_well("cap-2") && is_well("cap-3")
    });
    // Offers, and the records that they name, reach every access point.
    let urls = access_points(&world, "client");
    for url in &urls {
        world.until("both are offered", |world| offered(world, "client", url) == ["one", "two"]);
        let (_, _, body) = poll(&world, "client", url, None);
        for offer in body["offers"].as_array().unwrap() {
            let path = format!("{RECORD_PATH}/{}", offer["record"].as_str().unwrap());
            let record = |url: &str| get_as(&world, "client", Role::Cap, &format!("{url}{path}"), &[]);
            let (status, _, bytes) = record(url);
            assert_eq!((status, &bytes), (200, &record(&urls[0]).2), "{url}");
        }
    }
    world.until("the agent knows both", |world| {
        let offers = world.command(&["agent", "offers", "--state", "client"]).output().unwrap();
        let text = String::from_utf8_lossy(&offers.stdout).into_owned();
        text.contains("one") && text.contains("two")
    });
    world.until("the other point has both", |world| world.published("dp", "one") && world.published("dp", "two"));

    world.strike("site");
    world.strike("cap-2");
    user_starts(&world, "one");
    world.until("it runs by way of the third", |world| world.lines().contains_key("one 1"));
    world.strike("cap-3");
    world.start("cap-2");
    user_starts(&world, "two");
    world.until("it runs by way of the second, which serves what it kept", |world| world.lines().contains_key("two 1"));

    // What happened meanwhile arrives, once.
    world.start("site");
    for name in ["one", "two"] {
        world.until("its status arrives", |world| standing(world, name, "client") == "Succeeded");
    }
    assert_eq!(world.lines(), [("one 1".to_owned(), 1), ("two 1".to_owned(), 1)].into());
    let id = session(&world, "client").id;
    let rows = world.list(&format!("{FLEET}/statusmessages?fieldSelector=client={id},state=Succeeded&limit=1000"));
    let mut told: Vec<_> = rows.iter().map(|row| row["status"]["advertisement"].clone()).collect();
    told.sort_by_key(ToString::to_string);
    assert_eq!(told, [json!("default/one"), json!("default/two")]);
}

#[test]
fn a_status_left_at_an_access_point_reaches_the_site_and_a_restart_keeps_the_address() {
    let mut world = World::new();
    world.start("site");
    world.join(&["dp", "cap-2", "client"]);
    world.until("both are known", |world| has_joined(world, "client") && access_points(world, "client").len() == 2);
    let urls = access_points(&world, "client");
    world.kill("cap-2");
    let port = fs::read_to_string(world.path("cap-2/port")).unwrap();
    assert!(urls[1].ends_with(&format!(":{port}")), "{urls:?}");
    // The agent is told to use the second one only: its first is where nobody listens.
    world.stop("client");
    let file = world.path("client/session.json");
    let mut session: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    session["endpoints"]["capUrls"] = json!([urls[1]]);
    fs::write(&file, session.to_string()).unwrap();
    world.start("client");
    world.package("tool", 1);
    world.advertise("tool");
    world.until("its status arrives", |world| standing(world, "tool", "client") == "Succeeded");
    assert_eq!(access_points(&world, "client"), urls);
}
