//! Looks at the drives: opened when the site names others, again when they come, go or are put in another's place, and
//! measured while they are full. What is done with what lies on them is decided in the catalog.

use std::{collections::BTreeMap, sync::Arc};

use super::engine::{Shared, accept, idle};
use crate::{
    content::Published,
    model::{causes::chain, identity::ObjectName},
    wire::points::{DriveSpec, VersionRef},
};

/// Opens drives while nobody works, and gives what lies on them; `None` if that cannot be told, or if those are usable that
/// were before.
pub(super) async fn open_drives(shared: &Arc<Shared>, specs: Vec<DriveSpec>) -> Option<BTreeMap<VersionRef, String>> {
    let _idle = idle(shared).await;
    let opening = shared.clone();
    let listed = tokio::task::spawn_blocking(move || {
        if !opening.drives.open(&specs) {
            return Ok(None);
        }
        let Ok(publisher) = opening.drives.publisher() else { return Ok(Some(Vec::new())) };
        publisher.list().map(Some)
    });
    let published = match listed.await {
        Ok(Ok(published)) => published?,
        Ok(Err(error)) => {
            tracing::error!(error = %chain(&error), "the drives cannot be listed");
            return None;
        }
        Err(error) => {
            tracing::error!(%error, "opening the drives failed");
            return None;
        }
    };
    let version = |published: Published| {
        let key = published.key;
        let package = ObjectName::new(key.namespace(), key.package());
        let version = VersionRef { package, source_version: key.source_version(), content: key.digest() };
        (version, published.path.display().to_string())
    };
    Some(published.into_iter().map(version).collect())
}

/// What failed for want of space need not wait once there is more.
pub(super) fn for_space(shared: &Shared) {
    if shared.catalog().records.values().all(|record| record.full_at_bytes.is_none()) {
        return;
    }
    let available_bytes = shared.drives.most_available_bytes();
    for record in shared.catalog().records.values_mut() {
        if record.full_at_bytes.is_some_and(|then| available_bytes > then) {
            record.full_at_bytes = None;
            record.retry_at_ms = 0;
        }
    }
}

/// Opens drives again that could not be opened, or that are not there any more, when nobody works.
pub(super) async fn at_drives(shared: &Arc<Shared>) {
    let Some(assignment) = shared.catalog().assignment.clone() else { return };
    if shared.drives.need_opening(&assignment.drives) && shared.catalog().busy.is_empty() {
        accept(shared, assignment).await;
    }
}
