//! From an edited file to a program that ran on a client, and away again, with real processes: a site, a distribution point
//! and an agent.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::world::{SILENCE, World};

/// Versions of the package in the kill test.
const ROUNDS: u64 = 4;

#[test]
fn a_file_becomes_a_program_that_ran_once_per_version_until_it_is_withdrawn_and_removed() {
    let mut world = World::new();
    world.package("tool", 1);
    world.package("other", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    world.until("both points hold it", |world| world.published("site", "tool") && world.published("dp", "tool"));

    world.package("tool", 2);
    world.until("version 2 runs", |world| world.lines().contains_key("tool 2"));

    // Withdrawn: a new version reaches the points, and no client.
    world.take_out("tool-offer.yaml");
    thread::sleep(SILENCE);
    world.package("tool", 3);
    thread::sleep(SILENCE);
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1), ("tool 2".to_owned(), 1)].into());

    world.take_out("tool.yaml");
    world.until("no point holds it", |world| !world.published("site", "tool") && !world.published("dp", "tool"));
    assert!(world.published("site", "other"), "the other package stays");
    assert_eq!(world.lines().len(), 2);
}

#[test]
fn kill_minus_nine_of_anybody_duplicates_nothing_and_loses_nothing() {
    let seed = waybill::clock::now_unix_ms().cast_unsigned();
    eprintln!("seed {seed}");
    let mut random = seed | 1;
    let mut next = move |below: u64| {
        // xorshift64: good enough to spread kills.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    let mut expected = BTreeMap::from([("tool 1".to_owned(), 1)]);
    for version in 2..2 + ROUNDS {
        world.package("tool", version);
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(next(700)));
            let victim = ["site", "dp", "client"][usize::try_from(next(3)).unwrap()];
            eprintln!("version {version}: kill {victim}");
            world.kill(victim);
        }
        let line = format!("tool {version}");
        world.until(&line, |world| world.lines().contains_key(&line));
        expected.insert(line, 1);
    }
    thread::sleep(SILENCE);
    // No supervisor was killed, so not one line may be missing.
    assert_eq!(world.lines(), expected, "seed {seed}\n{}", world.logs());
}
