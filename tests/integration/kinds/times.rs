//! Whose clock a time follows: `startAfter` the server's, an advertisement's times the client's.

use super::{DEFAULT, count, until_ready};
use crate::world::{HEAD, World};

fn late(start: &str) -> String {
    format!(
        "{HEAD}: Distribution\nmetadata: {{name: p}}\n\
         spec: {{package: p, distributionPoints: {{all: {{}}}}, startAfter: '{start}'}}\n"
    )
}

#[test]
fn start_after_waits_for_the_servers_clock_and_an_advertisements_times_are_the_clients_to_judge() {
    let mut world = World::new();
    world.script("p", 1, "");
    world.declare("p");
    world.advertise("p");
    let far = "2999-12-01T08:00:00+01:00";
    world.write("p-late.yaml", late(far));
    // the package without its distribution: that one comes from the file above
    let text = std::fs::read_to_string(world.path("fleet/p.yaml")).unwrap();
    let parts: Vec<&str> = text.split("---\n").collect();
    world.write("p.yaml", parts[..2].join("---\n"));
    // by the server's clock it is over, which is not the server's business
    world.write(
        "over.yaml",
        format!(
            "{HEAD}: Package\nmetadata: {{name: q}}\nspec: {{source: {{none: {{}}}}}}\n---\n\
             {HEAD}: Program\nmetadata: {{name: q}}\nspec: {{packageRef: q, argv: [/bin/true]}}\n---\n\
             {HEAD}: Advertisement\nmetadata: {{name: over}}\n\
             spec: {{program: q, collection: everybody, userMayStart: true, expires: '2001-01-01T00:00:00Z'}}\n"
        ),
    );
    world.up();
    let distribution = format!("{DEFAULT}/distributions/p");
    until_ready(&world, &distribution, "WaitingForStart");
    until_ready(&world, &format!("{DEFAULT}/advertisements/p"), "WaitingForContent");
    let waiting = "SELECT count(*) FROM jobs WHERE finished_ms IS NULL";
    world.until("its jobs wait, one a point", |world| count(world, waiting) == 2);
    assert_eq!(count(&world, "SELECT count(*) FROM locations"), 0, "nothing was sent before");

    let soon = waybill::clock::now() + jiff::SignedDuration::from_secs(2);
    world.write("p-late.yaml", late(&soon.to_string()));
    world.until("its time came and nobody touched it", |world| world.lines().get("p 1") == Some(&1));
    assert!(waybill::clock::now() >= soon, "by the server's clock");
    until_ready(&world, &distribution, "Succeeded");

    // offered all the same, with its times as they stand: the client's clock decides, and says so
    let over = format!("{DEFAULT}/advertisements/over");
    until_ready(&world, &over, "Succeeded");
    world.until("the client says that its time is over", |world| {
        let rows = world.list("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses");
        rows.iter().any(|row| row["status"]["advertisement"] == "over" && row["status"]["state"] == "Expired")
    });
    assert_eq!(world.lines().values().sum::<u32>(), 1, "nobody started it");
}
