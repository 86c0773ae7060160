//! The run-once truth table, and what is easily lost: tokens, history across advertisements, late joiners, expiry,
//! dependencies, disabled programs.

use super::*;
use crate::{content::digest::Digest, model::duration::Span, wire::record::DependencyRef};

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn identity(program: &str) -> ProgramIdentity {
    ProgramIdentity { site: "s".into(), namespace: "ns".into(), package: "p".into(), program: program.into() }
}

fn program() -> RecordProgram {
    RecordProgram {
        name: "install".into(),
        argv: vec!["a".into()],
        cwd: None,
        env: vec![],
        run_as: None,
        max_runtime: Span::from_secs(60),
        platforms: vec![],
        disk_space_bytes: 0,
        success_codes: vec![0],
        depends_on: None,
        disabled: false,
    }
}

fn offer(assignments: Vec<Assignment>, rerun: Rerun) -> Offer {
    Offer {
        advertisement: ObjectName::new("ns", "adv"),
        program: identity("install"),
        record: Digest::of(b"r"),
        start: None,
        expires: None,
        assignments,
        user_may_start: false,
        rerun,
        rerun_token: None,
        suspended: false,
    }
}

fn past(occurrence: Occurrence, started: i64, outcome: Option<RunOutcome>, version: u64) -> PastRun {
    PastRun {
        key: RunKey { program: identity("install"), occurrence },
        advertisement: ObjectName::new("ns", "adv"),
        started_at: t(started),
        outcome,
        state: match outcome {
            Some(RunOutcome::Succeeded) => RunState::Succeeded,
            Some(RunOutcome::Failed) => RunState::Failed,
            Some(RunOutcome::Unknown) => RunState::Unknown,
            None => RunState::Running,
        },
        exit_code: None,
        source_version: version,
        program_digest: program_digest(&program()),
    }
}

struct Case {
    offer: Offer,
    program: RecordProgram,
    version: u64,
    history: Vec<PastRun>,
    dependency: Vec<PastRun>,
    request: Option<&'static str>,
    enabled: bool,
}

impl Case {
    fn new(offer: Offer) -> Self {
        Self {
            offer,
            program: program(),
            version: 1,
            history: vec![],
            dependency: vec![],
            request: None,
            enabled: true,
        }
    }

    fn history(mut self, history: impl IntoIterator<Item = PastRun>) -> Self {
        self.history = history.into_iter().collect();
        self
    }

    fn at(&self, now: i64) -> Decision {
        let platform = Platform { os: Some("linux".into()), ..Platform::default() };
        let facts = Facts {
            offer: &self.offer,
            program: Some((&self.program, self.version)),
            enabled: self.enabled,
            platform: &platform,
            free_disk_bytes: 1 << 30,
            history: &self.history,
            dependency_history: &self.dependency,
            request: self.request,
        };
        decide(&facts, t(now))
    }
}

const ASAP: Assignment = Assignment::AsSoonAsPossible;
use RunOutcome::{Failed, Succeeded, Unknown};

#[test]
fn succeeded_does_not_run_again_and_failed_waits_for_a_later_instant() {
    let case = |outcome| {
        Case::new(offer(vec![Assignment::At(t(10)), Assignment::At(t(50))], Rerun::IfFailed)).history([past(
            Occurrence::Once,
            11,
            Some(outcome),
            1,
        )])
    };
    assert_eq!(case(Succeeded).at(60), Decision::Settled { state: RunState::Succeeded, reason: Reason::Succeeded });
    assert_eq!(case(Failed).at(20), Decision::Wait { reason: Reason::WaitingAfterFailure, until: Some(t(50)) });
    assert_eq!(case(Failed).at(60), Decision::Start(Occurrence::At(t(50))));
    assert_eq!(
        case(Unknown).at(60),
        Decision::Settled { state: RunState::Unknown, reason: Reason::SupervisorLost },
        "unknown never runs again by itself"
    );
}

#[test]
fn l1_a_token_runs_once_more_and_only_once() {
    let mut case =
        Case::new(offer(vec![ASAP], Rerun::IfFailed)).history([past(Occurrence::Once, 1, Some(Succeeded), 1)]);
    case.offer.rerun_token = Some("again".into());
    assert_eq!(case.at(5), Decision::Start(Occurrence::Token("again".into())));
    case.history.push(past(Occurrence::Token("again".into()), 6, Some(Succeeded), 1));
    assert_eq!(case.at(9), Decision::Settled { state: RunState::Succeeded, reason: Reason::Succeeded });
}

#[test]
fn l2_history_counts_across_advertisements() {
    let mut case =
        Case::new(offer(vec![ASAP], Rerun::IfFailed)).history([past(Occurrence::Once, 1, Some(Succeeded), 1)]);
    case.offer.advertisement = ObjectName::new("ns", "another");
    assert_eq!(case.at(5), Decision::Settled { state: RunState::WillNotRerun, reason: Reason::AlreadyRan });
}

#[test]
fn l2_a_failure_counts_across_advertisements_too() {
    let mut case = Case::new(offer(vec![Assignment::At(t(1)), Assignment::At(t(50))], Rerun::IfFailed))
        .history([past(Occurrence::Once, 2, Some(Failed), 1)]);
    case.offer.advertisement = ObjectName::new("ns", "another");
    let failed = |until| Decision::Failed { state: RunState::Failed, reason: Reason::AlreadyRan, until };
    assert_eq!(case.at(5), failed(Some(t(50))));
    assert_eq!(case.at(50), Decision::Start(Occurrence::At(t(50))));
    case.offer.rerun = Rerun::Never;
    assert_eq!(case.at(60), failed(None));
    // Nothing is assigned, so nothing has failed.
    case.offer.assignments.clear();
    case.offer.user_may_start = true;
    assert_eq!(case.at(60), Decision::Wait { reason: Reason::WaitingForUser, until: None });
}

#[test]
fn l3_of_several_missed_instants_only_the_latest_runs() {
    let case = Case::new(offer([10, 20, 30].map(|at| Assignment::At(t(at))).to_vec(), Rerun::Always));
    assert_eq!(case.at(25), Decision::Start(Occurrence::At(t(20))));
    let case = case.history([past(Occurrence::At(t(20)), 25, Some(Unknown), 1)]);
    assert_eq!(case.at(29), Decision::Wait { reason: Reason::WaitingForAssignment, until: Some(t(30)) });
    assert_eq!(case.at(30), Decision::Start(Occurrence::At(t(30))));
}

#[test]
fn l13_a_late_joiner_runs_what_was_due_before_it_joined() {
    assert_eq!(
        Case::new(offer(vec![Assignment::At(t(10))], Rerun::IfFailed)).at(1_000),
        Decision::Start(Occurrence::Once)
    );
}

#[test]
fn l16_expiry_stops_new_starts_and_keeps_what_ran() {
    let mut case = Case::new(offer(vec![ASAP], Rerun::IfFailed));
    case.offer.expires = Some(t(100));
    assert_eq!(case.at(100), Decision::Settled { state: RunState::Expired, reason: Reason::AdvertisementExpired });
    assert_eq!(case.at(99), Decision::Start(Occurrence::Once));
    let running = case.history([past(Occurrence::Once, 99, None, 1)]);
    assert_eq!(running.at(101), Decision::Running);
    let done = running.history([past(Occurrence::Once, 99, Some(Succeeded), 1)]);
    assert_eq!(done.at(101), Decision::Settled { state: RunState::Succeeded, reason: Reason::Succeeded });
}

#[test]
fn l18_a_dependency_runs_first_once_and_its_failure_blocks() {
    let mut case = Case::new(offer(vec![ASAP], Rerun::Always));
    case.program.depends_on = Some(DependencyRef { package: "p".into(), program: "base".into() });
    assert_eq!(case.at(1), Decision::StartDependency);
    case.dependency = vec![past(Occurrence::Once, 1, None, 1)];
    assert_eq!(case.at(2), Decision::Wait { reason: Reason::WaitingForDependency, until: None });
    case.dependency = vec![past(Occurrence::Once, 1, Some(Failed), 1)];
    let blocked = Decision::Failed { state: RunState::PrepareFailed, reason: Reason::DependencyFailed, until: None };
    assert_eq!(case.at(3), blocked);
    case.dependency = vec![past(Occurrence::Once, 1, Some(Unknown), 1)];
    assert_eq!(case.at(3), blocked);
    case.dependency = vec![past(Occurrence::Once, 1, Some(Succeeded), 1)];
    assert_eq!(case.at(4), Decision::Start(Occurrence::Once));
    // Only before the first run: a later failure of the dependency changes nothing.
    case.offer.assignments = vec![Assignment::At(t(50))];
    case.history = vec![past(Occurrence::Once, 4, Some(Succeeded), 1)];
    case.dependency = vec![past(Occurrence::Once, 1, Some(Failed), 1)];
    assert_eq!(case.at(51), Decision::Start(Occurrence::At(t(50))));
}

#[test]
fn l21_a_disabled_program_is_held_and_its_history_kept() {
    let mut case = Case::new(offer(vec![ASAP], Rerun::IfFailed));
    case.program.disabled = true;
    assert_eq!(case.at(1), Decision::Wait { reason: Reason::ProgramDisabled, until: None });
    let mut enabled_again = case.history([past(Occurrence::Once, 1, Some(Failed), 1)]);
    enabled_again.program.disabled = false;
    assert_eq!(enabled_again.at(2), Decision::Wait { reason: Reason::WaitingAfterFailure, until: None });
}

#[test]
fn once_per_version_runs_again_for_every_new_version_also_a_reverted_one() {
    let mut case = Case::new(offer(vec![ASAP], Rerun::OncePerVersion));
    assert_eq!(case.at(1), Decision::Start(Occurrence::Version(1)));
    case.history = vec![past(Occurrence::Version(1), 1, Some(Succeeded), 1)];
    assert_eq!(case.at(2), Decision::Settled { state: RunState::Succeeded, reason: Reason::Succeeded });
    case.version = 2;
    assert_eq!(case.at(3), Decision::Start(Occurrence::Version(2)));
    case.history.push(past(Occurrence::Version(2), 3, Some(Failed), 2));
    assert_eq!(case.at(4), Decision::Wait { reason: Reason::WaitingAfterFailure, until: None });
    case.version = 3;
    assert_eq!(case.at(5), Decision::Start(Occurrence::Version(3)));
}

#[test]
fn a_source_version_alone_reruns_nothing_but_failures() {
    let mut case =
        Case::new(offer(vec![ASAP], Rerun::IfFailed)).history([past(Occurrence::Once, 1, Some(Succeeded), 1)]);
    case.version = 2;
    assert_eq!(case.at(2), Decision::Settled { state: RunState::Succeeded, reason: Reason::Succeeded });
    case.history = vec![past(Occurrence::Once, 1, Some(Failed), 1)];
    assert_eq!(case.at(2), Decision::Start(Occurrence::Version(2)));
    case.version = 1;
    case.program.argv.push("--force".into());
    let digest = program_digest(&case.program);
    assert_eq!(case.at(2), Decision::Start(Occurrence::Program(digest)));
}

#[test]
fn never_survives_everything() {
    let mut case = Case::new(offer(vec![Assignment::At(t(1)), Assignment::At(t(9))], Rerun::Never)).history([past(
        Occurrence::Once,
        2,
        Some(Failed),
        1,
    )]);
    case.version = 7;
    assert_eq!(case.at(10), Decision::Settled { state: RunState::Failed, reason: Reason::ExitCode });
}

#[test]
fn users_start_only_what_they_may() {
    let mut case = Case::new(offer(vec![], Rerun::IfFailed));
    case.request = Some("r1");
    assert_eq!(case.at(1), Decision::Wait { reason: Reason::WaitingForUser, until: None });
    case.offer.user_may_start = true;
    assert_eq!(case.at(1), Decision::Start(Occurrence::Request("r1".into())));
}

#[test]
fn holds_are_said_in_the_order_of_the_admission_chain() {
    let mut case = Case::new(offer(vec![ASAP], Rerun::IfFailed));
    case.offer.start = Some(t(10));
    assert_eq!(case.at(9), Decision::Wait { reason: Reason::WaitingForStart, until: Some(t(10)) });
    case.program.platforms = vec![Platform { os: Some("plan9".into()), ..Platform::default() }];
    assert_eq!(case.at(10), Decision::Settled { state: RunState::Rejected, reason: Reason::PlatformMismatch });
    case.program.platforms.clear();
    case.program.disk_space_bytes = 2 << 30;
    assert_eq!(case.at(10), Decision::Wait { reason: Reason::InsufficientDiskSpace, until: None });
    case.enabled = false;
    assert_eq!(case.at(10), Decision::Wait { reason: Reason::AgentDisabled, until: None });
    case.offer.suspended = true;
    assert_eq!(case.at(10), Decision::Wait { reason: Reason::AdvertisementSuspended, until: None });
}

#[test]
fn how_a_run_ended_has_a_reason() {
    for (state, reason) in [
        (RunState::Succeeded, Reason::Succeeded),
        (RunState::Failed, Reason::ExitCode),
        (RunState::TimedOut, Reason::MaxRuntimeExceeded),
        (RunState::Unknown, Reason::SupervisorLost),
        (RunState::PrepareFailed, Reason::StartFailed),
        (RunState::ContentMismatch, Reason::DigestMismatch),
    ] {
        assert_eq!(reason_of(state), reason);
    }
}
