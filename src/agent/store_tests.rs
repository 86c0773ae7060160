//! The store keeps what it was given, once.

use jiff::Timestamp;

use super::*;
use crate::{
    model::{
        identity::ObjectName,
        message::{Component, MessageType, Severity, StatusMessage},
        state::RunOutcome,
    },
    plan::run::RunKey,
};

fn report(state: Option<RunState>) -> Report {
    let message = StatusMessage {
        time_ms: 1,
        severity: Severity::Informational,
        message_type: MessageType::Milestone,
        component: Component::ClientAgent,
        message_id: 10_005,
        text: "x".into(),
        reason: None,
        state,
        attributes: Default::default(),
    };
    let standing = state.map(|state| ("n/a".to_owned(), Standing { state, reason: Reason::Progressing }));
    Report { message, standing }
}

fn past(program: &str) -> PastRun {
    let program =
        ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: program.into() };
    PastRun {
        key: RunKey { program, occurrence: Occurrence::Once },
        advertisement: ObjectName::new("n", "a"),
        started_at: Timestamp::UNIX_EPOCH,
        outcome: None,
        state: RunState::Running,
        exit_code: None,
        source_version: 1,
        program_digest: "d".into(),
    }
}

/// As earlier versions left them, before the state was moved and after it.
#[test]
fn runs_that_were_kept_by_their_directories_are_named_once() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    let store = Store::open(&path).unwrap();
    let (first, again) = (past("install"), PastRun { source_version: 2, ..past("install") });
    store.put_run("/var/lib/here/runs/ab/1", &first, &[]).unwrap();
    store.put_run("/var/lib/there/runs/ab/1", &again, &[]).unwrap();
    store.put_run("/var/lib/there/runs/ab/2", &again, &[]).unwrap();
    drop(store);
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.history(&first.key.program).unwrap(), [first.clone(), again.clone()]);
        assert_eq!(store.unfinished().unwrap(), ["ab/1", "ab/2"]);
        assert_eq!(store.run("ab/2").unwrap(), Some(again.clone()));
    }
}

#[test]
fn a_run_is_one_row_and_its_message_comes_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    let store = Store::open(&path).unwrap();
    let mut run = past("install");
    store.put_run("d/1", &run, &[report(Some(RunState::Running))]).unwrap();
    run.outcome = Some(RunOutcome::Succeeded);
    store.put_run("d/1", &run, &[]).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.history(&run.key.program).unwrap(), [run]);
    assert_eq!(store.outbox(10).unwrap().len(), 1);
}

#[test]
fn numbers_go_on_after_everything_was_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    let store = Store::open(&path).unwrap();
    store.say(&report(None)).unwrap();
    store.acknowledge(1).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    store.say(&report(None)).unwrap();
    assert_eq!(store.outbox(10).unwrap()[0].0, 2, "a number used twice would be taken for a duplicate");
}

#[test]
fn a_damaged_database_is_named_with_what_helps() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    let store = Store::open(&path).unwrap();
    for number in 0..200 {
        store.put_run(&format!("d/{number}"), &past("install"), &[report(None)]).unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut holed = whole.clone();
    holed[8_192..16_384].fill(0xaa);
    for bytes in [&b"not a database, and long enough to be looked at as one: not a database"[..], &holed] {
        std::fs::write(&path, bytes).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged(named) if *named == path), "{error}");
        assert!(error.to_string().contains("may run a second time"), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(Store::open(&path).unwrap().latest_runs(500).unwrap().len(), 200);
}

#[test]
fn a_newer_layout_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    drop(Store::open(&path).unwrap());
    Connection::open(&path).unwrap().execute("UPDATE meta SET value = 9", ()).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Newer { schema: 9 })));
}

#[test]
fn a_standing_is_said_once_and_goes_with_its_message() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&scratch.path().join("agent.db")).unwrap();
    assert!(store.say(&report(Some(RunState::Waiting))).unwrap());
    assert!(!store.say(&report(Some(RunState::Waiting))).unwrap());
    assert!(store.say(&report(Some(RunState::Running))).unwrap());
    assert_eq!(store.outbox(10).unwrap().len(), 2);
    store.withdraw("n/a", None).unwrap();
    assert!(store.standings().unwrap().is_empty());
}

#[test]
fn an_outbox_keeps_its_id_and_a_batch_its_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("agent.db");
    let store = Store::open(&path).unwrap();
    let id = store.outbox_id().unwrap();
    for _ in 0..4 {
        let mut big = report(None);
        big.message.text = "y".repeat(100 << 10);
        store.say(&big).unwrap();
    }
    assert_eq!(store.outbox(500).unwrap().len(), 2, "two of a hundred KiB fit into 256 KiB");
    assert_eq!(store.outbox(1).unwrap().len(), 1);
    drop(store);
    assert_eq!(Store::open(&path).unwrap().outbox_id().unwrap(), id);
    assert!(!id.is_empty());
}

#[test]
fn a_request_is_kept_once_and_goes_with_its_run() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&scratch.path().join("agent.db")).unwrap();
    let ask = |id: &str| outbox::Request { id: id.into(), advertisement: "n/a".into(), user: "ann (1000)".into() };
    assert!(store.put_request(&ask("1"), Timestamp::UNIX_EPOCH).unwrap());
    assert!(!store.put_request(&ask("2"), Timestamp::UNIX_EPOCH).unwrap());
    let mut run = past("install");
    run.key.occurrence = Occurrence::Request("1".into());
    run.state = RunState::Waiting;
    store.put_run("d/1", &run, &[]).unwrap();
    assert_eq!(store.requests().unwrap().len(), 1, "its program may yet turn out not to have started");
    run.state = RunState::Running;
    store.put_run("d/1", &run, &[]).unwrap();
    assert!(store.requests().unwrap().is_empty());
    assert_eq!(store.unfinished().unwrap(), ["d/1"]);
}
