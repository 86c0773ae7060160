//! Whether a client that is through with an older version is to run the one that is offered now, and has not answered for
//! it. The site judges by what it was told; what the client does is decided in [`super::run`].

use jiff::Timestamp;

use super::offer::OfferTemplate;
use crate::model::{
    schedule::{Assignment, Rerun},
    state::RunState,
};

/// What a client has answered for of a program, under whatever advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The newest version that it has said something of.
    pub version: Option<u64>,
    /// Whether it ran the rerun token that is offered now. True as well if there is none, or if it is a client that does not
    /// tell what it runs for.
    pub token: bool,
}

/// Something that a client is due to run and has not answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A newer version.
    Version {
        /// What the site offers.
        offered: u64,
        /// What the client has answered for.
        answered: u64,
    },
    /// A new rerun token.
    Token(String),
}

/// What a client in this state is due to run and has said nothing of: version `offered`, or the offer's rerun token, which runs
/// it whatever the rerun rule is.
#[must_use]
pub fn behind(
    template: &OfferTemplate,
    state: RunState,
    answered: Answered,
    offered: u64,
    now: Timestamp,
) -> Option<Behind> {
    let assigned = template.assignments.iter().any(|assignment| match assignment {
        Assignment::At(at) => *at <= now,
        Assignment::AsSoonAsPossible => true,
    });
    let open = !template.suspended
        && template.start.is_none_or(|start| start <= now)
        && template.expires.is_none_or(|expires| expires > now);
    let ended = state.is_failure() || matches!(state, RunState::Succeeded | RunState::Unknown | RunState::WillNotRerun);
    if !assigned || !open || !ended {
        return None;
    }
    let runs_again = match template.rerun {
        Rerun::OncePerVersion => true,
        Rerun::IfFailed => state.is_failure() && state != RunState::Unknown,
        Rerun::Always | Rerun::Never => false,
    };
    let version = answered.version.filter(|answered| runs_again && *answered < offered);
    let token = template.rerun_token.as_ref().filter(|_| !answered.token);
    version
        .map(|answered| Behind::Version { offered, answered })
        .or_else(|| token.map(|token| Behind::Token(token.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::ObjectName;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn template(rerun: Rerun) -> OfferTemplate {
        OfferTemplate {
            name: ObjectName::new("default", "tools"),
            program: "install".into(),
            start: None,
            expires: None,
            assignments: vec![Assignment::AsSoonAsPossible],
            user_may_start: false,
            rerun,
            rerun_token: None,
            suspended: false,
        }
    }

    /// The offered version, and no rerun token.
    const FIRST: Answered = Answered { version: Some(11), token: false };

    fn answered(version: Option<u64>) -> Answered {
        Answered { version, token: true }
    }

    fn is_behind(template: &OfferTemplate, state: RunState) -> bool {
        behind(template, state, answered(Some(10)), 11, at(1_000)).is_some()
    }

    #[test]
    fn the_rerun_rule_says_who_has_to_run_a_new_version() {
        use RunState::{Failed, Running, Succeeded, Unknown, Waiting, WillNotRerun};
        let rows = [
            (Rerun::OncePerVersion, [true, true, true, true, false, false]),
            (Rerun::IfFailed, [false, true, false, false, false, false]),
            (Rerun::Always, [false; 6]),
            (Rerun::Never, [false; 6]),
        ];
        for (rerun, expected) in rows {
            let found = [Succeeded, Failed, Unknown, WillNotRerun, Running, Waiting]
                .map(|state| is_behind(&template(rerun), state));
            assert_eq!(found, expected, "{rerun:?}");
        }
    }

    #[test]
    fn who_answered_for_the_offered_version_or_may_not_start_it_is_not_behind() {
        let rule = template(Rerun::OncePerVersion);
        assert!(is_behind(&rule, RunState::Succeeded));
        for version in [None, Some(11), Some(12)] {
            assert_eq!(behind(&rule, RunState::Succeeded, answered(version), 11, at(1_000)), None, "{version:?}");
        }
        let closed = [
            OfferTemplate { suspended: true, ..rule.clone() },
            OfferTemplate { start: Some(at(1_001)), ..rule.clone() },
            OfferTemplate { expires: Some(at(1_000)), ..rule.clone() },
            OfferTemplate { assignments: vec![], ..rule.clone() },
            OfferTemplate { assignments: vec![Assignment::At(at(1_001))], ..rule },
        ];
        for rule in closed {
            assert!(!is_behind(&rule, RunState::Succeeded), "{rule:?}");
            let rule = OfferTemplate { rerun_token: Some("again".into()), ..rule };
            assert_eq!(behind(&rule, RunState::Succeeded, FIRST, 11, at(1_000)), None, "{rule:?}");
        }
    }

    #[test]
    fn a_new_rerun_token_is_due_whatever_the_rule_is_to_everybody_who_is_through() {
        use RunState::{Failed, Rejected, Running, Succeeded, TimedOut, Unknown, Waiting, WillNotRerun};
        for rerun in [Rerun::OncePerVersion, Rerun::IfFailed, Rerun::Always, Rerun::Never] {
            let template = OfferTemplate { rerun_token: Some("again".into()), ..template(rerun) };
            let due = |state, answered| behind(&template, state, answered, 11, at(1_000));
            for state in [Succeeded, Failed, TimedOut, Unknown, WillNotRerun] {
                assert_eq!(due(state, FIRST), Some(Behind::Token("again".into())), "{rerun:?} {state:?}");
                assert_eq!(due(state, answered(Some(11))), None, "{rerun:?} {state:?}");
            }
            for state in [Running, Waiting, Rejected] {
                assert_eq!(due(state, FIRST), None, "{rerun:?} {state:?}");
            }
        }
    }
}
