//! The four summaries as status shows them: what they count, when they warn, and that no midnight empties them.

use serde_json::{Value, json};
use waybill::{
    clock,
    db::{
        Database,
        messages::{Sender, store_batch},
    },
    model::{
        message::{ADVERTISEMENT, Component, MessageType, Severity, StatusMessage},
        reason::Reason,
        state::RunState,
    },
    trust::identity::Role,
};

use super::{CLUSTER, DEFAULT, reconcile, until_ready};
use crate::world::World;

const DAY_MS: i64 = 86_400_000;

fn message(time_ms: i64, severity: Severity, component: Component) -> StatusMessage {
    StatusMessage {
        time_ms,
        severity,
        message_type: MessageType::Detail,
        component,
        message_id: 1,
        text: "something happened".into(),
        reason: None,
        state: None,
        attributes: Default::default(),
    }
}

/// What `main` said, stored as the site stores it.
fn store(world: &World, batch: &'static str, sender: (&'static str, Role), messages: Vec<StatusMessage>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open(&world.path("site/site.db"), clock::now()).unwrap();
        let numbered: Vec<_> = (1..).zip(messages).collect();
        let write = move |tx: &mut waybill::db::Tx| {
            let sender = Sender { id: sender.0, role: sender.1, name: sender.0, site: "main" };
            store_batch(tx, &sender, batch, &numbered, clock::now_unix_ms())
        };
        database.write(write).await.unwrap();
    });
}

/// The counts of the point `other`, after a reconcile.
fn component(world: &World, token: &str) -> Value {
    let site = format!("{CLUSTER}/sites/main");
    reconcile(world, &site, token);
    // numbers alone are written a little later
    let find = |world: &World| {
        let status = world.ask("GET", &site, None)["status"].clone();
        status["components"].as_array().into_iter().flatten().find(|one| one["system"] == "other").cloned()
    };
    world.until("the component is counted", |world| find(world).is_some());
    find(world).unwrap()
}

#[test]
fn components_systems_packages_and_advertisements_are_counted_over_midnight() {
    let mut world = World::new();
    world.package("p", 1);
    world.advertise("p");
    world.start("site");
    world.join(&["dp", "cap", "client"]);
    world.until("the run", |world| world.lines().get("p 1") == Some(&1));
    until_ready(&world, &format!("{DEFAULT}/distributions/p"), "Succeeded");

    // component: yesterday's last minute and today's first count alike
    let midnight = clock::now_unix_ms() / DAY_MS * DAY_MS;
    let around =
        |severity| [-60_000, 1].map(|after| message(midnight + after, severity, Component::DistributionPoint)).to_vec();
    let mut told = around(Severity::Informational);
    told.extend((0..9).map(|_| message(midnight - 1, Severity::Warning, Component::DistributionPoint)));
    store(&world, "b-1", ("other", Role::Dp), told);
    let one = component(&world, "a");
    assert_eq!(
        (&one["informational"], &one["warnings"], &one["errors"], &one["state"]),
        (&json!(2), &json!(9), &json!(0), &json!("OK"))
    );
    store(
        &world,
        "b-2",
        ("other", Role::Dp),
        vec![message(midnight + 2, Severity::Warning, Component::DistributionPoint)],
    );
    world.until("ten warnings are worth a look", |world| component(world, "b")["state"] == "Warning");
    store(
        &world,
        "b-3",
        ("other", Role::Dp),
        (0..5).map(|_| message(midnight - 2, Severity::Error, Component::DistributionPoint)).collect(),
    );
    world.until("five errors are critical", |world| component(world, "c")["state"] == "Critical");
    let site = world.ask("GET", &format!("{CLUSTER}/sites/main"), None);
    assert_eq!(site["status"]["health"], "Critical", "the worst of all");

    // site system: both points with their drives, and the access point
    let systems = site["status"]["systems"].as_array().unwrap();
    let of = |role: &str| {
        let of_role = systems.iter().filter(|one| one["role"] == role);
        of_role.map(|one| one["system"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("DistributionPoint"), ["dp", "main"]);
    assert_eq!(of("ClientAccessPoint").len(), 1, "{systems:?}");
    for one in systems {
        assert_eq!(one["available"], true, "{one}");
        let stores = one["role"] == "DistributionPoint";
        assert_eq!(one["totalKib"].as_i64().unwrap() > 0, stores, "{one}");
    }

    // package: states by point, of the current version
    let status = |world: &World| world.ask("GET", &format!("{DEFAULT}/packages/p"), None)["status"].clone();
    world.until("both copies are counted", |world| status(world)["distribution"]["installed"] == 2);
    let package = status(&world);
    let counts = &package["distribution"];
    assert_eq!((&counts["targeted"], &counts["installed"], &counts["pending"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!((&package["sourceVersion"], &package["files"]), (&json!(1), &json!(1)));

    // advertisement: distinct clients by state, and messages; a second message of a client is no second client
    let path = format!("{DEFAULT}/advertisements/p");
    let client = super::bodies(&world)[0].0.clone();
    let client: &'static str = Box::leak(client.into_boxed_str());
    let failed = |time_ms| StatusMessage {
        message_type: MessageType::Milestone,
        message_id: 10_006,
        reason: Some(Reason::ExitCode),
        state: Some(RunState::Failed),
        attributes: [(ADVERTISEMENT.to_owned(), "default/p".to_owned())].into(),
        ..message(time_ms, Severity::Error, Component::ClientAgent)
    };
    world.until("the client's own run is counted", |world| {
        world.ask("GET", &path, None)["status"]["messages"]["succeeded"] == 1
    });
    store(&world, "c-1", (client, Role::Client), vec![failed(clock::now_unix_ms()), failed(clock::now_unix_ms() + 1)]);
    world.until("two messages, one client", |world| {
        reconcile(world, &path, "a");
        let status = world.ask("GET", &path, None)["status"].clone();
        status["messages"]["failed"] == 2 && status["clients"]["failed"] == 1 && status["health"] == "Critical"
    });
    let status = world.ask("GET", &path, None)["status"].clone();
    assert_eq!(status["clients"]["targeted"], 1);
    assert_eq!(status["messages"]["succeeded"], 1, "nothing is taken back");

    // a restart empties nothing either
    world.kill("site");
    world.until("the site is back", |world| world.ask("GET", &path, None).is_object());
    assert_eq!(component(&world, "d")["errors"], 5);
    assert_eq!(world.ask("GET", &path, None)["status"]["messages"]["failed"], 2);
}
