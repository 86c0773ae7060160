//! Whether a client that is through with an older version is to run the one that is offered now, and has not answered for
//! it. The site judges by what it was told; what the client does is decided in [`super::run`].

use jiff::Timestamp;

use super::offer::OfferTemplate;
use crate::model::{
    schedule::{Assignment, Rerun},
    state::RunState,
};

/// Whether a client in this state is due to run version `offered`, of which it has said nothing: of this program it has
/// `answered` for an older one, under whatever advertisement.
#[must_use]
pub fn is_behind(
    template: &OfferTemplate,
    state: RunState,
    answered: Option<u64>,
    offered: u64,
    now: Timestamp,
) -> bool {
    let assigned = template.assignments.iter().any(|assignment| match assignment {
        Assignment::At(at) => *at <= now,
        Assignment::AsSoonAsPossible => true,
    });
    let open = !template.suspended
        && template.start.is_none_or(|start| start <= now)
        && template.expires.is_none_or(|expires| expires > now);
    let runs_again = match template.rerun {
        Rerun::OncePerVersion => {
            state.is_failure() || matches!(state, RunState::Succeeded | RunState::Unknown | RunState::WillNotRerun)
        }
        Rerun::IfFailed => state.is_failure() && state != RunState::Unknown,
        Rerun::Always | Rerun::Never => false,
    };
    assigned && open && runs_again && answered.is_some_and(|answered| answered < offered)
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

    fn behind(template: &OfferTemplate, state: RunState) -> bool {
        is_behind(template, state, Some(10), 11, at(1_000))
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
                .map(|state| behind(&template(rerun), state));
            assert_eq!(found, expected, "{rerun:?}");
        }
    }

    #[test]
    fn who_answered_for_the_offered_version_or_may_not_start_it_is_not_behind() {
        let rule = template(Rerun::OncePerVersion);
        assert!(behind(&rule, RunState::Succeeded));
        for answered in [None, Some(11), Some(12)] {
            assert!(!is_behind(&rule, RunState::Succeeded, answered, 11, at(1_000)), "{answered:?}");
        }
        let closed = [
            OfferTemplate { suspended: true, ..rule.clone() },
            OfferTemplate { start: Some(at(1_001)), ..rule.clone() },
            OfferTemplate { expires: Some(at(1_000)), ..rule.clone() },
            OfferTemplate { assignments: vec![], ..rule.clone() },
            OfferTemplate { assignments: vec![Assignment::At(at(1_001))], ..rule },
        ];
        for rule in closed {
            assert!(!behind(&rule, RunState::Succeeded), "{rule:?}");
        }
    }
}
