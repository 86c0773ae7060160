//! The last step of the walk: where the client's run stands, and what a failed one waits for.

use jiff::Timestamp;

use super::{Standing, Step, step};
use crate::{
    model::{
        reason::Reason,
        schedule::{Assignment, Rerun},
        state::RunState,
    },
    plan::behind::Behind,
};

/// Where a client stands with an advertisement, and what the advertisement allows next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// Where it stands.
    pub state: RunState,
    /// Why.
    pub reason: Option<Reason>,
    /// The client's own words.
    pub text: String,
    /// How its last run ended.
    pub exit_code: Option<i32>,
    /// The source version it ran.
    pub source_version: Option<u64>,
    /// The advertisement's rerun rule.
    pub rerun: Rerun,
    /// The advertisement's assignments.
    pub assignments: Vec<Assignment>,
    /// When the advertisement expires.
    pub expires: Option<Timestamp>,
}

/// What helps a program whose dependency failed: that one is not run for it a second time.
const DEPENDENCY_REMEDY: &str = "It waits for that program to succeed on this client: mend it, and have it run again by an \
                                 advertisement of its own, for instance with a new rerunToken";

/// How the run stands.
pub(super) fn step_of(run: Option<&RunFacts>, behind: Option<&Behind>, now: Timestamp) -> Step {
    let Some(run) = run else {
        let text = "the client has said nothing about this advertisement yet".to_owned();
        return step("run", Standing::Waiting, Some(Reason::WaitingForPolicy), text);
    };
    let version = run.source_version.map_or_else(String::new, |version| format!(" with version {version}"));
    let said = if run.text.is_empty() { String::new() } else { format!(": {}", run.text) };
    let text = format!("{}{version}{said}", run.state.as_str());
    let waits = || step("run", Standing::Waiting, Some(run.reason.unwrap_or(Reason::Progressing)), text.clone());
    let newer = behind.map(|behind| and(&text, &is_due(behind)));
    // Whatever it did before: this runs it.
    let or_due = |remedy: &str| match behind {
        Some(due @ Behind::Token(_)) => and(&text, &is_due(due)),
        _ => and(&text, remedy),
    };
    match (run.state, newer) {
        (RunState::Succeeded | RunState::WillNotRerun, Some(text)) => {
            step("run", Standing::Waiting, Some(Reason::WaitingForPolicy), text)
        }
        (RunState::Succeeded, None) => step("run", Standing::Ok, None, text),
        (RunState::WillNotRerun, None) => {
            step("run", Standing::Ok, Some(run.reason.unwrap_or(Reason::AlreadyRan)), text)
        }
        (RunState::Unknown, _) => {
            let reason = run.reason.unwrap_or(Reason::SupervisorLost);
            let remedy = "it does not run again by itself; see what it did, then set a new rerunToken";
            step("run", Standing::Unknown, Some(reason), or_due(remedy))
        }
        (state, _) if state.is_failure() && run.reason == Some(Reason::DependencyFailed) => {
            step("run", Standing::Failed, run.reason, or_due(DEPENDENCY_REMEDY))
        }
        (state, _) if state.is_failure() => {
            let reason = run.reason.unwrap_or(Reason::ExitCode);
            step("run", Standing::Failed, Some(reason), or_due(&next_try(run, now)))
        }
        (RunState::Rejected, _) => {
            step("run", Standing::Failed, Some(run.reason.unwrap_or(Reason::PlatformMismatch)), text)
        }
        (RunState::Expired, _) => {
            step("run", Standing::Failed, Some(run.reason.unwrap_or(Reason::AdvertisementExpired)), text)
        }
        (RunState::Cancelled, _) => {
            step("run", Standing::Failed, Some(run.reason.unwrap_or(Reason::OfferWithdrawn)), text)
        }
        // A client that waits after a failure is a failed client with its next try ahead.
        _ if run.reason == Some(Reason::WaitingAfterFailure) => {
            let text = and(&text, &next_try(run, now));
            step("run", Standing::Failed, Some(Reason::WaitingAfterFailure), text)
        }
        _ => waits(),
    }
}

/// What the client has not answered yet.
fn is_due(behind: &Behind) -> String {
    match behind {
        Behind::Version { offered, .. } => {
            format!("It is to run version {offered}, of which the client has said nothing yet")
        }
        Behind::Token(token) => {
            format!("It is to run once more for rerunToken {token}, of which the client has said nothing yet")
        }
    }
}

/// Two sentences, whether the first one ends as one or not.
fn and(first: &str, second: &str) -> String {
    format!("{}. {second}", first.trim_end_matches('.'))
}

/// What makes a failed client try again.
fn next_try(run: &RunFacts, now: Timestamp) -> String {
    if run.expires.is_some_and(|expires| expires <= now) {
        return "The advertisement has expired: it does not run again".to_owned();
    }
    let instants = run.assignments.iter().filter_map(|assignment| match assignment {
        Assignment::At(at) => Some(*at),
        Assignment::AsSoonAsPossible => None,
    });
    let next = instants.filter(|at| *at > now).min();
    let at = next.map_or_else(
        || "a later assignment (none lies ahead)".to_owned(),
        |next| format!("the next assignment at {next}"),
    );
    match run.rerun {
        Rerun::Never => "It does not run again: rerun is Never; only a new rerunToken starts it".to_owned(),
        Rerun::Always => format!("It waits for {at} or a new rerunToken"),
        Rerun::IfFailed | Rerun::OncePerVersion => {
            format!("It waits for {at}, a new source version, a changed program or a new rerunToken")
        }
    }
}
