//! Places a package's versions on distribution points: gathers the facts, asks [`crate::plan::distribution`], and
//! writes what points should hold. Points learn of it by their own long poll.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::{confirm, context::Context, error::Error};
use crate::{
    api::{
        FORCE_REMOVAL_ANNOTATION,
        distribution::{Distribution, DistributionPoints},
        distribution_point::DistributionPoint,
        package::PackageDistributionSummary,
    },
    clock,
    db::{
        Tx,
        locations::{self, Hold, LocationRow},
        versions::{self, PackageKey, VersionRow},
    },
    model::{identity::ObjectName, reason::Reason, state::LocationState},
    plan::distribution::{DistributionFacts, Facts, Wanted, wanted},
    wire::points::VersionRef,
};

/// How often a decision is made anew because a report brought something into the ledger meanwhile; reports come one by
/// one, so once is usual.
const TRIES_MAX: u32 = 5;

/// What the ledger has rows of: points and source versions.
type Ledger = BTreeSet<(String, u64)>;

fn ledger(rows: &[LocationRow]) -> Ledger {
    rows.iter().map(|row| (row.point.clone(), row.version.source_version)).collect()
}

/// Places the package as its Distributions say. Returns what was decided.
pub(super) async fn apply(package: &ObjectName, ctx: &Context) -> Result<Wanted, Error> {
    for _ in 0..TRIES_MAX {
        let (facts, seen) = observe(package, ctx).await?;
        let decided = wanted(&facts);
        if !facts.deleting {
            confirm::removals(package, &facts, &decided, ctx).await?;
        }
        if write(package, &decided, seen, ctx).await? {
            return Ok(decided);
        }
    }
    Err(Error::Transient { reason: Reason::Progressing, text: "the ledger changes all the time".into() })
}

/// Writes what was decided, unless the ledger has other rows than were `seen`: what is not to be held is removed, and
/// that must not meet a row that nobody decided about.
async fn write(package: &ObjectName, decided: &Wanted, seen: Ledger, ctx: &Context) -> Result<bool, Error> {
    let holds: Vec<Hold> = decided
        .hold
        .iter()
        .map(|((point, version), token)| Hold {
            point: point.clone(),
            source_version: version.source_version,
            content: version.content,
            resend_token: token.clone(),
        })
        .collect();
    let (package, now_ms) = (package.clone(), clock::now_unix_ms());
    let write = move |tx: &mut Tx| {
        let is_as_seen = ledger(&locations::of_package(tx, &package)?) == seen;
        if is_as_seen {
            locations::want(tx, &package, &holds, now_ms)?;
        }
        Ok(is_as_seen)
    };
    Ok(ctx.database.write(write).await?)
}

async fn observe(package: &ObjectName, ctx: &Context) -> Result<(Facts, Ledger), Error> {
    let key = PackageKey { site: ctx.site.id.clone(), package: package.clone() };
    let (versions, rows) = ctx
        .database
        .read(move |connection| {
            Ok((versions::list(connection, &key)?, locations::of_package(connection, &key.package)?))
        })
        .await?;
    let object =
        ctx.stores.packages.get(&kube::runtime::reflector::ObjectRef::new(&package.name).within(&package.namespace));
    // One that git sync declares comes back in a moment, and finds its content where it was.
    let declared = ctx.revision.borrow().declares(package);
    let deleting = !declared
        && match &object {
            Some(object) => object.metadata.deletion_timestamp.is_some(),
            None => confirm::is_gone(package, ctx).await?,
        };
    let forced = object.as_ref().is_some_and(|object| object.annotations().contains_key(FORCE_REMOVAL_ANNOTATION));
    let evaluated = ctx.evaluated.borrow().clone();
    // Content may be offered for another package that has the same bytes: that is no reason to keep this one.
    let is_offered = evaluated.compiled.offered.contains_key(package);
    let offered: BTreeSet<_> = versions
        .iter()
        .map(|version| version.content)
        .filter(|content| is_offered && evaluated.compiled.readers.contains_key(content))
        .collect();
    let facts = Facts {
        versions: versions.iter().map(|version| version_ref(package, version)).collect(),
        live_advertisements: !offered.is_empty(),
        offered,
        distributions: distributions(package, ctx),
        points: points(ctx, |_| true),
        suspended: points(ctx, |point| point.spec.suspend),
        present: rows
            .iter()
            .filter(|row| may_be_there(row))
            .map(|row| (row.point.clone(), row.version.clone()))
            .collect(),
        installed: rows
            .iter()
            .filter(|row| row.state == LocationState::Installed)
            .map(|row| (row.point.clone(), row.version.clone()))
            .collect(),
        deleting,
        forced,
    };
    Ok((facts, ledger(&rows)))
}

/// The names of some of the site's distribution points.
fn points(ctx: &Context, which: impl Fn(&DistributionPoint) -> bool) -> BTreeSet<String> {
    ctx.stores.points.state().iter().filter(|point| which(point)).map(|point| point.name_any()).collect()
}

fn version_ref(package: &ObjectName, version: &VersionRow) -> VersionRef {
    VersionRef { package: package.clone(), source_version: version.source_version, content: version.content }
}

/// Removal works from what points reported, or may not have reported yet.
pub(super) fn may_be_there(row: &LocationRow) -> bool {
    !matches!(row.state, LocationState::Removed | LocationState::Abandoned)
}

fn distributions(package: &ObjectName, ctx: &Context) -> Vec<DistributionFacts> {
    let now = clock::now();
    ctx.stores
        .distributions
        .state()
        .iter()
        .filter(|one| {
            one.namespace().as_deref() == Some(&package.namespace)
                && one.spec.package == package.name
                && one.metadata.deletion_timestamp.is_none()
        })
        .map(|one| DistributionFacts {
            points: match &one.spec.distribution_points {
                DistributionPoints::Names(names) => Some(names.iter().cloned().collect()),
                DistributionPoints::All(_) => None,
            },
            started: !ctx.site_suspended() && !one.spec.suspend && start_after(one).is_none_or(|start| start <= now),
            resend_token: one.spec.resend_token.clone(),
        })
        .collect()
}

/// The instant before which nothing is sent; one that cannot be read is reported by the Distribution's own reconcile,
/// and holds everything back here.
pub(super) fn start_after(distribution: &Distribution) -> Option<jiff::Timestamp> {
    let text = distribution.spec.start_after.as_ref()?;
    Some(text.parse().unwrap_or(jiff::Timestamp::MAX))
}

/// Package status summary over the points that should hold the current version.
pub(super) async fn summary(
    package: &ObjectName,
    current: Option<&VersionRow>,
    ctx: &Context,
) -> Result<PackageDistributionSummary, Error> {
    let name = package.clone();
    let rows = ctx.database.read(move |connection| locations::of_package(connection, &name)).await?;
    Ok(summarize(&rows, current))
}

/// Counts location rows; only those of the current version count as installed.
pub(super) fn summarize(rows: &[LocationRow], current: Option<&VersionRow>) -> PackageDistributionSummary {
    let mut summary = PackageDistributionSummary::default();
    for row in rows {
        let is_current = current.is_some_and(|version| {
            version.content == row.version.content && version.source_version == row.version.source_version
        });
        match row.state {
            LocationState::RemovalPending | LocationState::RemovalRetrying | LocationState::RemovalFailed => {
                summary.removing += 1
            }
            LocationState::Removed | LocationState::Abandoned => {}
            _ if !is_current => {}
            LocationState::Installed => {
                (summary.targeted, summary.installed) = (summary.targeted + 1, summary.installed + 1)
            }
            LocationState::InstallPending => {
                (summary.targeted, summary.pending) = (summary.targeted + 1, summary.pending + 1)
            }
            LocationState::InstallRetrying => {
                (summary.targeted, summary.retrying) = (summary.targeted + 1, summary.retrying + 1)
            }
            LocationState::InstallFailed => {
                (summary.targeted, summary.failed) = (summary.targeted + 1, summary.failed + 1)
            }
        }
    }
    summary
}
