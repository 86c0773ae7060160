//! Whether a client starts an offered program now, waits, or never will. The one
//! place that knows run-once. It does not fetch or start anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        identity::{ObjectName, ProgramIdentity},
        platform::Platform,
        reason::Reason,
        schedule::{Assignment, Rerun},
        state::{RunOutcome, RunState},
    },
    wire::{policy::Offer, record::RecordProgram},
};

/// What makes one start of a program different from another. With the program's identity it is the run key: a program
/// starts at most once per key, across advertisements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Occurrence {
    /// The first and, by default, only run.
    Once,
    /// An assignment's instant.
    At(Timestamp),
    /// A rerun token.
    Token(String),
    /// A source version of the package.
    Version(u64),
    /// A changed program, by the digest of its definition.
    Program(String),
    /// A local user's request, by its id.
    Request(String),
}

/// The key under which a program starts at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunKey {
    /// What is run.
    pub program: ProgramIdentity,
    /// Which start of it.
    pub occurrence: Occurrence,
}

/// One run in the client's history, of whatever advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRun {
    /// Its key.
    pub key: RunKey,
    /// The advertisement it was started for.
    pub advertisement: ObjectName,
    /// When it was started.
    pub started_at: Timestamp,
    /// How it ended; `None` while it runs.
    pub outcome: Option<RunOutcome>,
    /// Where it left the advertisement.
    pub state: RunState,
    /// Its exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Source version of the package then.
    pub source_version: u64,
    /// Digest of the program's definition then, see [`program_digest`].
    pub program_digest: String,
}

/// What a decision about one offer is made from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// The program in the offer's record, and the record's source version; `None` while the record is not here.
    pub program: Option<(&'a RecordProgram, u64)>,
    /// Whether the agent's configuration lets it start programs.
    pub enabled: bool,
    /// What the client is.
    pub platform: &'a Platform,
    /// Free space where programs install, bytes.
    pub free_disk_bytes: u64,
    /// Every run of this program identity, oldest first.
    pub history: &'a [PastRun],
    /// Every run of the dependency, if the program has one.
    pub dependency_history: &'a [PastRun],
    /// The id of a local user's request to start it, not yet honoured.
    pub request: Option<&'a str>,
}

/// What to do about one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it under this key.
    Start(Occurrence),
    /// First run the dependency, once.
    StartDependency,
    /// It runs.
    Running,
    /// Nothing now; look again at `until` or when something changes.
    Wait {
        /// What it waits for.
        reason: Reason,
        /// When to look again by the clock; `None` when only an event helps.
        until: Option<Timestamp>,
    },
    /// It failed here before this offer, or what has to run before it did. Nothing now; look again at `until`.
    Failed {
        /// Where that leaves the offer.
        state: RunState,
        /// Which of the two.
        reason: Reason,
        /// When to look again by the clock; `None` when only an event helps.
        until: Option<Timestamp>,
    },
    /// Nothing ever, unless the offer or the client changes.
    Settled {
        /// Where it stands.
        state: RunState,
        /// Why.
        reason: Reason,
    },
}

/// A digest of everything that makes a program another one; whether it is disabled right now does not.
#[must_use]
pub fn program_digest(program: &RecordProgram) -> String {
    let definition = RecordProgram { disabled: false, ..program.clone() };
    let bytes = serde_json::to_vec(&definition).unwrap_or_default();
    crate::content::digest::Digest::of(&bytes).to_string()
}

/// Decides about one offer. Order of the checks: platform, time window, dependency, then content.
#[must_use]
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let offer = facts.offer;
    if let Some(start) = offer.start.filter(|start| *start > now) {
        return wait(Reason::WaitingForStart, Some(start));
    }
    if facts.history.iter().any(|run| run.outcome.is_none()) {
        return Decision::Running;
    }
    let Some((program, source_version)) = facts.program else {
        return wait(Reason::WaitingForRecord, None);
    };
    let digest = program_digest(program);
    let due = due_occurrence(facts, source_version, &digest, now);
    if offer.expires.is_some_and(|expires| expires <= now) {
        return match due {
            Due::Settled(settled) => settled,
            _ => settled(RunState::Expired, Reason::AdvertisementExpired),
        };
    }
    let occurrence = match due {
        Due::Settled(decision) | Due::Later(decision) => return decision,
        Due::Now(occurrence) => occurrence,
    };
    if let Some(hold) = held_back(facts, program) {
        return hold;
    }
    if facts.history.is_empty() && program.depends_on.is_some() {
        match last_outcome(facts.dependency_history) {
            None if facts.dependency_history.is_empty() => return Decision::StartDependency,
            None => return wait(Reason::WaitingForDependency, None),
            Some(RunOutcome::Succeeded) => {}
            Some(RunOutcome::Failed | RunOutcome::Unknown) => {
                let (state, reason) = (RunState::PrepareFailed, Reason::DependencyFailed);
                return Decision::Failed { state, reason, until: None };
            }
        }
    }
    Decision::Start(occurrence)
}

/// What keeps a due program from starting.
fn held_back(facts: &Facts<'_>, program: &RecordProgram) -> Option<Decision> {
    if !program.platforms.is_empty() && !program.platforms.iter().any(|platform| platform.matches(facts.platform)) {
        return Some(settled(RunState::Rejected, Reason::PlatformMismatch));
    }
    if facts.offer.suspended {
        return Some(wait(Reason::AdvertisementSuspended, None));
    }
    if !facts.enabled {
        return Some(wait(Reason::AgentDisabled, None));
    }
    if program.disabled {
        return Some(wait(Reason::ProgramDisabled, None));
    }
    (facts.free_disk_bytes < program.disk_space_bytes).then(|| wait(Reason::InsufficientDiskSpace, None))
}

/// Which start is due, before asking whether anything holds it back.
enum Due {
    /// This one, now.
    Now(Occurrence),
    /// None yet.
    Later(Decision),
    /// None any more.
    Settled(Decision),
}

fn due_occurrence(facts: &Facts<'_>, source_version: u64, digest: &str, now: Timestamp) -> Due {
    let offer = facts.offer;
    if let Some(request) = facts.request.filter(|_| offer.user_may_start) {
        return Due::Now(Occurrence::Request(request.to_owned()));
    }
    let instants = || {
        offer.assignments.iter().filter_map(|assignment| match assignment {
            Assignment::At(at) => Some(*at),
            Assignment::AsSoonAsPossible => None,
        })
    };
    // Of several missed instants only the latest counts.
    let latest = instants().filter(|at| *at <= now).max();
    let next = instants().filter(|at| *at > now).min();
    let assigned_now = latest.is_some() || offer.assignments.contains(&Assignment::AsSoonAsPossible);
    let ran = |occurrence: &Occurrence| facts.history.iter().any(|run| run.key.occurrence == *occurrence);

    let Some(last) = facts.history.last() else {
        return match (assigned_now, next) {
            (true, _) => Due::Now(first_occurrence(offer, latest, source_version)),
            (false, Some(next)) => Due::Later(wait(Reason::WaitingForAssignment, Some(next))),
            (false, None) => Due::Later(wait(Reason::WaitingForUser, None)),
        };
    };
    if assigned_now && let Some(token) = &offer.rerun_token {
        let again = Occurrence::Token(token.clone());
        if !ran(&again) {
            return Due::Now(again);
        }
    }
    let again = if assigned_now { repeat(facts, last, latest, source_version, digest) } else { None };
    match again.filter(|occurrence| !ran(occurrence)) {
        Some(occurrence) => Due::Now(occurrence),
        None => after_run(facts, last, next),
    }
}

/// The occurrence of the very first run: whatever names it best, so that the same one never runs twice.
fn first_occurrence(offer: &Offer, latest: Option<Timestamp>, source_version: u64) -> Occurrence {
    if let Some(token) = &offer.rerun_token {
        return Occurrence::Token(token.clone());
    }
    match (offer.rerun, latest) {
        (Rerun::OncePerVersion, _) => Occurrence::Version(source_version),
        (Rerun::Always, Some(at)) => Occurrence::At(at),
        _ => Occurrence::Once,
    }
}

/// The occurrence under which a program that ran before may run again, if its rule has one.
fn repeat(
    facts: &Facts<'_>,
    last: &PastRun,
    latest: Option<Timestamp>,
    source_version: u64,
    digest: &str,
) -> Option<Occurrence> {
    let failed = last.outcome == Some(RunOutcome::Failed);
    let later_instant = latest.filter(|at| *at > last.started_at).map(Occurrence::At);
    let failed_again = || {
        later_instant
            .clone()
            .or_else(|| (last.source_version != source_version).then_some(Occurrence::Version(source_version)))
            .or_else(|| (last.program_digest != digest).then(|| Occurrence::Program(digest.to_owned())))
    };
    match facts.offer.rerun {
        Rerun::Never => None,
        Rerun::IfFailed if failed => failed_again(),
        Rerun::IfFailed => None,
        Rerun::Always => later_instant,
        Rerun::OncePerVersion => {
            let seen = facts.history.iter().any(|run| run.source_version == source_version);
            if seen && failed { failed_again() } else { (!seen).then_some(Occurrence::Version(source_version)) }
        }
    }
}

/// Where an offer stands whose program ran and is not due again now.
fn after_run(facts: &Facts<'_>, last: &PastRun, next: Option<Timestamp>) -> Due {
    let offer = facts.offer;
    let comes_again = match offer.rerun {
        Rerun::Always => true,
        Rerun::IfFailed | Rerun::OncePerVersion => last.outcome == Some(RunOutcome::Failed),
        Rerun::Never => false,
    };
    let own = facts.history.iter().rev().find(|run| run.advertisement == offer.advertisement);
    if last.outcome == Some(RunOutcome::Failed) {
        let until = next.filter(|_| comes_again);
        // Of another advertisement's run nobody has said anything under this one.
        if own.is_none() && !offer.assignments.is_empty() {
            return Due::Later(Decision::Failed { state: last.state, reason: Reason::AlreadyRan, until });
        }
        if comes_again {
            return Due::Later(wait(Reason::WaitingAfterFailure, until));
        }
    }
    if let Some(next) = next.filter(|_| comes_again) {
        return Due::Later(wait(Reason::WaitingForAssignment, Some(next)));
    }
    // Its own last run, if this advertisement made one; otherwise another advertisement ran the program.
    Due::Settled(match own {
        Some(own) => settled(own.state, reason_of(own.state)),
        None if offer.assignments.is_empty() => wait(Reason::WaitingForUser, None),
        None => settled(RunState::WillNotRerun, Reason::AlreadyRan),
    })
}

/// The reason that goes with where a run left its advertisement, for whoever reports it.
#[must_use]
pub fn reason_of(state: RunState) -> Reason {
    match state {
        RunState::Succeeded => Reason::Succeeded,
        RunState::Unknown => Reason::SupervisorLost,
        RunState::TimedOut => Reason::MaxRuntimeExceeded,
        RunState::PrepareFailed => Reason::StartFailed,
        RunState::ContentMismatch => Reason::DigestMismatch,
        _ => Reason::ExitCode,
    }
}

fn last_outcome(history: &[PastRun]) -> Option<RunOutcome> {
    history.last().and_then(|run| run.outcome)
}

const fn wait(reason: Reason, until: Option<Timestamp>) -> Decision {
    Decision::Wait { reason, until }
}

const fn settled(state: RunState, reason: Reason) -> Decision {
    Decision::Settled { state, reason }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
