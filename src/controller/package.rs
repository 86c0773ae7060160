//! Reconciles `Package`: source into the library, a new source version if its bytes changed, and a new signed record
//! if anything that clients see changed. Deleting one removes its content everywhere first.

use std::{path::Path, time::Duration};

use kube::{Api, ResourceExt};
use serde_json::json;

use super::{
    Reconciled,
    context::{Context, Revision, SourceFailure, SourcePlace, SourceRead},
    error::Error,
    looks::{Asked, At, Found},
    placement, record, removal,
    report::Report,
};
use crate::{
    api::{
        conditions::{Readiness, needs_somebody},
        package::{Package, Source},
        reconcile_requested,
    },
    clock,
    content::digest::Digest,
    db::{
        locations,
        versions::{self, PackageKey, VersionRow},
    },
    model::{identity::ObjectName, quantity::display_bytes, reason::Reason, state::LocationState},
    plan::offer::Obstacle,
};

/// Sources are read again this often without any event.
const SOURCE_INTERVAL: Duration = Duration::from_secs(3_600);

impl Reconciled for Package {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    fn gone(&self, ctx: &Context) {
        ctx.nudge_dependants_of_package(&ObjectName::new(self.namespace().unwrap_or_default(), self.name_any()));
        ctx.reevaluate.notify_one();
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        let name = ObjectName::new(self.namespace().unwrap_or_default(), self.name_any());
        if self.metadata.deletion_timestamp.is_some() {
            ctx.looks.forget(&name);
            let report = removal::reconcile(self, &name, ctx).await?;
            let key = PackageKey { site: ctx.site.id.clone(), package: name.clone() };
            let current = ctx.database.read(move |connection| versions::current(connection, &key)).await?;
            return with_content(report, &name, current.as_ref(), ctx).await;
        }
        if self.metadata.generation != self.status.as_ref().and_then(|status| status.observed.observed_generation) {
            ctx.nudge_dependants_of_package(&name);
        }
        if obstacle(self).is_some() {
            // The watches have just seen what keeps it from a record: whoever offers it says the same.
            ctx.reevaluate.notify_one();
        }
        removal::ensure_finalizer(self, ctx).await?;
        let revision = ctx.revision.borrow().clone();
        if revision.applying {
            return Err(ctx.half_a_revision());
        }
        let key = PackageKey { site: ctx.site.id.clone(), package: name.clone() };
        if !self.spec.suspend {
            observe_source(self, &key, &revision, ctx).await?;
        }
        let versions = {
            let key = key.clone();
            ctx.database.read(move |connection| versions::list(connection, &key)).await?
        };
        let current = versions.first();
        {
            let _whole = ctx.whole_revision()?;
            // Reading a source may take long: by now its programs may be those of another commit.
            if ctx.revision.borrow().root != revision.root {
                return Err(ctx.half_a_revision());
            }
            record::compile(self, &name, current, ctx).await?;
        }
        placement::apply(&name, ctx).await?;
        let (reason, text) = match (self.spec.suspend, current) {
            (true, _) => (Reason::Suspended, "suspended: the source is not read".to_owned()),
            (false, Some(version)) => (Reason::Succeeded, sentence(version)),
            (false, None) => (Reason::Succeeded, "without files".to_owned()),
        };
        let mut report = with_content(Report::new(Readiness::Ready(reason, text)), &name, current, ctx).await?;
        report.next = Some(ctx.at_latest(SOURCE_INTERVAL));
        Ok(report)
    }
}

/// What keeps the package from a record, as its conditions say of its present generation; `None` if it is as it should be.
pub(crate) fn obstacle(package: &Package) -> Option<Obstacle> {
    let observed = &package.status.as_ref()?.observed;
    if observed.observed_generation != package.metadata.generation {
        return None;
    }
    let ready = observed.conditions.iter().find(|one| one.type_ == "Ready")?;
    let reason = *Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason)?;
    let needs_somebody = needs_somebody(&observed.conditions).is_some();
    (reason != Reason::Succeeded).then(|| Obstacle { reason, text: ready.message.clone(), needs_somebody })
}

fn sentence(version: &VersionRow) -> String {
    let size = display_bytes(version.size_bytes);
    format!("version {}: {} files, {size}", version.source_version, version.files)
}

/// The report with what there is of the package and where it is: also of one that is being deleted, until nothing is.
async fn with_content(
    report: Report,
    name: &ObjectName,
    current: Option<&VersionRow>,
    ctx: &Context,
) -> Result<Report, Error> {
    let report = report.field("distribution", json!(placement::summary(name, current, ctx).await?));
    let Some(version) = current else { return Ok(report) };
    let date = jiff::Timestamp::from_millisecond(version.created_ms).unwrap_or_default();
    Ok(report
        .field("sourceVersion", version.source_version)
        .field("digest", version.content.to_string())
        .field("sizeBytes", version.size_bytes)
        .field("files", version.files)
        .field("sourceDate", date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// Reads the source, unless nothing can have changed since it was read, and counts a new version if, and only if, its bytes
/// changed.
async fn observe_source(package: &Package, key: &PackageKey, revision: &Revision, ctx: &Context) -> Result<(), Error> {
    let Source::Directory(directory) = &package.spec.source else { return Ok(()) };
    let current = {
        let key = key.clone();
        ctx.database.read(move |connection| versions::current(connection, &key)).await?
    };
    // Relative sources lie in the tree that the manifests came from, of the same revision.
    let place = SourcePlace {
        content: current.as_ref().map(|version| version.content),
        directory: directory.path.clone(),
        base: revision.root.clone(),
        hold: revision.hold.clone(),
    };
    let asked = Asked {
        at: at(Path::new(&directory.path), revision),
        requested: reconcile_requested(&package.metadata).map(str::to_owned),
    };
    match ctx.looks.known(&key.package, &asked, clock::now(), ctx.at_latest(SOURCE_INTERVAL)) {
        Some(Found::Refused(failure)) => return Err(refused(failure)),
        Some(Found::Content(content)) => {
            let is_current = current.as_ref().is_some_and(|version| version.content == content);
            if is_current && !copies_fail(&key.package, ctx).await? {
                return Ok(());
            }
        }
        None => {}
    }
    let begun = ctx.looks.begin();
    let read = (ctx.read_source)(place.clone()).await;
    let SourceRead { content, size_bytes, files } = read.map_err(|failure| {
        if !failure.passes {
            ctx.looks.keep(&key.package, begun, asked.clone(), Found::Refused(failure.clone()), clock::now());
        }
        refused(failure)
    })?;
    ctx.looks.keep(&key.package, begun, asked, Found::Content(content), clock::now());
    if current.is_some_and(|version| version.content == content && version.files == files) {
        return Ok(());
    }
    let (key, now_ms, shown) = (key.clone(), clock::now_unix_ms(), shown(package));
    ctx.database
        .write(move |tx| {
            if let Some((source_version, content)) = &shown {
                versions::given_out(tx, &key, *source_version, content)?;
            }
            versions::observe(tx, &key, &content, size_bytes, files, now_ms)
        })
        .await?;
    Ok(())
}

fn refused(SourceFailure { reason, text, passes }: SourceFailure) -> Error {
    if passes { Error::Transient { reason, text } } else { Error::stalled(reason, text) }
}

/// What tells whether a source is still the one that was read. A commit that does not touch it names it as before.
fn at(directory: &Path, revision: &Revision) -> At {
    let tree = revision.tree.as_ref().and_then(|tree| tree(directory));
    // An absolute one is the same beneath every root.
    tree.map_or_else(|| At::Place(revision.root.join(directory)), At::Tree)
}

/// Whether a point cannot get what it should hold: the library may have lost it, and reading the source brings it back.
async fn copies_fail(package: &ObjectName, ctx: &Context) -> Result<bool, Error> {
    let package = package.clone();
    let rows = ctx.database.read(move |connection| locations::of_package(connection, &package)).await?;
    Ok(rows.iter().any(|row| matches!(row.state, LocationState::InstallRetrying | LocationState::InstallFailed)))
}

/// Version and content that the object shows: what the counter goes on from if the database was lost.
fn shown(package: &Package) -> Option<(u64, Digest)> {
    let status = package.status.as_ref()?;
    let source_version = u64::try_from(status.source_version?).ok()?;
    Some((source_version, status.digest.as_ref()?.parse().ok()?))
}
