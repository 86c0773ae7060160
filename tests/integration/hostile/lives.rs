//! Certificates over several lives, with real processes: renewed at half-life while everybody works on, and taken up
//! again by a machine that was off for longer. `WAYBILL_TEST_LIFE` is another life than that of a quick test, such as
//! `60s`.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use waybill::{
    clock,
    model::duration::Span,
    transport::session::Session,
    trust::identity::{certificates, lifetime},
};

use super::probe::Held;
use crate::world::World;

/// Long enough for a renewal at half of it on a busy machine.
const LIFE: Span = Span::from_secs(24);

#[expect(clippy::disallowed_methods, reason = "the test run's own switch, not a setting of the product")]
fn life() -> Span {
    std::env::var("WAYBILL_TEST_LIFE").map_or(LIFE, |text| Span::parse(&text).unwrap())
}

fn session(world: &World, name: &str) -> Option<Session> {
    serde_json::from_slice(&fs::read(world.path(name).join("session.json")).ok()?).ok()
}

/// What changes when a certificate is renewed: of each device, and of each kubeconfig.
fn presented(world: &World) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for name in ["client", "dp", "cap"] {
        all.insert(name.to_owned(), session(world, name).map(|session| session.certificate_pem).unwrap_or_default());
    }
    for file in ["kubeconfig", "viewer.kubeconfig"] {
        let config: Value = serde_json::from_slice(&fs::read(world.path("site").join(file)).unwrap()).unwrap();
        let certificate = &config["users"][0]["user"]["client-certificate-data"];
        all.insert(file.to_owned(), certificate.as_str().unwrap().to_owned());
    }
    all
}

/// Waits for a condition, for several lives if need be.
fn within(life: Duration, world: &World, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + life * 3 + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}\n{}", world.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn certificates_are_renewed_at_half_life_and_taken_up_again_after_it() {
    let life = life();
    let (text, life) = (life.to_string(), life.as_duration());
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    let listen = format!("127.0.0.1:{}", world.port());
    let lives = ["--certificate-lifetime", &text, "--serving-lifetime", &text];
    world.start_as("site", &[&["up", "fleet", "--state", "site", "--listen", &listen][..], &lives].concat());
    within(life, &world, "the site listens", || std::net::TcpStream::connect(("127.0.0.1", world.port())).is_ok());
    world.join(&["dp", "cap", "client", "client-away"]);
    world.until("both clients run version 1", |world| world.lines().get("tool 1") == Some(&2));
    world.until("all have joined", |world| ["dp", "cap"].iter().all(|name| session(world, name).is_some()));

    // One machine is switched off. Meanwhile connections are held open, over the renewals.
    world.stop("client-away");
    let away = session(&world, "client-away").unwrap();
    let before = presented(&world);
    // The API, and enrolment, which shows the certificate that devices see as well.
    let ports = [world.port() - 1, world.port() + 1];
    let mut held = ports.map(Held::open);
    let served: Vec<_> = held.iter().map(Held::server).collect();
    let renewed = || presented(&world).iter().all(|(name, now)| before.get(name) != Some(now));
    let swapped = || ports.map(Held::open).iter().map(Held::server).zip(&served).all(|(now, then)| now != *then);
    let ids = || ["client", "dp", "cap"].map(|name| session(&world, name).unwrap().id);
    let ids_before = ids();
    within(life, &world, "every device and kubeconfig is renewed", renewed);
    within(life, &world, "new connections get new certificates", swapped);
    for connection in &mut held {
        assert!(connection.answers(), "a connection that was open over the renewal goes on");
    }
    assert_eq!(ids(), ids_before);

    // The certificate of the machine that is away lapses; its key brings it back under its id.
    let (_, not_after) = lifetime(&certificates(&away.certificate_pem).unwrap()[0]).unwrap();
    within(life, &world, "the old certificate ends", || clock::now() > not_after);
    world.package("tool", 2);
    world.until("version 2 runs on the one that is there", |world| world.lines().get("tool 2") == Some(&1));
    world.start("client-away");
    world.until("version 2 runs on both", |world| world.lines().get("tool 2") == Some(&2));
    let back = session(&world, "client-away").unwrap();
    assert_eq!(back.id, away.id);
    assert_ne!(back.certificate_pem, away.certificate_pem);
    assert_eq!(world.list("/apis/fleet.waybill.dev/v1alpha1/clients").len(), 2, "nobody joined a second time");
    assert_eq!(world.lines().get("tool 1"), Some(&2), "and nothing ran a second time");
}
