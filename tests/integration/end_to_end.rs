//! From an edited file to a program that ran on a client, and away again, with real processes: a site, a distribution point
//! and an agent.

use std::thread;

use crate::world::{SILENCE, World};

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
fn an_edit_of_a_packages_files_alone_is_a_new_version() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    world.until("both points hold it", |world| world.published("site", "tool") && world.published("dp", "tool"));
    // Whatever makes the site look at the package for other reasons has happened by then.
    thread::sleep(SILENCE * 2);
    world.script("tool", 2, "");
    world.until("version 2 runs", |world| world.lines().contains_key("tool 2"));
}
