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
        locations::{self, LocationRow, Wanted},
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
    let failed = failed(rows.iter().filter(mine), current);
    let stands = format!("version {version} is on {} of {} distribution points", summary.installed, summary.targeted);
    let stands = failed.map_or(stands.clone(), |row| {
        format!("{stands}; {}: {}", row.point, row.detail.as_deref().unwrap_or("the copy failed"))
    });
    let readiness = match (distribution.spec.suspend, start, enough, failed) {
        (true, ..) => Readiness::Ready(
            Reason::Suspended,
            format!("suspended; version {version} is on {} points", summary.installed),
        ),
        (false, Some(start), ..) => Readiness::Progressing(Reason::WaitingForStart, format!("starts after {start}")),
        (false, None, true, _) => Readiness::Ready(Reason::Succeeded, stands),
        (false, None, false, Some(_)) => Readiness::Progressing(Reason::ProgressingWithRetry, stands),
        (false, None, false, None) => Readiness::Progressing(Reason::WaitingForDistributionPoints, stands),
    };
    let mut report = Report::new(readiness)
        .field("sourceVersion", version)
        .field("targeted", summary.targeted)
        .field("installed", summary.installed);
    report.next = start.map(|start| clock::now().duration_until(start).unsigned_abs());
    report
}

/// The point whose copy of the current version failed, rather one that gave up than one that tries again.
fn failed<'a>(rows: impl Iterator<Item = &'a LocationRow>, current: &VersionRow) -> Option<&'a LocationRow> {
    let of_current =
        |row: &&LocationRow| row.wanted == Wanted::Hold && row.version.source_version == current.source_version;
    let is_failing = |row: &&LocationRow| match row.state {
        LocationState::InstallFailed => true,
        LocationState::InstallRetrying => row.detail.is_some(),
        _ => false,
    };
    rows.filter(of_current).filter(is_failing).min_by_key(|row| row.state != LocationState::InstallFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::distribution::DistributionSpec, content::digest::Digest, wire::points::VersionRef};

    fn row(point: &str, source_version: u64, state: LocationState, detail: Option<&str>) -> LocationRow {
        let package = ObjectName::new("default", "tool");
        LocationRow {
            point: point.to_owned(),
            version: VersionRef { package, source_version, content: Digest::of(b"new") },
            wanted: Wanted::Hold,
            resend_wanted: None,
            resend_honoured: None,
            check_wanted: 0,
            check_honoured: 0,
            state,
            detail: detail.map(str::to_owned),
            path: None,
            verified_at_ms: None,
            created_ms: 0,
            updated_ms: 0,
        }
    }

    fn said(rows: &[LocationRow]) -> (Reason, String) {
        let spec = serde_json::json!({"package": "tool", "distributionPoints": {"all": {}}});
        let spec: DistributionSpec = serde_json::from_value(spec).unwrap();
        let current = VersionRow {
            key: PackageKey { site: "main".into(), package: ObjectName::new("default", "tool") },
            source_version: 2,
            content: Digest::of(b"new"),
            size_bytes: 1,
            files: 1,
            created_ms: 0,
            pinned: false,
        };
        let readiness = report(&Distribution::new("tool", spec), Some(&current), rows).readiness;
        (readiness.reason(), readiness.message().to_owned())
    }

    #[test]
    fn a_point_whose_copy_fails_is_named_with_what_it_says_also_while_it_tries_again() {
        use LocationState::{InstallFailed, InstallPending, InstallRetrying};
        let none = "version 2 is on 0 of 1 distribution points";
        let full = row("edge", 2, InstallRetrying, Some("DiskFull: no drive has room"));
        assert_eq!(
            said(std::slice::from_ref(&full)),
            (Reason::ProgressingWithRetry, format!("{none}; edge: DiskFull: no drive has room"))
        );
        let gave_up = row("hall", 2, InstallFailed, None);
        assert!(said(&[full.clone(), gave_up]).1.ends_with("; hall: the copy failed"));
        // With enough others it is done, and says so all the same.
        let enough = said(&[full.clone(), row("site", 2, LocationState::Installed, None)]);
        let text = "version 2 is on 1 of 2 distribution points; edge: DiskFull: no drive has room";
        assert_eq!(enough, (Reason::Succeeded, text.to_owned()));
        // What failed of an older version, what is not wanted any more, and what only takes its time is no failure.
        let older = row("edge", 1, InstallFailed, Some("DiskFull"));
        let unwanted = LocationRow { wanted: Wanted::Remove, ..full };
        let pending = row("edge", 2, InstallPending, Some("Progressing: 1 of 9"));
        for row in [older, unwanted, pending, row("edge", 2, InstallRetrying, None)] {
            assert_eq!(said(&[row]).0, Reason::WaitingForDistributionPoints);
        }
    }
}
