//! Reconciles `DistributionPoint`: places every package anew when points come or go, and reports what the point holds.

use std::time::Duration;

use kube::{Api, ResourceExt};

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{conditions::Readiness, distribution_point::DistributionPoint},
    clock,
    db::{
        devices::SILENCE_MS_MAX,
        locations::{self, LocationRow, Wanted},
        points,
    },
    model::{reason::Reason, state::LocationState},
};

/// How long until a system that was heard of last then counts as silent; `None` if it does.
pub(super) fn until_silent(heard_ms: i64, now_ms: i64) -> Option<Duration> {
    let left_ms = u64::try_from(heard_ms + SILENCE_MS_MAX - now_ms).ok()?;
    // And a moment, so that it has passed.
    Some(Duration::from_millis(left_ms + 1_000))
}

impl Reconciled for DistributionPoint {
    fn api(client: &kube::Client, _namespace: Option<&str>) -> Api<Self> {
        Api::all(client.clone())
    }

    fn gone(&self, ctx: &Context) {
        ctx.nudge_packages();
        ctx.points_changed.notify_waiters();
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        let name = self.name_any();
        let wanted = name.clone();
        let (point, rows) = ctx
            .database
            .read(move |connection| Ok((points::get(connection, &wanted)?, locations::of_point(connection, &wanted)?)))
            .await?;
        let changed =
            self.metadata.generation != self.status.as_ref().and_then(|status| status.observed.observed_generation);
        if rows.is_empty() || changed {
            ctx.nudge_packages();
        }
        ctx.points_changed.notify_waiters();
        let installed = rows.iter().filter(|row| row.state == LocationState::Installed).count();
        let pending = rows.iter().filter(|row| unsettled(row.state)).count();
        let readiness = match &point {
            None => {
                Readiness::Progressing(Reason::Unreachable, format!("no distribution point '{name}' has joined yet"))
            }
            Some(point) if clock::now_unix_ms() - point.reported_ms > SILENCE_MS_MAX => {
                Readiness::Progressing(Reason::Unreachable, "it has stopped reporting; is it running?".into())
            }
            Some(_) if self.spec.suspend => {
                Readiness::Ready(Reason::Suspended, "suspended: takes no new copies".into())
            }
            Some(point) if !point.drives.iter().any(|drive| drive.usable) => Readiness::Stalled(
                Reason::DiskFull,
                "no usable drive: each is missing, excluded by NO_WAYBILL_ON_DRIVE or below its reserve".into(),
            ),
            Some(_) => Readiness::Ready(Reason::Succeeded, holds(installed, &rows)),
        };
        // Silence is no event.
        let next = point.as_ref().and_then(|point| until_silent(point.reported_ms, clock::now_unix_ms()));
        let report = Report { next, ..Report::new(readiness) };
        Ok(report.field("url", point.map(|point| point.url)).field("installed", installed).field("pending", pending))
    }
}

/// What it holds, and a copy that does not succeed.
fn holds(installed: usize, rows: &[LocationRow]) -> String {
    let failed = rows.iter().find(|row| {
        row.wanted == Wanted::Hold && matches!(row.state, LocationState::InstallFailed | LocationState::InstallRetrying)
    });
    let trouble = failed.and_then(|row| Some((row, row.detail.as_ref()?)));
    let trouble = trouble.map_or_else(String::new, |(row, why)| {
        format!("; version {} of package {}: {why}", row.version.source_version, row.version.package)
    });
    format!("holds {installed} package versions{trouble}")
}

const fn unsettled(state: LocationState) -> bool {
    !matches!(state, LocationState::Installed | LocationState::Removed | LocationState::Abandoned)
}
