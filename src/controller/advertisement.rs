//! Reconciles `Advertisement`: reports what the offer manager made of it, and where its clients stand.

use std::{collections::BTreeSet, time::Duration};

use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{
        advertisement::{Advertisement, AssignmentSpec, ClientCounts, MessageCounts},
        conditions::Readiness,
    },
    clock,
    db::{records, status, summaries},
    model::{identity::ObjectName, reason::Reason, schedule::Assignment, state::RunState},
    plan::{
        behind::{Answered, behind},
        offer::{OfferTemplate, Outcome},
        summary::advertisement_health,
    },
};

/// The offer manager nudges a new advertisement as soon as it has looked at it; this is the fallback.
const EVALUATION_WAIT: Duration = Duration::from_secs(5);

impl Reconciled for Advertisement {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        ctx.reevaluate.notify_one();
        let template = template(self).map_err(|text| Error::stalled(Reason::InvalidSpec, text))?;
        let name = ObjectName::new(self.namespace().unwrap_or_default(), self.name_any());
        let evaluated = ctx.evaluated.borrow().clone();
        let outcome = evaluated.compiled.outcomes.get(&name).cloned();
        if outcome.is_none() && self.status.as_ref().is_none_or(|status| status.observed.conditions.is_empty()) {
            return Err(Error::Deferred { after: EVALUATION_WAIT });
        }
        let targets = evaluated.targeted(&name, &self.spec.collection);
        let record = match outcome {
            Some(Outcome::Offered { record, .. }) => Some(record),
            _ => None,
        };
        let token = template.rerun_token.clone();
        let (rows, messages, offered) = ctx
            .database
            .read(move |connection| {
                let offered = record
                    .map(|record| records::get(connection, &record))
                    .transpose()?
                    .flatten()
                    .map(|row| row.source_version);
                Ok((
                    status::states(connection, &name, token.as_deref())?,
                    summaries::message_counts(connection, &name)?,
                    offered,
                ))
            })
            .await?;
        let now = clock::now();
        let clients = count(&targets, &rows, |state, answered| {
            offered.is_some_and(|offered| behind(&template, state, answered, offered, now).is_some())
        });
        let stalled = matches!(outcome, Some(Outcome::Stalled(..)));
        let failed = usize::try_from(clients.failed + clients.unknown).unwrap_or(0);
        let health = advertisement_health(targets.len(), failed, stalled);
        let messages = MessageCounts {
            received: number(messages.received),
            failed_to_start: number(messages.failed_to_start),
            started: number(messages.started),
            succeeded: number(messages.succeeded),
            failed: number(messages.failed),
        };
        let mut report = Report::new(readiness(self, outcome.as_ref()))
            .field("health", health.as_str())
            .field("clients", json!(clients))
            .field("messages", json!(messages));
        if let Some(Outcome::Offered { lost: true, .. }) = outcome {
            let text = "no distribution point holds the content any more; clients that have it go on";
            report.conditions.push(("ContentLost", true, Reason::ContentLost, text.to_owned()));
        }
        Ok(report)
    }
}

fn readiness(advertisement: &Advertisement, outcome: Option<&Outcome>) -> Readiness {
    match outcome {
        None => Readiness::Progressing(Reason::Progressing, "not looked at yet".into()),
        Some(Outcome::Offered { members, .. }) if advertisement.spec.suspend => {
            Readiness::Ready(Reason::Suspended, format!("suspended: no new starts; offered to {members} clients"))
        }
        Some(Outcome::Offered { members, .. }) => {
            Readiness::Ready(Reason::Succeeded, format!("offered to {members} clients"))
        }
        Some(Outcome::Waiting(reason)) => Readiness::Progressing(*reason, reason.explanation().to_owned()),
        Some(Outcome::Stalled(reason, text)) => Readiness::Stalled(*reason, text.clone()),
    }
}

/// Distinct clients by where they stand: every target counts once, targets without a word as NoStatus. What clients
/// said that are targets no longer does not count. Who is done with an older version or rerun token only, as `is_behind` says,
/// waits.
fn count(
    targets: &BTreeSet<String>,
    rows: &[(String, RunState, Answered)],
    is_behind: impl Fn(RunState, Answered) -> bool,
) -> ClientCounts {
    let mut counts = ClientCounts { targeted: number(targets.len() as u64), ..ClientCounts::default() };
    counts.no_status = counts.targeted;
    for (client, state, answered) in rows {
        if !targets.contains(client) || *state == RunState::NoStatus {
            continue;
        }
        counts.no_status -= 1;
        match state {
            RunState::Succeeded | RunState::WillNotRerun if is_behind(*state, *answered) => counts.waiting += 1,
            RunState::Succeeded => counts.succeeded += 1,
            RunState::Running => counts.running += 1,
            RunState::NoStatus => {}
            RunState::Accepted | RunState::Waiting | RunState::Downloading | RunState::Retrying => counts.waiting += 1,
            RunState::Rejected | RunState::Expired | RunState::WillNotRerun | RunState::Cancelled => {
                counts.not_running += 1;
            }
            RunState::Unknown => counts.unknown += 1,
            RunState::PrepareFailed | RunState::ContentMismatch | RunState::TimedOut | RunState::Failed => {
                counts.failed += 1;
            }
        }
    }
    counts
}

/// Kubernetes numbers are signed.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The part of an offer that the advertisement says; an error names the field.
pub(crate) fn template(advertisement: &Advertisement) -> Result<OfferTemplate, String> {
    let spec = &advertisement.spec;
    let instant = |field: &str, text: &str| {
        text.parse::<jiff::Timestamp>()
            .map_err(|_| format!("{field} '{text}' is no instant; write for instance 2026-12-01T08:00:00+01:00"))
    };
    let optional = |field: &str, text: &Option<String>| text.as_deref().map(|text| instant(field, text)).transpose();
    let assignments = spec
        .assignments
        .iter()
        .map(|one| match one {
            AssignmentSpec::At(at) => instant("at", at).map(Assignment::At),
            AssignmentSpec::AsSoonAsPossible(_) => Ok(Assignment::AsSoonAsPossible),
        })
        .collect::<Result<_, _>>()?;
    Ok(OfferTemplate {
        name: ObjectName::new(advertisement.namespace().unwrap_or_default(), advertisement.name_any()),
        program: spec.program.clone(),
        start: optional("start", &spec.start)?,
        expires: optional("expires", &spec.expires)?,
        assignments,
        user_may_start: spec.user_may_start,
        rerun: spec.rerun,
        rerun_token: spec.rerun_token.clone(),
        suspended: spec.suspend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_counted_once() {
        let members: BTreeSet<String> = (0..=RunState::ALL.len()).map(|number| number.to_string()).collect();
        let answered = Answered { version: Some(10), token: true };
        let row = |(number, state): (usize, &RunState)| (number.to_string(), *state, answered);
        let rows: Vec<_> = RunState::ALL.iter().enumerate().map(row).collect();
        let rows = [rows, vec![("a former member".into(), RunState::Failed, answered)]].concat();
        let counts = count(&members, &rows, |_, _| false);
        let ClientCounts { targeted, no_status, waiting, running, succeeded, failed, unknown, not_running } = counts;
        assert_eq!(targeted, no_status + waiting + running + succeeded + failed + unknown + not_running);
        assert_eq!((targeted, no_status, failed, unknown), (17, 2, 4, 1));
        // A failure stays one until the client has answered: a new version alone mends nothing.
        let behind = count(&members, &rows, |_, answered| answered.version < Some(11));
        let (succeeded, not_running, waiting) = (succeeded - 1, not_running - 1, waiting + 2);
        assert_eq!(behind, ClientCounts { succeeded, not_running, waiting, ..counts });
    }
}
