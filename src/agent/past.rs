//! What is said of an offer because of what ran on this machine before: its own program before the offer came, or a program
//! that it depends on. The runs themselves are told by `finish`; what history means is decided in `plan`.

use jiff::Timestamp;

use super::{
    AgentError,
    messages::{About, ended},
    shared::Shared,
    store::Standing,
    view::View,
};
use crate::{
    clock,
    model::{reason::Reason, state::RunState},
    plan::run::PastRun,
    wire::policy::Offer,
};

/// Says where an offer stands that nothing more will happen to.
pub(super) fn settled(
    shared: &Shared,
    view: &View,
    offer: &Offer,
    said: Option<&Standing>,
    standing: Standing,
) -> Result<(), AgentError> {
    if !says_more(said, standing.state) {
        return Ok(());
    }
    if ran(standing.state) && is_fresh(said) {
        return ran_before(shared, offer, standing.state, None);
    }
    Ok(shared.say(view.about(offer), standing, "")?)
}

/// Says where an offer stands whose program, or one that it depends on, has failed.
pub(super) fn failed(
    shared: &Shared,
    view: &View,
    offer: &Offer,
    said: Option<&Standing>,
    standing: Standing,
    until: Option<Timestamp>,
) -> Result<(), AgentError> {
    if standing.reason == Reason::DependencyFailed {
        let detail = view.failed_dependency(shared, offer)?.map_or_else(String::new, |run| why_blocked(&run));
        return Ok(shared.say_until(view.about(offer), standing, &detail, until)?);
    }
    if !says_more(said, standing.state) {
        return Ok(());
    }
    ran_before(shared, offer, standing.state, until)
}

/// Whether it is news that an offer stands there. That a program does not run again is none after it was said how it ended.
fn says_more(said: Option<&Standing>, state: RunState) -> bool {
    said.is_none_or(|said| {
        said.state != state && !(state == RunState::WillNotRerun && said.state == RunState::Succeeded)
    })
}

/// Whether nothing was said of the offer but that it is here: whatever ran, ran before it came.
pub(super) fn is_fresh(said: Option<&Standing>) -> bool {
    said.is_none_or(|said| said.state == RunState::Accepted)
}

/// Whether a program that left its offer there had been run.
const fn ran(state: RunState) -> bool {
    state.is_failure() || matches!(state, RunState::Succeeded)
}

fn ran_before(shared: &Shared, offer: &Offer, state: RunState, until: Option<Timestamp>) -> Result<(), AgentError> {
    let last = shared.store.history(&offer.program)?.into_iter().rfind(|run| run.state == state);
    let about = About::of(&offer.advertisement, &offer.program, last.as_ref().map(|run| run.source_version));
    let report = about.exit_code(last.and_then(|run| run.exit_code)).ran_before(state, clock::now());
    Ok(shared.say_report(&report, until)?)
}

/// Says of an offer that came back that its program failed before and waits for its next try.
pub(super) fn failed_before(shared: &Shared, offer: &Offer, until: Option<Timestamp>) -> Result<(), AgentError> {
    let last = shared.store.history(&offer.program)?.pop();
    last.map_or(Ok(()), |run| ran_before(shared, offer, run.state, until))
}

/// Which program keeps another one from running, and how it ended.
fn why_blocked(run: &PastRun) -> String {
    let exit = run.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
    format!("program {}, which it depends on, {}{exit}", run.key.program.program, ended(run.state))
}
