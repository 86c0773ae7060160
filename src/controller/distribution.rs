//! Reconciles `Distribution`: places its package, and is ready once enough points hold the current version.

use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use super::{Reconciled, context::Context, error::Error, placement, report::Report};
use crate::{
    api::{
        conditions::Readiness,
        distribution::{Distribution, DistributionPoints},
        package::Source,
    },
    clock,
    db::{
        jobs::{self, JobSpec, Priority},
        locations::{self, LocationRow},
        versions::{self, PackageKey, VersionRow},
    },
    model::{identity::ObjectName, reason::Reason, state::LocationState},
};

impl Reconciled for Distribution {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    fn gone(&self, ctx: &Context) {
        ctx.nudges.package(&ObjectName::new(self.namespace().unwrap_or_default(), &self.spec.package));
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        let namespace = self.namespace().unwrap_or_default();
        let package = ObjectName::new(&namespace, &self.spec.package);
        if let Some(text) = self.spec.start_after.as_ref().filter(|text| text.parse::<jiff::Timestamp>().is_err()) {
            let text = format!("startAfter '{text}' is no instant; write for instance 2026-12-01T08:00:00+01:00");
            return Err(Error::stalled(Reason::InvalidSpec, text));
        }
        let Some(object) = ctx.stores.packages.get(&ObjectRef::new(&package.name).within(&namespace)) else {
            let text = format!("package '{}' does not exist in namespace {namespace}; create it", package.name);
            return Err(Error::stalled(Reason::ReferenceNotFound, text));
        };
        placement::apply(&package, ctx).await?;
        set_jobs(self, &package, ctx).await?;
        if matches!(object.spec.source, Source::None(_)) {
            return Ok(Report::new(Readiness::Ready(
                Reason::Succeeded,
                "the package has no files to distribute".into(),
            )));
        }
        let key = PackageKey { site: ctx.site.id.clone(), package };
        let (current, rows) = ctx
            .database
            .read(move |connection| {
                Ok((versions::current(connection, &key)?, locations::of_package(connection, &key.package)?))
            })
            .await?;
        check_points(self, ctx)?;
        Ok(report(self, current.as_ref(), &rows))
    }
}

/// The jobs of a Distribution: one for every point that should hold the current version, the own site's not excepted.
async fn set_jobs(distribution: &Distribution, package: &ObjectName, ctx: &Context) -> Result<(), Error> {
    let start = placement::start_after(distribution);
    let now = clock::now();
    let key = PackageKey { site: ctx.site.id.clone(), package: package.clone() };
    let points: Vec<String> = match &distribution.spec.distribution_points {
        DistributionPoints::Names(names) => names.clone(),
        DistributionPoints::All(_) => ctx.stores.points.state().iter().map(|point| point.name_any()).collect(),
    };
    if distribution.spec.suspend || ctx.site_suspended() {
        // What was begun goes on; nothing new begins.
        return Ok(());
    }
    let (name, token) = (distribution.name_any(), distribution.spec.resend_token.clone());
    let start_after_ms = start.map(|start| start.as_millisecond());
    ctx.database
        .write(move |tx| {
            let current = versions::current(tx, &key)?;
            let jobs: Vec<JobSpec> = current
                .map(|version| {
                    points
                        .into_iter()
                        .map(|point| job(&key.package, &name, &version, point, token.clone(), start_after_ms))
                        .collect()
                })
                .unwrap_or_default();
            jobs::set(tx, &key.package.namespace, &name, &jobs, now.as_millisecond())
        })
        .await?;
    Ok(())
}

fn job(
    package: &ObjectName,
    distribution: &str,
    version: &VersionRow,
    point: String,
    resend_token: Option<String>,
    start_after_ms: Option<i64>,
) -> JobSpec {
    JobSpec {
        namespace: package.namespace.clone(),
        distribution: distribution.to_owned(),
        package: package.name.clone(),
        source_version: version.source_version,
        content: Some(version.content),
        point,
        resend_token,
        advertisement: None,
        priority: Priority::Normal,
        start_after_ms,
        send: false,
    }
}

fn check_points(distribution: &Distribution, ctx: &Context) -> Result<(), Error> {
    let DistributionPoints::Names(names) = &distribution.spec.distribution_points else { return Ok(()) };
    let missing: Vec<_> = names
        .iter()
        .filter(|name| ctx.stores.points.get(&ObjectRef::new(name)).is_none())
        .map(String::as_str)
        .collect();
    if missing.len() < names.len() || names.is_empty() {
        return Ok(());
    }
    let text = format!("no such distribution point: {}; join it, or correct the names", missing.join(", "));
    Err(Error::stalled(Reason::ReferenceNotFound, text))
}

fn report(distribution: &Distribution, current: Option<&VersionRow>, rows: &[LocationRow]) -> Report {
    let Some(current) = current else {
        return Report::new(Readiness::Progressing(Reason::WaitingForRecord, "the package has no version yet".into()));
    };
    let mine = |row: &&LocationRow| match &distribution.spec.distribution_points {
        DistributionPoints::Names(names) => names.contains(&row.point),
        DistributionPoints::All(_) => true,
    };
    let summary = placement::summarize(&rows.iter().filter(mine).cloned().collect::<Vec<_>>(), Some(current));
    let version = current.source_version;
    let enough = summary.installed >= i64::from(distribution.spec.min_available);
    let start = placement::start_after(distribution).filter(|start| *start > clock::now());
    let failed = rows.iter().filter(mine).find(|row| row.state == LocationState::InstallFailed);
    let readiness = match (distribution.spec.suspend, start, enough, failed) {
        (true, ..) => Readiness::Ready(
            Reason::Suspended,
            format!("suspended; version {version} is on {} points", summary.installed),
        ),
        (false, Some(start), ..) => Readiness::Progressing(Reason::WaitingForStart, format!("starts after {start}")),
        (false, None, true, _) => Readiness::Ready(
            Reason::Succeeded,
            format!("version {version} is on {} of {} distribution points", summary.installed, summary.targeted),
        ),
        (false, None, false, Some(row)) => Readiness::Progressing(
            Reason::ProgressingWithRetry,
            format!("{}: {}", row.point, row.detail.as_deref().unwrap_or("the copy failed")),
        ),
        (false, None, false, None) => Readiness::Progressing(
            Reason::WaitingForDistributionPoints,
            format!("version {version} is on {} of {} distribution points", summary.installed, summary.targeted),
        ),
    };
    let mut report = Report::new(readiness)
        .field("sourceVersion", version)
        .field("targeted", summary.targeted)
        .field("installed", summary.installed);
    report.next = start.map(|start| clock::now().duration_until(start).unsigned_abs());
    report
}
