//! The agent's heart: looks at every offer, asks [`crate::plan::run`] what to do, and does it. Runs go on in tasks and
//! supervisor processes; this loop only decides, never waits for the network, and is told when something changed.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    AgentError,
    attempts::Turn,
    job::{self, Job},
    messages::About,
    past, policy,
    shared::Shared,
    store::Standing,
    view::{Step, View},
};
use crate::{
    clock,
    content::digest::Digest,
    model::{reason::Reason, state::RunState},
    plan::run::Decision,
    wire::policy::Offer,
};

/// The loop looks at everything this often without any event: clocks step, disks fill.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Not more often than this, whatever the clock does.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(50);

/// Looks at the offers whenever something changed, until the task is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        if !shared.has_state() {
            return std::future::pending().await;
        }
        let next = look(&shared).unwrap_or_else(|error| {
            tracing::error!(%error, "offers could not be looked at");
            None
        });
        let pause = next.map_or(LOOK_INTERVAL, |next| {
            Duration::try_from(next.duration_since(clock::now())).unwrap_or_default().max(LOOK_PAUSE_MIN)
        });
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(pause.min(LOOK_INTERVAL)) => {}
        }
    }
}

/// One look at everything. Gives when to look again at the latest.
fn look(shared: &Arc<Shared>) -> Result<Option<Timestamp>, AgentError> {
    let Some(view) = View::load(shared, clock::now())? else { return Ok(None) };
    let mut next: Option<Timestamp> = None;
    for digest in &view.missing {
        fetch_record(shared, *digest);
        // Nothing else wakes this up when the pause after a failure is over.
        let until = shared.records.rest(digest).map(|rest| rest.until);
        next = [next, until].into_iter().flatten().min();
    }
    for offer in &view.policy.body.offers {
        match look_at(shared, &view, offer) {
            Ok(until) => next = [next, until].into_iter().flatten().min(),
            // One odd offer must not stop the others.
            Err(error) => {
                tracing::error!(%error, advertisement = %offer.advertisement, "an offer could not be looked at");
            }
        }
    }
    withdraw(shared, &view)?;
    Ok(next)
}

fn look_at(shared: &Arc<Shared>, view: &View, offer: &Offer) -> Result<Option<Timestamp>, AgentError> {
    let key = offer.advertisement.to_string();
    let said = shared.store.standing(&key)?;
    if said.is_none() && view.is_visible(offer) {
        let accepted = Standing { state: RunState::Accepted, reason: Reason::Succeeded };
        shared.say(view.about(offer), accepted, "")?;
    }
    match view.step(shared, offer)? {
        Step::Start(start) => {
            let waiting = Standing { state: RunState::Waiting, reason: Reason::WaitingForDependency };
            if start.for_dependency {
                shared.say(view.about(offer), waiting.clone(), "")?;
            }
            match shared.programs.begin(&start.program, view.now) {
                Turn::Busy => Ok(None),
                Turn::Resting(rest) => {
                    if !start.for_dependency {
                        shared.say_until(view.about(offer), rest.standing, "", Some(rest.until))?;
                    }
                    Ok(Some(rest.until))
                }
                Turn::Mine { failures } => {
                    let Some(record) = view.records.get(&start.record).cloned() else {
                        shared.programs.done(&start.program);
                        return Ok(None);
                    };
                    tokio::spawn(job::run(shared.clone(), Job { offer: offer.clone(), record, start, failures }));
                    Ok(None)
                }
            }
        }
        // An offer that comes back says again how its program ended: the site counts what was said last.
        Step::Other(Decision::Wait { reason: Reason::WaitingAfterFailure, until }) if past::is_fresh(said.as_ref()) => {
            past::failed_before(shared, offer, until)?;
            Ok(until)
        }
        Step::Other(Decision::Wait { reason, until }) => {
            // A record that is just being fetched is nothing to report.
            let known = reason != Reason::WaitingForRecord || shared.records.rest(&offer.record).is_some();
            if known && may_say_waiting(reason, said.as_ref()) {
                shared.say_until(view.about(offer), Standing { state: RunState::Waiting, reason }, "", until)?;
            }
            Ok(until)
        }
        Step::Other(Decision::Failed { state, reason, until }) => {
            past::failed(shared, view, offer, said.as_ref(), Standing { state, reason }, until)?;
            Ok(until)
        }
        Step::Other(Decision::Settled { state, reason }) => {
            if state != RunState::Expired || view.was_visible(offer, said.as_ref()) {
                past::settled(shared, view, offer, said.as_ref(), Standing { state, reason })?;
            }
            Ok(None)
        }
        Step::Other(Decision::Running | Decision::Start(_) | Decision::StartDependency) => Ok(None),
    }
}

/// Nothing is visible before its start; and how the last run ended says more than that a later one is due.
fn may_say_waiting(reason: Reason, said: Option<&Standing>) -> bool {
    let ended = said.is_some_and(|said| said.state == RunState::Succeeded || said.state.is_failure());
    match reason {
        Reason::WaitingForStart => false,
        Reason::WaitingAfterFailure | Reason::WaitingForAssignment | Reason::WaitingForUser => !ended,
        _ => true,
    }
}

/// Offers that are gone: what had not started is cancelled, what runs goes on. Requests that can no longer be
/// honoured are forgotten.
fn withdraw(shared: &Shared, view: &View) -> Result<(), AgentError> {
    let find = |key: &str| view.policy.body.offers.iter().find(|offer| offer.advertisement.to_string() == key);
    for (key, standing) in shared.store.standings()? {
        if find(&key).is_some() {
            continue;
        }
        let open = matches!(
            standing.state,
            RunState::Accepted | RunState::Waiting | RunState::Downloading | RunState::Retrying
        );
        let cancelled = open.then(|| About::withdrawn(&key)).flatten();
        let message = cancelled.map(|about| about.state(RunState::Cancelled, Reason::OfferWithdrawn, "", clock::now()));
        shared.store.withdraw(&key, message.as_ref())?;
        shared.outbox.notify_one();
    }
    for request in shared.store.requests()? {
        let may = find(&request.advertisement)
            .is_some_and(|offer| offer.user_may_start && offer.expires.is_none_or(|expires| expires > view.now));
        if !may {
            shared.store.drop_request(&request.id)?;
        }
    }
    Ok(())
}

/// Fetches a record in a task of its own, unless that is under way or rests.
fn fetch_record(shared: &Arc<Shared>, digest: Digest) {
    if !matches!(shared.records.begin(&digest, clock::now()), Turn::Mine { .. }) {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        match fetch_and_keep(&shared, &digest).await {
            Ok(()) => shared.records.done(&digest),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), %digest, "a package record is not here");
                let standing = Standing { state: RunState::Waiting, reason: Reason::WaitingForRecord };
                shared.records.failed(&digest, standing, clock::now());
            }
        }
        shared.wake.notify_one();
    });
}

async fn fetch_and_keep(shared: &Shared, digest: &Digest) -> anyhow::Result<()> {
    let (envelope, url) = shared.link.record(digest).await?;
    let session = shared.session();
    if let Err(error) = policy::verify_record(&envelope, digest, &session.keys, &session.site_id) {
        shared.distrust(&url, Reason::SignatureInvalid, &format!("record {digest}: {error}"));
        return Err(error.into());
    }
    shared.store.put_record(&digest.to_string(), &serde_json::to_string(&envelope)?)?;
    Ok(())
}
