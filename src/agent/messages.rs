//! What the agent says: one function for every message, with SMS's number where it had one. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{outbox::Report, store::Standing};
use crate::{
    model::{
        identity::{ObjectName, ProgramIdentity},
        message::{
            ADVERTISEMENT, Component, EXIT_CODE, MessageType, OCCASION, OUTPUT, PACKAGE, PROGRAM, RERUN_TOKEN,
            SOURCE_VERSION, Severity, StatusMessage, USER,
        },
        reason::Reason,
        state::RunState,
    },
    plan::run::Occurrence,
    wire::{policy::Offer, status::MESSAGE_BYTES_MAX},
};

/// What a message about an offer is about.
#[derive(Clone, Debug)]
pub struct About {
    advertisement: ObjectName,
    attributes: BTreeMap<String, String>,
    for_dependency: bool,
}

impl About {
    /// The offer, and the source version if it is known.
    #[must_use]
    pub fn new(offer: &Offer, source_version: Option<u64>) -> Self {
        Self::of(&offer.advertisement, &offer.program, source_version)
    }

    /// The advertisement and its program, also when it is offered no more.
    #[must_use]
    pub fn of(advertisement: &ObjectName, program: &ProgramIdentity, source_version: Option<u64>) -> Self {
        let package = ObjectName::new(&program.namespace, &program.package);
        let mut attributes: BTreeMap<String, String> = [
            (ADVERTISEMENT.to_owned(), advertisement.to_string()),
            (PACKAGE.to_owned(), package.to_string()),
            (PROGRAM.to_owned(), program.program.clone()),
        ]
        .into();
        if let Some(version) = source_version {
            attributes.insert(SOURCE_VERSION.to_owned(), version.to_string());
        }
        Self { advertisement: advertisement.clone(), attributes, for_dependency: false }
    }

    /// An advertisement that is offered no more, by its `namespace/name`; `None` if that is no name.
    #[must_use]
    pub fn withdrawn(advertisement: &str) -> Option<Self> {
        let attributes = [(ADVERTISEMENT.to_owned(), advertisement.to_owned())].into();
        Some(Self { advertisement: ObjectName::parse(advertisement)?, attributes, for_dependency: false })
    }

    /// It is about a program that the advertised one depends on: told, but the advertisement does not stand there.
    #[must_use]
    pub fn for_dependency(mut self, for_dependency: bool) -> Self {
        self.for_dependency = for_dependency;
        self
    }

    /// Says what the program was started for: the site counts on it to know who has run a new rerun token.
    #[must_use]
    pub fn on(mut self, occurrence: &Occurrence) -> Self {
        self.attributes.insert(OCCASION.to_owned(), occasion(occurrence).to_owned());
        if let Occurrence::Token(token) = occurrence {
            self.attributes.insert(RERUN_TOKEN.to_owned(), token.clone());
        }
        self
    }

    /// Names the local user who asked.
    #[must_use]
    pub fn by(mut self, user: Option<&str>) -> Self {
        if let Some(user) = user {
            self.attributes.insert(USER.to_owned(), user.to_owned());
        }
        self
    }

    /// Adds the exit code.
    #[must_use]
    pub fn exit_code(mut self, code: Option<i32>) -> Self {
        if let Some(code) = code {
            self.attributes.insert(EXIT_CODE.to_owned(), code.to_string());
        }
        self
    }

    /// Adds the end of the program's output.
    #[must_use]
    pub fn output(mut self, output: Option<String>) -> Self {
        if let Some(output) = output {
            self.attributes.insert(OUTPUT.to_owned(), output);
        }
        self
    }

    fn program(&self) -> &str {
        self.attributes.get(PROGRAM).map_or("", String::as_str)
    }

    /// The message with where it leaves the advertisement.
    #[must_use]
    pub fn report(self, standing: Standing, detail: &str, now: Timestamp) -> Report {
        let key = (!self.for_dependency).then(|| self.advertisement.to_string());
        let message = self.state(standing.state, standing.reason, detail, now);
        Report { message, standing: key.map(|key| (key, standing)) }
    }

    /// Where this client stands with an offer whose program ran here before it came. Nothing has happened: it has no number of
    /// SMS's, and the site counts it for nothing.
    #[must_use]
    pub fn ran_before(self, state: RunState, now: Timestamp) -> Report {
        let exit = self.attributes.get(EXIT_CODE).map_or_else(String::new, |code| format!(", exit code {code}"));
        let text = format!("program {} ran here before this offer came; it {}{exit}", self.program(), ended(state));
        let mut report = self.report(Standing { state, reason: Reason::AlreadyRan }, "", now);
        let severity = if state.is_failure() { Severity::Warning } else { Severity::Informational };
        report.message =
            StatusMessage { severity, message_type: MessageType::Detail, message_id: 0, text, ..report.message };
        report
    }

    /// A change of where this client stands with the offer. Output is cut until the message fits.
    #[must_use]
    pub fn state(self, state: RunState, reason: Reason, detail: &str, now: Timestamp) -> StatusMessage {
        let (severity, message_type, message_id) = classify(state);
        let program = self.program();
        let what = match state {
            RunState::Accepted => format!("advertisement {} received", self.advertisement),
            RunState::Running => format!("program {program} started"),
            RunState::ContentMismatch => format!("content of program {program} does not match its digest"),
            RunState::Succeeded
            | RunState::Failed
            | RunState::TimedOut
            | RunState::PrepareFailed
            | RunState::Unknown => format!("program {program} {}", ended(state)),
            RunState::Downloading => format!("content of program {program} is being fetched"),
            RunState::Waiting => format!("program {program} waits"),
            RunState::Retrying => format!("program {program} will be tried again"),
            RunState::Rejected => format!("program {program} does not fit this client"),
            RunState::Expired => {
                format!("advertisement {} expired before program {program} started", self.advertisement)
            }
            RunState::WillNotRerun => format!("program {program} ran here before and does not run again"),
            RunState::Cancelled => format!("advertisement {} was withdrawn", self.advertisement),
            RunState::NoStatus => format!("program {program}"),
        };
        let text = match (detail, state) {
            ("", RunState::Succeeded | RunState::Running | RunState::Accepted) => what,
            ("", _) => format!("{what}: {}", reason.explanation()),
            (detail, _) => format!("{what}: {detail}"),
        };
        let mut message = StatusMessage {
            time_ms: now.as_millisecond(),
            severity,
            message_type,
            component: Component::ClientAgent,
            message_id,
            text,
            reason: Some(reason),
            state: (!self.for_dependency).then_some(state),
            attributes: self.attributes,
        };
        fit(&mut message);
        message
    }
}

/// What a run was made for, in words.
#[must_use]
pub const fn occasion(occurrence: &Occurrence) -> &'static str {
    match occurrence {
        Occurrence::Once => "assigned",
        Occurrence::At(_) => "scheduled",
        Occurrence::Token(_) => "rerun token",
        Occurrence::Version(_) => "new version",
        Occurrence::Program(_) => "changed program",
        Occurrence::Request(_) => "user",
    }
}

/// How a run ended that left its advertisement there: what follows the program's name.
pub(super) const fn ended(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "succeeded",
        RunState::TimedOut => "exceeded its maximum run time and was stopped",
        RunState::PrepareFailed => "could not be started",
        RunState::Unknown => "was started and nobody knows how it ended",
        _ => "failed",
    }
}

/// Cuts the output, from its beginning, until the message is within the limit: escaped text can be six times as long.
fn fit(message: &mut StatusMessage) {
    while serde_json::to_vec(message).map_or(0, |bytes| bytes.len()) > MESSAGE_BYTES_MAX {
        let Some(output) = message.attributes.get_mut(OUTPUT).filter(|output| !output.is_empty()) else { return };
        let half = output.ceil_char_boundary(output.len() / 2 + 1);
        output.drain(..half);
    }
}

/// Severity, type and SMS's number of a state.
const fn classify(state: RunState) -> (Severity, MessageType, u16) {
    use MessageType::{Detail, Milestone};
    use Severity::{Error, Informational, Warning};
    match state {
        RunState::NoStatus => (Informational, Detail, 0),
        RunState::Accepted => (Informational, Milestone, 10_002),
        RunState::Rejected => (Warning, Milestone, 10_018),
        RunState::Expired => (Informational, Milestone, 10_019),
        RunState::WillNotRerun => (Informational, Detail, 0),
        RunState::Waiting => (Informational, Detail, 10_035),
        RunState::Downloading => (Informational, Detail, 0),
        RunState::Running => (Informational, Milestone, 10_005),
        RunState::Retrying => (Warning, Detail, 0),
        RunState::Cancelled => (Informational, Milestone, 10_073),
        RunState::PrepareFailed => (Error, Milestone, 10_003),
        RunState::ContentMismatch => (Error, Milestone, 10_057),
        RunState::TimedOut => (Error, Milestone, 10_021),
        RunState::Failed => (Error, Milestone, 10_006),
        RunState::Unknown => (Error, Milestone, 10_004),
        RunState::Succeeded => (Informational, Milestone, 10_008),
    }
}

/// Something about the agent itself, not about an offer.
#[must_use]
pub fn general(severity: Severity, reason: Reason, text: String, now: Timestamp) -> Report {
    let message = StatusMessage {
        time_ms: now.as_millisecond(),
        severity,
        message_type: MessageType::Detail,
        component: Component::ClientAgent,
        message_id: 0,
        text,
        reason: Some(reason),
        state: None,
        attributes: BTreeMap::new(),
    };
    Report { message, standing: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_to_fit_and_its_end_is_kept() {
        let program =
            ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: "i".into() };
        let output = format!("{}the end", "\u{1}".repeat(64 << 10));
        let about = About::of(&ObjectName::new("n", "a"), &program, None).output(Some(output));
        let message = about.state(RunState::Failed, Reason::ExitCode, "", Timestamp::UNIX_EPOCH);
        assert!(serde_json::to_vec(&message).unwrap().len() <= MESSAGE_BYTES_MAX);
        assert!(message.attributes[OUTPUT].ends_with("the end"));
    }

    #[test]
    fn a_dependency_does_not_move_the_advertisement() {
        let program =
            ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: "i".into() };
        let about = About::of(&ObjectName::new("n", "a"), &program, None).for_dependency(true);
        let standing = Standing { state: RunState::Failed, reason: Reason::ExitCode };
        let report = about.report(standing, "", Timestamp::UNIX_EPOCH);
        assert_eq!((report.message.state, report.standing), (None, None));
    }
}
