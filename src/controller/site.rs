//! Reconciles `Site`: git sync's state, what it grants, and the component and site system summaries, in bounded form.

use std::collections::BTreeMap;

use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{
    Reconciled, context::Context, distribution_point::until_silent, error::Error, held_up::HeldUp, report::Report,
};
use crate::{
    api::{
        conditions::Readiness,
        site::{ComponentSummary, Site, SiteSpec, SyncStatus, SystemSummary},
    },
    clock,
    db::{
        DbError,
        devices::{self, DeviceRow},
        points::{self, PointRow},
        summaries::{self, ComponentStatus},
    },
    model::reason::Reason,
    plan::{
        grants::{Grant, Granted, first_invalid},
        summary::{Health, component_health, shown_free_kib, system_health},
        tenure::still_ours,
    },
    trust::identity::Role,
};

/// The first word of git sync nudges the site; this is the fallback.
const SYNC_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// How often a database that refused writes is tried again.
const REFUSED_LOOK: std::time::Duration = std::time::Duration::from_secs(30);
/// How often objects that are held up are counted again while there are any.
const HELD_UP_LOOK: std::time::Duration = std::time::Duration::from_secs(30);
/// Components and systems in status at most; the schema says the same.
const COMPONENTS_MAX: usize = 64;
/// See [`COMPONENTS_MAX`].
const SYSTEMS_MAX: usize = 256;

impl Reconciled for Site {
    fn api(client: &kube::Client, _namespace: Option<&str>) -> Api<Self> {
        Api::all(client.clone())
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        if self.name_any() != ctx.site.name {
            let text = format!("this server serves site '{}'; start another one for this site", ctx.site.name);
            return Err(Error::stalled(Reason::NotThisSite, text));
        }
        let recorded = self.status.as_ref().and_then(|status| u64::try_from(status.epoch?).ok());
        if ctx.fleet.is_some()
            && let Err(displaced) = still_ours(ctx.site.epoch, recorded.unwrap_or(0))
        {
            ctx.displaced.send_replace(Some(displaced));
            return Err(Error::Deferred { after: SYNC_WAIT });
        }
        ctx.reevaluate.notify_one();
        if self.metadata.generation != self.status.as_ref().and_then(|status| status.observed.observed_generation) {
            ctx.nudge_packages();
        }
        let (clients, components, points, access_points) = ctx
            .database
            .read(|connection| {
                Ok((
                    devices::number(connection, Role::Client)?,
                    summaries::components(connection)?,
                    points::all(connection)?,
                    devices::all(connection, Role::Cap)?,
                ))
            })
            .await?;
        let refusal = full(ctx.database.writable().await)?;
        // Git sync speaks soon after the start; until then what it said before stands.
        let sync = ctx.revision.borrow().status.clone().ok_or(Error::Deferred { after: ctx.at_latest(SYNC_WAIT) })?;
        let components = component_summaries(&components);
        let now_ms = clock::now_unix_ms();
        let systems = system_summaries(&points, &access_points, now_ms);
        let heard =
            points.iter().map(|point| point.reported_ms).chain(access_points.iter().map(|one| one.last_seen_ms));
        let next = heard.filter_map(|heard_ms| until_silent(heard_ms, now_ms)).min();
        let held_up = HeldUp::of(&ctx.stores);
        let states = components.iter().map(|one| &one.state).chain(systems.iter().map(|one| &one.state));
        let of_sync = if is_in_order(&sync) { Health::Ok } else { Health::Warning };
        let of_database = if refusal.is_none() { Health::Ok } else { Health::Critical };
        let others = [held_up.health(), of_sync, of_database];
        let health = states.filter_map(|state| Health::parse(state)).chain(others).max().unwrap_or(Health::Ok);
        // Silence is no event, and neither are the end of an object that was held up and room on a disk.
        let looks =
            [(held_up.count() > 0).then_some(HELD_UP_LOOK), refusal.as_ref().map(|_| ctx.at_latest(REFUSED_LOOK))];
        let next = next.into_iter().chain(looks.into_iter().flatten()).min();
        let in_order = || readiness(self, &sync, &held_up, &ctx.evaluated.borrow().granted);
        let report = Report { next, ..Report::new(refusal.unwrap_or_else(in_order)) };
        Ok(report
            .field("siteId", ctx.site.id.clone())
            .field("epoch", ctx.site.epoch)
            .field("clients", clients)
            .field("health", health.as_str())
            .field("heldUp", held_up.count())
            .field("fleet", json!(ctx.fleet))
            .field("sync", shown(&sync))
            .field("components", json!(components))
            .field("systems", json!(systems)))
    }
}

/// What a site says whose disk is full. Other trouble with the database may pass.
fn full(written: Result<(), DbError>) -> Result<Option<Readiness>, Error> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if error.is_disk_full() => {
            let text = "the disk of the site's state is full: nothing is stored, and no status of a client is acknowledged; make \
                        room, or the volume larger";
            Ok(Some(Readiness::Stalled(Reason::DiskFull, text.to_owned())))
        }
        Err(error) => Err(error.into()),
    }
}

fn is_in_order(sync: &SyncStatus) -> bool {
    sync.problems.is_empty() && sync.held_revision.is_none() && sync.held_removals.is_empty()
}

fn readiness(site: &Site, sync: &SyncStatus, held_up: &HeldUp, granted: &Granted) -> Readiness {
    if let Some(revision) = sync.held_revision.as_deref() {
        let text = format!(
            "revision {revision} would remove too much at once and removes nothing; look at status.sync.heldRemovals, \
             then 'waybill sync acknowledge {revision}', or bring the manifests back"
        );
        return Readiness::Stalled(Reason::PruneGuard, text);
    }
    if !sync.held_removals.is_empty() {
        let text = format!(
            "the manifests cannot be read and nothing is removed: {}",
            sync.problems.first().map_or("the directory is missing or empty", String::as_str)
        );
        return Readiness::Stalled(Reason::PruneGuard, text);
    }
    if let Some(problem) = sync.problems.first() {
        return Readiness::Stalled(Reason::ManifestsInvalid, problem.clone());
    }
    let grants = grants(&site.spec);
    if let Some((name, error)) = first_invalid(&grants) {
        let text = format!("spec.namespaces[{name}] reaches nobody: {error}");
        return Readiness::Stalled(Reason::QueryFailed, text);
    }
    let note = match granted.failures() {
        _ if grants.is_empty() => "; no namespace may reach a client: spec.namespaces names none".to_owned(),
        Some((failed, first)) => format!("; queries of spec.namespaces failed on {failed} clients, first: {first}"),
        None => String::new(),
    };
    if site.spec.suspend {
        return Readiness::Ready(Reason::Suspended, format!("suspended: nothing new is offered{note}"));
    }
    let more = held_up.sentence().map(|text| format!("; {text}"));
    Readiness::Ready(Reason::Succeeded, format!("serving{note}{}", more.unwrap_or_default()))
}

/// What a site grants, by namespace.
pub(crate) fn grants(site: &SiteSpec) -> BTreeMap<String, Grant> {
    let grants = site.namespaces.iter().map(|one| {
        let grant = Grant {
            query: one.query.clone(),
            max_clients: one.max_clients.map(|max| usize::try_from(max).unwrap_or(0)),
            run_as: one.run_as.as_ref().map(|users| users.iter().cloned().collect()),
        };
        (one.name.clone(), grant)
    });
    grants.collect()
}

/// Nothing where git sync is off.
fn shown(sync: &SyncStatus) -> Value {
    if *sync == SyncStatus::default() { Value::Null } else { json!(sync) }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn component_summaries(rows: &[ComponentStatus]) -> Vec<ComponentSummary> {
    let summary = |row: &ComponentStatus| ComponentSummary {
        component: row.component.clone(),
        system: row.system.clone(),
        state: component_health(row.informational, row.warnings, row.errors).as_str().to_owned(),
        informational: number(row.informational),
        warnings: number(row.warnings),
        errors: number(row.errors),
    };
    let mut all: Vec<_> = rows.iter().map(summary).collect();
    // The worst first, so that a cut list never hides them.
    all.sort_by_key(|one| (std::cmp::Reverse((one.errors, one.warnings)), one.component.clone(), one.system.clone()));
    all.truncate(COMPONENTS_MAX);
    all
}

fn system_summaries(points: &[PointRow], access_points: &[DeviceRow], now_ms: i64) -> Vec<SystemSummary> {
    let mut all = Vec::new();
    // Without storage of their own worth watching; those that an administrator refuses are no systems of the site.
    for access_point in access_points.iter().filter(|one| !one.blocked) {
        let available = until_silent(access_point.last_seen_ms, now_ms).is_some();
        all.push(SystemSummary {
            system: access_point.name.clone(),
            role: "ClientAccessPoint".into(),
            state: system_health(available, None).as_str().to_owned(),
            available,
            storage: String::new(),
            free_kib: 0,
            total_kib: 0,
        });
    }
    for point in points {
        let available = until_silent(point.reported_ms, now_ms).is_some();
        for drive in &point.drives {
            all.push(SystemSummary {
                system: point.name.clone(),
                role: "DistributionPoint".into(),
                state: system_health(available, Some((drive.free_bytes, drive.total_bytes))).as_str().to_owned(),
                available,
                storage: drive.path.clone(),
                free_kib: number(shown_free_kib(drive.free_bytes, drive.total_bytes)),
                total_kib: number(drive.total_bytes / 1024),
            });
        }
    }
    all.truncate(SYSTEMS_MAX);
    all
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_full_disk_waits_for_somebody_and_other_trouble_passes() {
        assert!(full(Ok(())).unwrap().is_none());
        let failed = |code| Err(DbError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
        assert!(matches!(full(failed(ffi::SQLITE_FULL)).unwrap(), Some(Readiness::Stalled(Reason::DiskFull, _))));
        assert!(full(failed(ffi::SQLITE_BUSY)).is_err());
    }
}
