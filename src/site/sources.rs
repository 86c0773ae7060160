//! Reads package sources for the controllers, a few at a time, and asks for another look when their files change.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;

use crate::{
    content::library::Library,
    controller::context::{ReadSource, SourceFailure, SourcePlace, SourceRead},
    model::reason::Reason,
    source::{
        SnapshotError,
        directory::{open_directory, snapshot, snapshot_finished},
    },
};

/// Snapshots at the same time at most: each reads with several threads, and the disk is one.
const SNAPSHOTS_MAX: usize = 2;

/// What the controllers call to read a source.
pub(super) fn reader(library: Arc<Library>, roots: Vec<PathBuf>) -> ReadSource {
    let permits = Arc::new(Semaphore::new(SNAPSHOTS_MAX));
    let roots = Arc::new(roots);
    Arc::new(move |place: SourcePlace| {
        let (library, roots, permits) = (library.clone(), roots.clone(), permits.clone());
        Box::pin(async move {
            let lost = |error: &dyn std::fmt::Display| SourceFailure {
                reason: Reason::ProgressingWithRetry,
                text: format!("the source could not be read: {error}"),
                passes: true,
            };
            let _permit = permits.acquire_owned().await.map_err(|error| lost(&error))?;
            let read = move || read(&place, &library, &roots).map_err(|error| failure(&error));
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(lost(&error)))
        })
    })
}

fn read(place: &SourcePlace, library: &Library, roots: &[PathBuf]) -> Result<SourceRead, SnapshotError> {
    let directory = open_directory(&place.directory, &place.base, roots)?;
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
