//! The poll: asks for policy and waits for its change, believes nothing that does not verify, keeps what does. What is
//! to be done about it is decided in `engine`.

use std::{mem::Discriminant, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    AgentError,
    link::{LinkError, Polled, Said},
    messages, narrate,
    policy::{self, Expected, Policy, PolicyError},
    shared::Shared,
    view::POLICY,
};
use crate::{
    clock,
    model::{message::Severity, reason::Reason},
    transport::backoff::{Backoff, jitter},
    wire::{
        access::LONG_POLL_SECS_MAX,
        policy::{AgentConfig, PolicyAnswer, ROOT_LIFETIME},
    },
};

/// An access point that answers sooner than asked to wait is full: the client comes back at its interval.
const EARLY: Duration = Duration::from_secs(1);
/// Spread of the polls of clients that were answered at the same moment.
const SPREAD: Duration = Duration::from_millis(500);

/// Polls until the task is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut told: Option<Discriminant<PolicyError>> = None;
    let mut met = false;
    let mut failures = 0_u32;
    let mut unknown = false;
    loop {
        if !shared.has_state() {
            return std::future::pending().await;
        }
        let held = shared.store.get::<Policy>(POLICY).unwrap_or_else(|error| {
            tracing::error!(%error, "the policy held cannot be read; asking for all of it");
            None
        });
        let interval = interval(held.as_ref());
        // Somebody who never answered may never do: only who did is given time to wait for a change.
        let wait = if met { interval.min(Duration::from_secs(LONG_POLL_SECS_MAX)) } else { Duration::ZERO };
        let began = Instant::now();
        let polled = tokio::select! {
            polled = shared.link.poll(held.as_ref().map(|held| held.tag.as_str()), wait) => polled,
            () = shared.poll.notified() => continue,
        };
        let rest = match polled {
            Ok(Polled { said: said @ (Said::Unchanged | Said::Unknown), url }) => {
                (met, failures) = (true, 0);
                let is_unknown = matches!(said, Said::Unknown);
                if is_unknown && !unknown {
                    tracing::info!(
                        "no policy for this client yet; if that lasts, its site may not know it (`waybill clients`)"
                    );
                }
                unknown = is_unknown;
                let early = began.elapsed() + EARLY < wait;
                let behind = is_behind(&said, held.as_ref(), clock::now());
                if behind {
                    shared.link.leave(&url);
                }
                Rest::For(if early && behind {
                    backoff.next()
                } else {
                    backoff.reset();
                    if early { interval / 2 + jitter(interval / 2) } else { jitter(SPREAD) }
                })
            }
            Ok(Polled { said: Said::Changed(answer, tag), url }) => match take(&shared, &answer, &tag, held.as_ref()) {
                Ok(()) => {
                    (met, failures) = (true, 0);
                    backoff.reset();
                    told = None;
                    Rest::For(jitter(SPREAD))
                }
                Err(error) => {
                    met = false;
                    refused(&shared, error, &url, &mut told);
                    Rest::For(backoff.next())
                }
            },
            Err(error) => {
                // A poll that waited is cut when the site restarts or turns this client away: the next one tells which.
                if !met || failures > 0 {
                    tell(&error);
                }
                (met, failures) = (false, failures + 1);
                Rest::After(error)
            }
        };
        tokio::select! {
            () = rest.over(&shared, &mut backoff) => {}
            () = shared.poll.notified() => {}
        }
    }
}

/// How long to wait before the next poll.
enum Rest {
    For(Duration),
    After(LinkError),
}

impl Rest {
    async fn over(self, shared: &Shared, backoff: &mut Backoff) {
        match self {
            Self::For(pause) => tokio::time::sleep(pause).await,
            Self::After(error) => shared.link.rest(&error, backoff).await,
        }
    }
}

/// Whether the access point may be cut off or hold back: it does not know this client, or a root that should long have
/// been signed anew.
fn is_behind(said: &Said, held: Option<&Policy>, now: Timestamp) -> bool {
    let lifetime_secs = ROOT_LIFETIME.as_duration().as_secs().cast_signed();
    match said {
        Said::Unknown => true,
        Said::Unchanged => {
            held.is_some_and(|held| now.as_second() - held.issued_at.as_second() > lifetime_secs / 4 * 3)
        }
        Said::Changed(..) => false,
    }
}

/// Time between polls.
pub(super) fn interval(held: Option<&Policy>) -> Duration {
    let config = held.map_or_else(AgentConfig::default, |held| held.body.config.clone());
    config.poll_interval.as_duration().max(Duration::from_secs(1))
}

fn tell(error: &LinkError) {
    if error.is_turned_away() {
        return;
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    tracing::warn!(error = narrate::line(&text), "policy was not refreshed; going on with what is held");
}

/// Verifies and keeps an answer.
fn take(shared: &Shared, answer: &PolicyAnswer, tag: &str, held: Option<&Policy>) -> Result<(), Refused> {
    let session = shared.session();
    let expected =
        Expected { keys: &session.keys, site: &session.site_id, client: &session.id, epoch_min: session.epoch };
    let policy = policy::verify(answer, tag, expected, held, clock::now())?;
    let changed = held.is_none_or(|held| held.leaf != policy.leaf);
    keep(shared, &policy)?;
    shared.link.add_urls(&policy.body.config.access_points);
    if changed {
        tracing::info!(version = policy.leaf.version, offers = policy.body.offers.len(), "policy changed");
        narrate::offers(held.map_or(&[][..], |held| &held.body.offers), &policy.body.offers);
        // Whatever failed may succeed under another policy.
        shared.programs.hurry();
        shared.records.hurry();
    }
    shared.wake.notify_one();
    Ok(())
}

fn keep(shared: &Shared, policy: &Policy) -> Result<(), AgentError> {
    shared.store.put(POLICY, policy)?;
    let named = policy.body.offers.iter().map(|offer| &offer.record).chain(&policy.body.dependencies);
    let keep: Vec<String> = named.map(ToString::to_string).collect();
    shared.store.retain_records(&keep)?;
    Ok(())
}

/// Why an answer was not kept.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// An answer that does not verify: said once until a good one comes, and another access point is asked.
fn refused(shared: &Shared, error: Refused, url: &str, told: &mut Option<Discriminant<PolicyError>>) {
    let error = match error {
        Refused::Policy(error) => error,
        // Not the access point's fault, and no other would help.
        Refused::Agent(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, state = %shared.state.display(), "policy could not be kept; going on with what is held");
            return;
        }
    };
    tracing::error!(%error, %url, "the policy offered is refused; asking another access point");
    shared.link.leave(url);
    let kind = std::mem::discriminant(&error);
    if told.replace(kind) == Some(kind) {
        return;
    }
    let report = messages::general(Severity::Error, reason_of(&error), error.to_string(), clock::now());
    match shared.store.say(&report) {
        Ok(_) => shared.outbox.notify_one(),
        Err(error) => tracing::error!(%error, "a refused policy could not be reported"),
    }
}

const fn reason_of(error: &PolicyError) -> Reason {
    match error {
        PolicyError::Rollback { .. } => Reason::PolicyRollback,
        _ => Reason::SignatureInvalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_policy_and_one_that_does_not_verify_are_told_apart() {
        let old = PolicyError::Rollback { offered: "1".into(), held: "2".into() };
        assert_eq!(reason_of(&old), Reason::PolicyRollback);
        for bad in
            [PolicyError::Signature("x".into()), PolicyError::Proof, PolicyError::Body, PolicyError::Other("site")]
        {
            assert_eq!(reason_of(&bad), Reason::SignatureInvalid);
        }
    }
}
