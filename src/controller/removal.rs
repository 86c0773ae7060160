//! The end of a package: offers withdrawn, content removed at every reported location, then the finalizer.
//! Software that programs installed stays. A package that git sync declares is let go at once, with nothing of it removed:
//! it is made again in a moment, and whoever wants to be rid of it takes it out of the files.

use std::{collections::BTreeSet, time::Duration};

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Reconciled, context::Context, error::Error, placement, report::Report};
use crate::{
    api::{
        CONTENT_FINALIZER, FIELD_MANAGER,
        conditions::Readiness,
        package::{DeletionPolicy, Package},
    },
    clock,
    db::{
        locations, records,
        versions::{self, PackageKey},
    },
    model::{identity::ObjectName, reason::Reason},
};

/// Points that have not confirmed after this time are waited for no longer: a dead one must not hold a namespace for ever. One
/// that comes back after all removes the content then.
pub const REMOVAL_DEADLINE: Duration = Duration::from_secs(72 * 3_600);
/// A removal is looked at again at least this often.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Puts the finalizer on a package before anything of it is distributed.
pub(super) async fn ensure_finalizer(package: &Package, ctx: &Context) -> Result<(), Error> {
    if package.finalizers().iter().any(|one| one == CONTENT_FINALIZER) {
        return Ok(());
    }
    let mut finalizers = package.finalizers().to_vec();
    finalizers.push(CONTENT_FINALIZER.to_owned());
    patch_finalizers(package, &finalizers, ctx).await
}

/// Replaces the list of finalizers of exactly this version of the object, so that nobody else's is lost.
async fn patch_finalizers(package: &Package, finalizers: &[String], ctx: &Context) -> Result<(), Error> {
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "resourceVersion": package.resource_version(),
    }});
    let api = Package::api(&ctx.client, package.namespace().as_deref());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&package.name_any(), &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api("change the finalizers of a package")(error)),
    }
}

/// Lets a package go whose deletion git sync undoes: what it declares is there again as soon as nothing holds the deleted one.
/// Until then its content stays where it is, and so do its offers.
async fn let_go(package: &Package, name: &ObjectName, ctx: &Context) -> Result<Report, Error> {
    tracing::info!(package = %name, "deleted, but declared in the served files: it is made again, and keeps content and offers");
    without_ours(package, ctx).await?;
    let text = "deleted, but declared in the served files: it is made again; to be rid of it, take it out of them";
    Ok(report(Readiness::Progressing(Reason::RemovalPending, text.into()), REMOVAL_INTERVAL))
}

/// Removes a package that is being deleted.
pub(super) async fn reconcile(package: &Package, name: &ObjectName, ctx: &Context) -> Result<Report, Error> {
    if !package.finalizers().iter().any(|one| one == CONTENT_FINALIZER) {
        return Ok(Report::new(Readiness::Progressing(Reason::RemovalPending, "held by another finalizer".into())));
    }
    {
        // Not in the middle of a revision: it may be the one that takes the package out, and nobody may begin one meanwhile.
        let _whole = ctx.whole_revision()?;
        if ctx.revision.borrow().declares(name) {
            return let_go(package, name, ctx).await;
        }
    }
    let decided = placement::apply(name, ctx).await?;
    if !decided.held_back.is_empty() {
        let text = format!(
            "its content on {} is the last copy under a live advertisement; delete the advertisement, or annotate the \
             package with {}",
            decided.held_back.iter().map(|(point, _)| point.as_str()).collect::<Vec<_>>().join(", "),
            crate::api::FORCE_REMOVAL_ANNOTATION,
        );
        return Ok(report(Readiness::Stalled(Reason::LastCopy, text), REMOVAL_INTERVAL));
    }
    let left = left(package, ctx);
    let waiting = {
        let name = name.clone();
        ctx.database.read(move |connection| locations::waiting_removals(connection, &name)).await?
    };
    let points: BTreeSet<_> = waiting.iter().map(|row| row.point.as_str()).collect();
    let points = points.into_iter().collect::<Vec<_>>().join(", ");
    if package.spec.deletion_policy == DeletionPolicy::Orphan {
        let (name, now_ms) = (name.clone(), clock::now_unix_ms());
        ctx.database.write(move |tx| locations::abandon(tx, Some(&name), None, now_ms)).await?;
    } else if !waiting.is_empty() && !left.is_zero() {
        let text = format!("waiting for {points} to confirm the removal");
        return Ok(report(Readiness::Progressing(Reason::RemovalPending, text), REMOVAL_INTERVAL.min(left)));
    } else if !waiting.is_empty() {
        // What they shall do stays written down here, for when they come back.
        tracing::warn!(package = %name, points, "the removal was not confirmed in time: the package goes, its content may still lie there");
    }
    let key = PackageKey { site: ctx.site.id.clone(), package: name.clone() };
    ctx.database
        .write(move |tx| {
            records::withdraw(tx, &key.package)?;
            versions::forget(tx, &key, None)
        })
        .await?;
    without_ours(package, ctx).await?;
    let text = "removed from every distribution point";
    Ok(report(Readiness::Progressing(Reason::RemovalPending, text.into()), REMOVAL_INTERVAL))
}

/// How long points have left to confirm. By a clock that is behind the API server's, all of it.
fn left(package: &Package, ctx: &Context) -> Duration {
    let asked = package.metadata.deletion_timestamp.as_ref().map_or_else(clock::now, |time| time.0);
    let waited = Duration::try_from(clock::now().duration_since(asked)).unwrap_or_default();
    ctx.removal_deadline.saturating_sub(waited)
}

/// Takes our finalizer off.
async fn without_ours(package: &Package, ctx: &Context) -> Result<(), Error> {
    let others: Vec<_> = package.finalizers().iter().filter(|one| *one != CONTENT_FINALIZER).cloned().collect();
    patch_finalizers(package, &others, ctx).await
}

fn report(readiness: Readiness, next: Duration) -> Report {
    Report { next: Some(next), ..Report::new(readiness) }
}
