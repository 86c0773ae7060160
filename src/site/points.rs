//! What each distribution point should hold, as the point asks for it: rows of the ledger, readers from the compiled
//! policy, drives and intervals from its object. Asked for by long poll; answered when anything of it changes.

use std::{collections::BTreeSet, sync::Arc};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, watch};

use crate::{
    api::{distribution_point::DistributionPointSpec, reconcile_requested},
    content::digest::Digest,
    controller::context::{Evaluated, SiteIdentity, Stores},
    db::{
        Database, DbError,
        locations::{self, LocationRow, Wanted},
    },
    model::{identity::ObjectName, quantity::parse_bytes},
    wire::points::{Assignment, DriveSpec, Hold},
};

/// Answers what points should hold.
#[derive(Clone)]
pub(super) struct Points {
    /// The site database.
    pub database: Database,
    /// The Kubernetes API as the watches see it.
    pub stores: Stores,
    /// Who may read what.
    pub evaluated: watch::Receiver<Arc<Evaluated>>,
    /// Who this site is.
    pub site: SiteIdentity,
    /// Told when a point's object changes.
    pub changed: Arc<Notify>,
}

impl Points {
    /// What `point` should hold now.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) async fn assignment(&self, point: &str) -> Result<Assignment, DbError> {
        let wanted = point.to_owned();
        let rows = self.database.read(move |connection| locations::wanted_of(connection, &wanted)).await?;
        let object = self.stores.points.get(&ObjectRef::new(point));
        let spec = object.as_ref().map(|object| object.spec.clone()).unwrap_or_default();
        let evaluated = self.evaluated.borrow().clone();
        let hold = |row: &LocationRow| Hold {
            version: row.version.clone(),
            resend_token: row.resend_wanted.clone(),
            check: row.check_wanted,
            readers: self.readers(&row.version.package, &row.version.content, &evaluated).into_iter().collect(),
        };
        let mut assignment = Assignment {
            epoch: self.site.epoch,
            version: String::new(),
            drives: drives(&spec),
            scrub_interval: spec.scrub_interval,
            scrub_token: object.as_ref().and_then(|object| reconcile_requested(&object.metadata)).map(str::to_owned),
            hold: rows.iter().filter(|row| row.wanted == Wanted::Hold).map(hold).collect(),
            remove: rows.iter().filter(|row| row.wanted == Wanted::Remove).map(|row| row.version.clone()).collect(),
        };
        assignment.hold.sort_by(|a, b| a.version.cmp(&b.version));
        assignment.remove.sort();
        let bytes = serde_json::to_vec(&assignment).unwrap_or_default();
        assignment.version = Digest::of(&bytes).short().to_owned();
        Ok(assignment)
    }

    /// The point's assignment once it differs from `have`, or as it is after `wait`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) async fn next(
        &self,
        point: &str,
        have: Option<&str>,
        wait: std::time::Duration,
    ) -> Result<Assignment, DbError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changes = self.database.subscribe();
        let mut evaluated = self.evaluated.clone();
        // Before objects and policy are known, a point would be told of other drives and of no readers.
        let _ = evaluated.wait_for(|evaluated| evaluated.complete).await;
        loop {
            evaluated.mark_unchanged();
            let changed = self.changed.notified();
            let assignment = self.assignment(point).await?;
            if have != Some(assignment.version.as_str()) || tokio::time::Instant::now() >= deadline {
                return Ok(assignment);
            }
            tokio::select! {
                () = changed => {}
                _ = evaluated.changed() => {}
                () = relevant(&mut changes) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Clients whose offer names the content, and members of collections that the package opens itself to.
    fn readers(&self, package: &ObjectName, content: &Digest, evaluated: &Evaluated) -> BTreeSet<String> {
        let mut readers = evaluated.compiled.readers.get(content).cloned().unwrap_or_default();
        let object = self.stores.packages.get(&ObjectRef::new(&package.name).within(&package.namespace));
        for collection in
            object.iter().flat_map(|object| object.spec.access.iter()).flat_map(|access| &access.collections)
        {
            let name = ObjectName::new(&package.namespace, collection);
            if let Some(Ok(membership)) = evaluated.memberships.get(&name) {
                readers.extend(membership.members.iter().cloned());
            }
        }
        readers
    }
}

fn drives(spec: &DistributionPointSpec) -> Vec<DriveSpec> {
    spec.drives
        .iter()
        .map(|drive| DriveSpec {
            path: drive.path.clone(),
            reserve_bytes: drive.reserve.as_deref().and_then(parse_bytes).unwrap_or(0),
        })
        .collect()
}

async fn relevant(changes: &mut tokio::sync::broadcast::Receiver<crate::db::Change>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match changes.recv().await {
            Ok(crate::db::Change::Locations(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
