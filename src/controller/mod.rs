//! One reconcile per kind: observe, plan, apply, report. One error policy, one writer of status.
//!
//! Every kind implements [`Reconciled`]; `run` gives each its watch, its concurrency limit and its backoff. Decisions
//! are in [`crate::plan`]; nothing here knows how content travels or how policy is signed for clients.

pub mod advertisement;
mod client_agent_config;
mod collection;
mod confirm;
pub mod context;
mod distribution;
mod distribution_point;
pub mod error;
pub mod events;
pub mod guard;
mod held_up;
pub mod looks;
pub mod nudge;
pub mod pace;
pub mod package;
mod placement;
mod present;
mod program;
mod record;
pub mod removal;
pub mod report;
pub mod site;
pub mod start;

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::controller::{Action, Config},
};
use serde::{Serialize, de::DeserializeOwned};

use self::{context::Context, error::Error, guard::Watched, report::Report};
use crate::metrics::{self, Outcome};

/// Reconciles of one kind at the same time at most; the database and the disk are shared by all.
const CONCURRENCY_MAX: u16 = 16;
/// Events of one object within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Every object is looked at this often without any event, so that no lost event lasts.
const RESYNC: Duration = Duration::from_secs(600);

/// What waits for somebody is looked at this often all the same: the word of what was done may have got lost.
const STALLED_LOOK: Duration = Duration::from_secs(3_600);

/// A kind with its reconcile.
pub trait Reconciled:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The API for objects of this kind, in `namespace` if it is namespaced.
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self>;

    /// Observe, plan and apply; the caller reports.
    fn reconcile(&self, ctx: &Context) -> impl Future<Output = Result<Report, Error>> + Send;

    /// Told once an object is gone, as it was last: asks whoever depended on it to look again.
    fn gone(&self, ctx: &Context) {
        ctx.reevaluate.notify_one();
    }
}

/// Runs the controller of one kind until `shutdown`.
async fn run<K: Reconciled>(
    watched: Watched<K>,
    nudged: tokio::sync::mpsc::Receiver<kube::runtime::reflector::ObjectRef<K>>,
    ctx: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) where
    K::DynamicType: Debug,
{
    let Watched { controller, mut gone } = watched;
    let told = ctx.clone();
    let tell = async {
        while let Some(object) = gone.recv().await {
            object.gone(&told);
        }
        // The watch has ended, and the controller with it.
        std::future::pending().await
    };
    let nudged = futures::stream::unfold(nudged, |mut nudged| async { nudged.recv().await.map(|one| (one, nudged)) });
    let reconciles = controller
        .with_config(Config::default().concurrency(CONCURRENCY_MAX).debounce(DEBOUNCE))
        .reconcile_on(nudged)
        .graceful_shutdown_on(shutdown)
        .run(step, |object, error: &Error, ctx| policy(&*object, error, &ctx), ctx)
        .for_each(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(kind = %K::kind(&()), %error, "reconcile ended");
            }
            std::future::ready(())
        });
    tokio::select! {
        () = reconciles => {}
        () = tell => {}
    }
}

/// One reconcile with its report; the first cause wins over a failed report.
async fn step<K: Reconciled>(object: Arc<K>, ctx: Arc<Context>) -> Result<Action, Error> {
    ctx.complete().await;
    if ctx.stores.unreadable.holds(&object.uid().unwrap_or_default()) {
        // It says so itself; what it was before is in force and not looked at again.
        return Ok(Action::await_change());
    }
    let kind = K::kind(&());
    let (_busy, began) = (metrics::reconciling(&kind), tokio::time::Instant::now());
    let outcome = object.reconcile(&ctx).await;
    if let Err(error @ Error::Deferred { .. }) = outcome {
        return Err(error);
    }
    let report = match &outcome {
        Ok(report) => report.clone(),
        Err(error) => Report { fields: report::present_fields(&*object), ..Report::new(error.readiness()) },
    };
    let put_off = report::write(&*object, &report, &ctx).await;
    let ended = match &outcome {
        Ok(_) if put_off.is_ok() => Outcome::Done,
        Err(Error::Stalled { .. }) => Outcome::Stalled,
        _ => Outcome::Retried,
    };
    metrics::reconciled(&kind, ended, began.elapsed());
    let stall = match &outcome {
        Err(Error::Stalled { reason, text }) => Some((*reason, text.as_str())),
        _ => None,
    };
    let shown = stall.is_some_and(|(reason, text)| report::says(&*object, reason, text));
    let turned = ctx.pace.stalls(&object.uid().unwrap_or_default(), stall, shown);
    if let Some((_, error)) = stall.filter(|_| turned) {
        tracing::warn!(kind = %kind, object = %object.name_any(), error, "stalled");
    }
    outcome?;
    // One that cannot be written fails like any other, and is tried ever more rarely.
    let put_off = put_off?;
    ctx.pace.succeeded(&object.uid().unwrap_or_default());
    let next = [put_off, report.next, Some(ctx.at_latest(RESYNC))].into_iter().flatten().min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

fn policy<K: Reconciled>(object: &K, error: &Error, ctx: &Context) -> Action {
    let failures = ctx.pace.failed(&object.uid().unwrap_or_default());
    match error.retry_after(failures) {
        Some(after) => {
            tracing::debug!(kind = %K::kind(&()), object = %object.name_any(), error = %error.chain(), ?after, "tried again");
            Action::requeue(after)
        }
        None => Action::requeue(ctx.at_latest(STALLED_LOOK)),
    }
}

/// A server ends every watch after this time, and the watch is taken up again.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(200);
