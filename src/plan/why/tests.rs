//! The walk, fact by fact: each row changes one thing of a client that has succeeded.

use super::*;
use crate::{
    content::digest::Digest,
    model::{
        schedule::{Assignment, Rerun},
        state::RunState,
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ran(state: RunState, reason: Option<Reason>) -> RunFacts {
    RunFacts {
        state,
        reason,
        text: "what the client said".into(),
        exit_code: None,
        source_version: Some(3),
        rerun: Rerun::IfFailed,
        assignments: vec![Assignment::AsSoonAsPossible, Assignment::At(at(2_000))],
        expires: None,
    }
}

/// Everything is done.
fn done() -> Facts {
    Facts {
        advertisement: ObjectName::new("default", "tools"),
        client: "c-1".into(),
        clause: Clause::Member { collection: "all".into(), direct: false },
        record: Ok(RecordFacts {
            package: "tools".into(),
            source_version: 3,
            has_program: true,
            has_content: true,
            obstacle: None,
        }),
        points: vec![PointFacts { point: "main".into(), state: LocationState::Installed, detail: None }],
        outcome: Some(Outcome::Offered { members: 5, record: Digest::of(b"r"), lost: false }),
        policy: PolicyFacts { published: Some(at(900)), last_seen: Some(at(950)), spoken: true, behind: None },
        run: Some(ran(RunState::Succeeded, None)),
    }
}

/// Changes one thing and answers name, standing and reason of the answer.
#[track_caller]
fn check(change: impl FnOnce(&mut Facts), expected: (&str, Standing, Option<Reason>), says: &str) {
    let mut facts = done();
    change(&mut facts);
    let steps = explain(&facts, at(1_000));
    assert_eq!(
        steps.iter().map(|step| step.name).collect::<Vec<_>>(),
        ["clause", "record", "content", "offer", "policy", "run"]
    );
    let found = answer(&steps).unwrap();
    assert_eq!((found.name, found.standing, found.reason), expected, "{}", found.text);
    assert!(found.text.contains(says), "{}", found.text);
}

fn not_member(direct: usize, false_parts: &[&str], failure: Option<&str>) -> Clause {
    Clause::NotMember {
        collection: "pilots".into(),
        direct,
        false_parts: false_parts.iter().map(|part| (*part).to_owned()).collect(),
        failure: failure.map(str::to_owned),
        suspended: false,
    }
}

#[test]
fn who_is_targeted() {
    let failed = |reason| ("clause", Standing::Failed, Some(reason));
    let nothing = explain(&Facts { clause: Clause::NoAdvertisement, ..done() }, at(1_000));
    assert_eq!(nothing.len(), 1, "nothing else can be said of what is not there");
    assert_eq!((nothing[0].name, nothing[0].standing, nothing[0].reason), failed(Reason::ReferenceNotFound));
    check(|facts| facts.clause = Clause::NoClient, failed(Reason::ReferenceNotFound), "no client c-1 has joined");
    check(|facts| facts.clause = Clause::Blocked, failed(Reason::Blocked), "waybill clients unblock c-1");
    check(
        |facts| facts.clause = Clause::NoCollection { collection: "x".into() },
        failed(Reason::ReferenceNotFound),
        "collection x does not exist",
    );
    check(
        |facts| facts.clause = Clause::InvalidQuery { collection: "x".into(), text: "odd".into() },
        failed(Reason::QueryFailed),
        "not valid: odd",
    );
    let refusal = Refusal { reason: Reason::NamespaceNotGranted, text: "nobody is granted".into() };
    check(
        |facts| facts.clause = Clause::NotGranted { collection: "x".into(), refusal },
        failed(Reason::NamespaceNotGranted),
        "member of collection x, but nobody is granted",
    );
    check(
        |facts| facts.clause = not_member(2, &["client.cpus > 8"], None),
        failed(Reason::OfferWithdrawn),
        "none of the 2 clients in spec.clients is it; false in its query: client.cpus > 8",
    );
    check(
        |facts| facts.clause = not_member(0, &[], Some("no such key")),
        failed(Reason::OfferWithdrawn),
        "its query fails on this client: no such key",
    );
}

#[test]
fn what_is_there_to_be_offered() {
    let record = ("record", Standing::Waiting, Some(Reason::WaitingForRecord));
    let none = |obstacle| Err(NoRecord::NoneYet { package: "tools".into(), obstacle });
    check(|facts| facts.record = none(None), record, "no record yet");
    // Who has to act is told so, and why: a package whose source is refused never gets a record by waiting.
    let obstacle = |needs_somebody| Obstacle {
        reason: Reason::SourceRefused,
        text: "packages/tools/x is a link".into(),
        needs_somebody,
    };
    check(
        |facts| facts.record = none(Some(obstacle(true))),
        ("record", Standing::Failed, Some(Reason::SourceRefused)),
        "package tools has no record: packages/tools/x is a link",
    );
    check(
        |facts| facts.record = none(Some(obstacle(false))),
        ("record", Standing::Waiting, Some(Reason::SourceRefused)),
        "is a link",
    );
    let missing = ("record", Standing::Failed, Some(Reason::ReferenceNotFound));
    check(|facts| facts.record = Err(NoRecord::NoProgram { program: "x".into() }), missing, "program x does not");
    check(|facts| facts.record = Err(NoRecord::NoPackage { package: "x".into() }), missing, "package x does not");
    check(|facts| facts.record.as_mut().unwrap().has_program = false, record, "does not hold the program");
    let content = |standing| ("content", standing, Some(Reason::WaitingForContent));
    check(|facts| facts.points.clear(), content(Standing::Failed), "no Distribution brings version 3");
    let point =
        |state, detail: Option<&str>| PointFacts { point: "dp-2".into(), state, detail: detail.map(str::to_owned) };
    check(
        |facts| facts.points = vec![point(LocationState::InstallRetrying, Some("disk full"))],
        content(Standing::Waiting),
        "dp-2 InstallRetrying (disk full)",
    );
    check(
        |facts| facts.points = vec![point(LocationState::InstallFailed, None)],
        content(Standing::Failed),
        "dp-2 InstallFailed",
    );
    check(
        |facts| {
            facts.points.clear();
            facts.outcome = Some(Outcome::Offered { members: 5, record: Digest::of(b"r"), lost: true });
        },
        ("content", Standing::Failed, Some(Reason::ContentLost)),
        "any more",
    );
    check(
        |facts| {
            facts.points.clear();
            facts.record.as_mut().unwrap().has_content = false;
        },
        ("run", Standing::Ok, None),
        "Succeeded",
    );
    check(|facts| facts.outcome = None, ("offer", Standing::Waiting, Some(Reason::Progressing)), "not looked at");
    check(
        |facts| facts.outcome = Some(Outcome::Stalled(Reason::ProgramConflict, "it contradicts".into())),
        ("offer", Standing::Failed, Some(Reason::ProgramConflict)),
        "it contradicts",
    );
}

#[test]
fn whether_the_client_knows() {
    let waiting = ("policy", Standing::Waiting, Some(Reason::WaitingForPolicy));
    let silent = |published, last_seen| PolicyFacts { published, last_seen, spoken: false, behind: None };
    check(|facts| facts.policy = silent(None, Some(at(1))), waiting, "no policy");
    check(|facts| facts.policy = silent(Some(at(900)), None), waiting, "never been heard of");
    check(|facts| facts.policy = silent(Some(at(900)), Some(at(899))), waiting, "switched off?");
    check(
        |facts| {
            facts.policy = silent(Some(at(900)), Some(at(901)));
            facts.run = None;
        },
        ("run", Standing::Waiting, Some(Reason::WaitingForPolicy)),
        "said nothing",
    );
}

#[test]
fn an_answer_to_an_older_version_is_no_answer_to_the_one_that_is_due() {
    let behind = |last_seen| PolicyFacts {
        published: Some(at(900)),
        last_seen: Some(at(last_seen)),
        spoken: true,
        behind: Some(Behind::Version { offered: 4, answered: 3 }),
    };
    check(
        |facts| facts.policy = behind(899),
        ("policy", Standing::Waiting, Some(Reason::WaitingForPolicy)),
        "heard of last at 1970-01-01T00:14:59Z: the site offers version 4 since, the client's last answer is of version 3",
    );
    // It is there, and does not take the policy: its disk may be full.
    check(
        |facts| facts.policy = behind(950),
        ("run", Standing::Waiting, Some(Reason::WaitingForPolicy)),
        "what the client said. It is to run version 4, of which the client has said nothing yet",
    );
    let token = |last_seen| PolicyFacts { behind: Some(Behind::Token("again".into())), ..behind(last_seen) };
    check(
        |facts| facts.policy = token(899),
        ("policy", Standing::Waiting, Some(Reason::WaitingForPolicy)),
        "the site offers rerunToken again since, and the client has not answered that offer yet",
    );
    let due = "It is to run once more for rerunToken again, of which the client has said nothing yet";
    check(|facts| facts.policy = token(950), ("run", Standing::Waiting, Some(Reason::WaitingForPolicy)), due);
    for (state, standing) in [(RunState::Unknown, Standing::Unknown), (RunState::TimedOut, Standing::Failed)] {
        check(
            |facts| (facts.policy, facts.run) = (token(950), Some(ran(state, Some(Reason::ExitCode)))),
            ("run", standing, Some(Reason::ExitCode)),
            due,
        );
    }
    let steps = explain(&done(), at(1_000));
    assert_eq!(steps[4].text, "the client has answered the offer; it was heard of last at 1970-01-01T00:15:50Z");
}

#[test]
fn what_a_failed_client_waits_for() {
    let failed = |reason| ("run", Standing::Failed, Some(reason));
    let with = |state, rerun| RunFacts { rerun, ..ran(state, Some(Reason::ExitCode)) };
    check(
        |facts| facts.run = Some(with(RunState::Failed, Rerun::IfFailed)),
        failed(Reason::ExitCode),
        "the next assignment at 1970-01-01T00:33:20Z, a new source version, a changed program or a new rerunToken",
    );
    check(|facts| facts.run = Some(with(RunState::TimedOut, Rerun::Never)), failed(Reason::ExitCode), "rerun is Never");
    check(
        |facts| {
            let run = with(RunState::Failed, Rerun::Always);
            facts.run = Some(RunFacts { assignments: vec![Assignment::At(at(10))], ..run });
        },
        failed(Reason::ExitCode),
        "a later assignment (none lies ahead) or a new rerunToken",
    );
    check(
        |facts| facts.run = Some(RunFacts { expires: Some(at(999)), ..with(RunState::Failed, Rerun::IfFailed) }),
        failed(Reason::ExitCode),
        "has expired",
    );
    check(
        |facts| facts.run = Some(ran(RunState::Waiting, Some(Reason::WaitingAfterFailure))),
        failed(Reason::WaitingAfterFailure),
        "a new source version",
    );
    check(
        |facts| facts.run = Some(ran(RunState::PrepareFailed, Some(Reason::DependencyFailed))),
        failed(Reason::DependencyFailed),
        "what the client said. It waits for that program to succeed on this client: mend it",
    );
    check(
        |facts| {
            let run = ran(RunState::Failed, Some(Reason::ExitCode));
            facts.run = Some(RunFacts { text: "it said so.".into(), ..run });
        },
        failed(Reason::ExitCode),
        "it said so. It waits for",
    );
    check(
        |facts| facts.run = Some(ran(RunState::Failed, Some(Reason::AlreadyRan))),
        failed(Reason::AlreadyRan),
        "a new source version",
    );
    check(
        |facts| facts.run = Some(ran(RunState::Unknown, None)),
        ("run", Standing::Unknown, Some(Reason::SupervisorLost)),
        "rerunToken",
    );
    check(
        |facts| facts.run = Some(ran(RunState::Waiting, Some(Reason::WaitingForUser))),
        ("run", Standing::Waiting, Some(Reason::WaitingForUser)),
        "what the client said",
    );
}

#[test]
fn every_state_has_a_standing() {
    for state in RunState::ALL {
        let step = run::step_of(Some(&ran(state, None)), None, at(1_000));
        let done = matches!(state, RunState::Succeeded | RunState::WillNotRerun);
        assert_eq!(step.standing == Standing::Ok, done, "{state:?}");
        assert_eq!(step.reason.is_none(), state == RunState::Succeeded, "every state that is not done has a reason");
    }
}

#[test]
fn an_older_version_that_ran_names_what_keeps_the_newer_one_back() {
    let mut facts = done();
    let obstacle =
        Obstacle { reason: Reason::SourceUnavailable, text: "no such directory".into(), needs_somebody: true };
    facts.record.as_mut().unwrap().obstacle = Some(obstacle);
    let steps = explain(&facts, at(1_000));
    assert_eq!(answer(&steps).unwrap().standing, Standing::Ok);
    assert!(
        steps[1].text.ends_with("; nothing newer comes (SourceUnavailable): no such directory"),
        "{}",
        steps[1].text
    );
}
