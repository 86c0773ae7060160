//! The maximum run time: the whole tree is ended, and nothing but the tree.

use waybill::agent::run::{Ending, Settled};

use super::setting::{Client, ending, eventually, output, processes_with};

/// Runs `script` for at most a second. `$0` of everything it starts carries `tag`, by which survivors are found.
fn run_for_a_second(client: &Client, tag: &str, script: &str) -> Settled {
    let mut ticket = client.ticket(&["/bin/sh", "-c", script, tag]);
    ticket.max_runtime_seconds = 1;
    client.run(&ticket)
}

fn nothing_survives(tag: &str) {
    eventually("the tree is gone", || processes_with(tag).is_empty().then_some(()));
}

#[test]
fn a_program_that_heeds_term_is_not_killed() {
    let client = Client::with(&[]);
    let tag = format!("heeds-{}", client.dir().display());
    let settled = run_for_a_second(&client, &tag, "trap 'echo tidied; exit 0' TERM; while :; do sleep 0.1; done");
    assert_eq!(ending(&settled), Ending::TimedOut { killed: false, survivors: 0 });
    assert!(output(&settled).ends_with("tidied\n"), "{}", output(&settled));
    nothing_survives(&tag);
}

#[test]
fn children_and_double_forks_that_ignore_term_are_killed() {
    let client = Client::with(&[]);
    let tag = format!("stubborn-{}", client.dir().display());
    let script = "trap '' TERM; export TAG=$0
        sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' \"$0\" &
        (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' \"$0\" & )
        (setsid sh -c '(setsid sh -c \"while :; do sleep 0.1; done\" \"$0\" & ) ; exit 0' \"$0\" & )
        while :; do sleep 0.1; done";
    let settled = run_for_a_second(&client, &tag, script);
    assert_eq!(ending(&settled), Ending::TimedOut { killed: true, survivors: 0 });
    nothing_survives(&tag);
}

#[test]
fn a_child_that_outlives_its_obedient_parent_is_killed() {
    let client = Client::with(&[]);
    let tag = format!("orphan-{}", client.dir().display());
    let script = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' \"$0\" & ); sleep 60";
    let settled = run_for_a_second(&client, &tag, script);
    assert_eq!(ending(&settled), Ending::TimedOut { killed: true, survivors: 0 });
    nothing_survives(&tag);
}

#[test]
fn a_program_that_forks_without_end_is_caught() {
    let client = Client::with(&[]);
    let tag = format!("forks-{}", client.dir().display());
    // One process at a time, each the orphan of the one before.
    let chain = client.dir().join("chain.sh");
    std::fs::write(&chain, "trap '' TERM; sleep 0.01; sh \"$0\" \"$1\" & exit 0\n").unwrap();
    let script = format!("trap '' TERM; sh {} \"$0\" & while :; do sleep 0.1; done", chain.display());
    let settled = run_for_a_second(&client, &tag, &script);
    assert_eq!(ending(&settled), Ending::TimedOut { killed: true, survivors: 0 });
    nothing_survives(&tag);
}
