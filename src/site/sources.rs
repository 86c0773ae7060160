//! Reads package sources for the controllers, a few at a time, and asks for another look when their files change.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kube::ResourceExt;
use tokio::sync::{Semaphore, watch};

use crate::{
    api::package::Source,
    content::library::Library,
    controller::{
        context::{ReadSource, Revision, SourceFailure, SourcePlace, SourceRead, Stores},
        looks::SourceLooks,
        nudge::Nudges,
    },
    metrics,
    model::{identity::ObjectName, reason::Reason},
    source::{
        Guarded, SnapshotError,
        directory::{open_directory, snapshot, snapshot_finished},
        watch::SourceWatch,
    },
};

/// Snapshots at the same time at most: each reads with several threads, and the disk is one.
const SNAPSHOTS_MAX: usize = 2;

/// How often is looked which directories are sources, and whether they are still those that are watched.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Watches the sources of all packages and lets those look whose files changed, until the task is dropped.
pub(super) async fn follow(
    stores: Stores,
    revision: watch::Receiver<Revision>,
    roots: Vec<PathBuf>,
    watch: Arc<SourceWatch>,
    looks: Arc<SourceLooks>,
    nudges: Nudges,
) {
    loop {
        let packages = watched(&stores, &revision.borrow(), &roots);
        watch.follow(&packages.keys().cloned().collect());
        let changed = tokio::time::timeout(WATCH_INTERVAL, watch.next()).await.unwrap_or_default();
        for name in changed.iter().filter_map(|directory| packages.get(directory)).flatten() {
            looks.changed(name);
            nudges.package(name);
        }
    }
}

/// The directories to watch, each with its packages. What lies in the export of a commit never changes.
fn watched(stores: &Stores, revision: &Revision, roots: &[PathBuf]) -> BTreeMap<PathBuf, Vec<ObjectName>> {
    let mut watched: BTreeMap<PathBuf, Vec<ObjectName>> = BTreeMap::new();
    for package in stores.packages.state() {
        let Source::Directory(source) = &package.spec.source else { continue };
        let base = (revision.hold.is_none() && !revision.root.as_os_str().is_empty()).then_some(&*revision.root);
        if let Some(path) = changing(Path::new(&source.path), base, roots)
            && !package.spec.suspend
        {
            let name = ObjectName::new(package.namespace().unwrap_or_default(), package.name_any());
            watched.entry(path).or_default().push(name);
        }
    }
    watched
}

/// Where a source lies that is permitted and may change: relative ones beneath `base`, unless that never changes.
fn changing(source: &Path, base: Option<&Path>, roots: &[PathBuf]) -> Option<PathBuf> {
    if source.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    if source.is_absolute() {
        return roots.iter().any(|root| source.starts_with(root)).then(|| source.to_owned());
    }
    base.map(|base| base.join(source))
}

/// What the controllers call to read a source.
pub(super) fn reader(
    library: Arc<Library>,
    roots: Vec<PathBuf>,
    guarded: Guarded,
    watch: Arc<SourceWatch>,
) -> ReadSource {
    let permits = Arc::new(Semaphore::new(SNAPSHOTS_MAX));
    let permitted = Arc::new((roots, guarded));
    Arc::new(move |place: SourcePlace| {
        let (library, permitted, permits) = (library.clone(), permitted.clone(), permits.clone());
        let watch = watch.clone();
        Box::pin(async move {
            let lost = |error: &dyn std::fmt::Display| SourceFailure {
                reason: Reason::ProgressingWithRetry,
                text: format!("the source could not be read: {error}"),
                passes: true,
            };
            let _permit = permits.acquire_owned().await.map_err(|error| lost(&error))?;
            let read = move || {
                let base = place.hold.is_none().then_some(&*place.base);
                if let Some(path) = changing(Path::new(&place.directory), base, &permitted.0) {
                    watch.begin_reading(&path);
                }
                metrics::source_read();
                read(&place, &library, &permitted.0, &permitted.1).map_err(|error| failure(&error))
            };
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(lost(&error)))
        })
    })
}

fn read(
    place: &SourcePlace,
    library: &Library,
    roots: &[PathBuf],
    guarded: &Guarded,
) -> Result<SourceRead, SnapshotError> {
    let directory = open_directory(&place.directory, &place.base, roots, guarded)?;
    let previous = place.content.and_then(|content| library.manifest(&content).ok());
    let read = if place.hold.is_some() { snapshot_finished } else { snapshot };
    let manifest = read(directory, library, previous.as_ref())?.manifest;
    Ok(SourceRead {
        content: manifest.digest(),
        size_bytes: manifest.size_bytes(),
        files: manifest.entries().len() as u64,
    })
}

fn failure(error: &SnapshotError) -> SourceFailure {
    let reason = error.reason();
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    let passes = matches!(
        reason,
        Reason::SourceChanged | Reason::DiskFull | Reason::ProgressingWithRetry | Reason::SourceUnavailable
    );
    SourceFailure { reason, text, passes }
}
