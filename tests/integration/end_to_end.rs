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

/// Targeted, waiting and succeeded clients of the advertisement.
fn counts(world: &World) -> [i64; 3] {
    let advertisement = world.ask("GET", "/apis/waybill.dev/v1alpha1/namespaces/default/advertisements/tool", None);
    let clients = &advertisement["status"]["clients"];
    ["targeted", "waiting", "succeeded"].map(|count| clients[count].as_i64().unwrap_or(-1))
}

/// What `why` says of the one client, and its exit code.
fn why(world: &World) -> (Option<i32>, String) {
    let id = world.list("/apis/fleet.waybill.dev/v1alpha1/clients")[0]["metadata"]["name"].clone();
    let output = world.command(&["why", "tool", id.as_str().unwrap(), "--state", "site"]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_client_that_is_off_has_not_succeeded_with_the_version_that_came_since() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 is told", |world| counts(world) == [1, 0, 1]);
    let (code, text) = why(&world);
    assert!(code == Some(0) && text.contains("run: ok: Succeeded with version 1"), "{text}");
    assert!(text.contains("it was heard of last at 2"), "{text}");

    world.strike("client");
    world.script("tool", 2, "");
    world.until("it waits for version 2", |world| counts(world) == [1, 1, 0]);
    let (code, text) = why(&world);
    assert_eq!(code, Some(0), "it comes by itself: {text}");
    assert!(text.contains("\npolicy: waiting (WaitingForPolicy): the client was heard of last at "), "{text}");
    assert!(text.contains("offers version 2 since, the client's last answer is of version 1"), "{text}");

    world.start("client");
    world.until("version 2 is told", |world| counts(world) == [1, 0, 1]);
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1), ("tool 2".to_owned(), 1)].into());
    assert!(why(&world).1.contains("run: ok: Succeeded with version 2"));
}

#[test]
fn a_client_that_is_off_has_not_succeeded_at_the_rerun_token_that_came_since() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 is told", |world| counts(world) == [1, 0, 1]);

    world.strike("client");
    world.offer("tool", ", rerunToken: again");
    world.until("it waits for the token", |world| counts(world) == [1, 1, 0]);
    let (code, text) = why(&world);
    assert_eq!(code, Some(0), "it comes by itself: {text}");
    assert!(text.contains("offers rerunToken again since, and the client has not answered that offer yet"), "{text}");
    assert!(!text.contains("run: ok"), "{text}");

    world.start("client");
    world.until("the second run is told", |world| counts(world) == [1, 0, 1]);
    assert_eq!(world.lines(), [("tool 1".to_owned(), 2)].into());
    assert!(why(&world).1.contains("run: ok: Succeeded with version 1"));

    // A token that ran before runs nothing, and keeps nobody waiting.
    world.offer("tool", ", rerunToken: once-more");
    world.until("the third run", |world| world.lines() == [("tool 1".to_owned(), 3)].into());
    world.offer("tool", ", rerunToken: again");
    world.until("all is as it was", |world| counts(world) == [1, 0, 1] && why(world).1.contains("run: ok"));
}
