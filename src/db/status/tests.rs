//! Rows follow a client's messages and never go back.

use super::*;
use crate::{
    db::{
        devices,
        fixtures::{NOW, client, message, scratch, sender},
        messages::store_batch,
    },
    model::message::{EXIT_CODE, OCCASION, OUTPUT, PROGRAM, RERUN_TOKEN, SOURCE_VERSION, USER},
    plan::behind::Answered,
};

fn editor() -> ObjectName {
    ObjectName::new("default", "editor")
}

fn says(tx: &mut Tx, outbox: &str, seq: u64, state: RunState, attributes: &[(&str, &str)]) {
    let mut message = StatusMessage { time_ms: NOW + seq as i64, ..message("editor", state) };
    message.attributes.extend(attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    store_batch(tx, &sender("c1"), outbox, &[(seq, message)], NOW + 100).unwrap();
}

fn row(tx: &Tx) -> StatusRow {
    get(tx, "c1", &editor()).unwrap().unwrap()
}

#[test]
fn a_row_tells_the_story_of_the_last_run() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    says(&mut tx, "o", 1, RunState::Accepted, &[(PROGRAM, "install")]);
    says(&mut tx, "o", 2, RunState::Running, &[(SOURCE_VERSION, "3"), (USER, "ann")]);
    says(&mut tx, "o", 3, RunState::Failed, &[(EXIT_CODE, "7"), (OUTPUT, "no space")]);
    let failed = row(&tx);
    assert_eq!((failed.state, failed.exit_code, failed.attempts), (RunState::Failed, Some(7), 1));
    assert_eq!((failed.output.as_deref(), failed.user.as_deref()), (Some("no space"), Some("ann")));
    assert_eq!((failed.accepted_ms, failed.source_version), (Some(NOW + 1), Some(3)));
    says(&mut tx, "o", 4, RunState::Retrying, &[]);
    assert_eq!(row(&tx).exit_code, Some(7), "what it is retried for");
    says(&mut tx, "o", 5, RunState::Running, &[]);
    let again = row(&tx);
    assert_eq!((again.attempts, again.exit_code, again.output, again.user), (2, None, None, None));
    says(&mut tx, "o", 6, RunState::Running, &[]);
    assert_eq!(row(&tx).attempts, 2, "still the same run");
    says(&mut tx, "o", 7, RunState::Succeeded, &[(EXIT_CODE, "0")]);
    let done = row(&tx);
    assert_eq!((done.state, done.exit_code, done.program.as_deref()), (RunState::Succeeded, Some(0), Some("install")));
    assert_eq!(of_client(&tx, "c1").unwrap(), [StatusRow { output: None, ..done }]);
}

#[test]
fn a_run_that_never_started_shows_nothing_of_the_one_before_and_counts_as_no_attempt() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    says(&mut tx, "o", 1, RunState::Running, &[(USER, "ann")]);
    says(&mut tx, "o", 2, RunState::Failed, &[(EXIT_CODE, "7"), (OUTPUT, "no space")]);
    says(&mut tx, "o", 3, RunState::PrepareFailed, &[]);
    let refused = row(&tx);
    assert_eq!((refused.state, refused.attempts), (RunState::PrepareFailed, 1));
    assert_eq!((refused.exit_code, refused.output, refused.user), (None, None, None));
    let started = summaries::message_counts(&tx, &editor()).unwrap();
    assert_eq!((started.started, started.failed_to_start), (1, 1));
}

#[test]
fn late_messages_are_stored_but_do_not_move_the_row() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    says(&mut tx, "old", 1, RunState::Accepted, &[]);
    says(&mut tx, "old", 5, RunState::Succeeded, &[]);
    says(&mut tx, "old", 3, RunState::Running, &[]);
    assert_eq!(row(&tx).state, RunState::Succeeded);
    // The client lost its state and began a new outbox, whose numbers start again.
    says(&mut tx, "new", 1, RunState::Accepted, &[]);
    assert_eq!(row(&tx).state, RunState::Accepted);
    says(&mut tx, "old", 6, RunState::Failed, &[]);
    assert_eq!(row(&tx).state, RunState::Accepted);
    assert_eq!(crate::db::summaries::client_states(&tx, &editor()).unwrap(), [(RunState::Accepted, 1)].into());
}

#[test]
fn the_newest_version_that_was_answered_is_of_the_program_under_any_advertisement() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let of = |version| [(PROGRAM, "install"), (SOURCE_VERSION, version)];
    says(&mut tx, "o", 1, RunState::Succeeded, &of("10"));
    let answered_by_all = |tx: &Tx| {
        let listed = states(tx, &editor(), None).unwrap();
        let alone = answered(tx, "c1", "default", "install", None).unwrap();
        assert_eq!(listed, [("c1".to_owned(), RunState::Succeeded, alone)]);
        listed[0].2.version
    };
    assert_eq!(answered_by_all(&tx), Some(10));
    let other = StatusMessage { time_ms: NOW + 2, ..message("viewer", RunState::Succeeded) };
    for (seq, program, version) in [(2, "remove", "12"), (3, "install", "11")] {
        let mut other = other.clone();
        other
            .attributes
            .extend([(PROGRAM.to_owned(), program.to_owned()), (SOURCE_VERSION.to_owned(), version.to_owned())]);
        store_batch(&mut tx, &sender("c1"), "o", &[(seq, other)], NOW + 100).unwrap();
        assert_eq!(answered_by_all(&tx), Some(if program == "install" { 11 } else { 10 }), "{program}");
    }
    assert_eq!(answered(&tx, "c1", "other", "install", None).unwrap().version, None);
}

#[test]
fn who_tells_what_it_runs_for_has_answered_for_its_own_tokens_alone() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let has = |tx: &Tx, token| {
        let listed = states(tx, &editor(), Some(token)).unwrap();
        assert_eq!(listed[0].2, answered(tx, "c1", "default", "install", Some(token)).unwrap());
        listed[0].2.token
    };
    let mut seq = 0;
    let mut ran = |tx: &mut Tx, more: &[(&str, &str)]| {
        seq += 1;
        says(tx, "o", seq, RunState::Succeeded, &[&[(PROGRAM, "install")], more].concat());
    };
    ran(&mut tx, &[]);
    assert!(has(&tx, "a"), "nobody can tell of an agent that does not say it");
    ran(&mut tx, &[(OCCASION, "assigned")]);
    assert!(!has(&tx, "a"));
    ran(&mut tx, &[(OCCASION, "rerun token"), (RERUN_TOKEN, "a")]);
    ran(&mut tx, &[]);
    assert_eq!((has(&tx, "a"), has(&tx, "b")), (true, false));
    ran(&mut tx, &[(OCCASION, "rerun token"), (RERUN_TOKEN, "b")]);
    assert_eq!((has(&tx, "a"), has(&tx, "b")), (true, true), "an earlier token set again runs nothing");
    assert!(!answered(&tx, "c1", "default", "install", Some("c")).unwrap().token);
    // Under whatever advertisement, and of this program only.
    for (seq, program) in [(90, "remove"), (91, "install")] {
        let mut other = message("viewer", RunState::Succeeded);
        let attributes = [(PROGRAM, program), (OCCASION, "rerun token"), (RERUN_TOKEN, "c")];
        other.attributes.extend(attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
        store_batch(&mut tx, &sender("c1"), "o", &[(seq, other)], NOW + 100).unwrap();
        assert_eq!(has(&tx, "c"), program == "install");
    }
    // No client makes its row grow for ever.
    for number in 0..20 {
        says(&mut tx, "o", 100 + number, RunState::Succeeded, &[(RERUN_TOKEN, &number.to_string())]);
    }
    says(&mut tx, "o", 200, RunState::Succeeded, &[(RERUN_TOKEN, &"x".repeat(1_000))]);
    assert_eq!(row(&tx).rerun_tokens.unwrap(), ["12", "13", "14", "15", "16", "17", "18", "19"]);
}

#[test]
fn rows_go_with_their_client_or_advertisement() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    says(&mut tx, "o", 1, RunState::Accepted, &[]);
    let nothing = Answered { version: None, token: true };
    assert_eq!(states(&tx, &editor(), Some("a")).unwrap(), [("c1".to_owned(), RunState::Accepted, nothing)]);
    assert_eq!(page(&tx, Some("default"), None, 9).unwrap(), of_advertisement(&tx, &editor()).unwrap());
    assert_eq!(page(&tx, None, Some(&row(&tx)), 9).unwrap(), []);
    forget_advertisement(&mut tx, &editor()).unwrap();
    assert_eq!(of_advertisement(&tx, &editor()).unwrap(), []);
    says(&mut tx, "o", 2, RunState::Waiting, &[]);
    devices::delete(&mut tx, "c1", NOW).unwrap();
    assert_eq!(of_advertisement(&tx, &editor()).unwrap(), []);
    assert_eq!(crate::db::summaries::client_states(&tx, &editor()).unwrap(), [].into());
}
