//! What the site database says changed, turned into reconciles of whatever shows it; and the site's regular chores.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::{Notify, broadcast::error::RecvError, watch};

use super::sync::ensure_point;
use crate::{
    api::site::SiteSpec,
    clock,
    controller::{
        context::{Evaluated, Stores},
        nudge::Nudges,
    },
    db::{
        Change, Database, Tx, devices, records, sweep,
        undeclared::{self, Declared},
    },
    model::identity::ObjectName,
    transport::kubernetes::in_words,
    trust::identity::Role,
};

/// Changes within this time are passed on together: a thousand messages are one look at the site.
const GATHER: Duration = Duration::from_millis(50);
/// Time between sweeps of what is past its retention.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Records that no policy names are kept this long, for clients that hold an older policy.
const RECORD_RETENTION_MS: i64 = 30 * 86_400_000;

/// What signals work with.
pub(super) struct Signals {
    /// The site database.
    pub(super) database: Database,
    /// The Kubernetes API.
    pub(super) client: kube::Client,
    /// What the watches see.
    pub(super) stores: Stores,
    /// Where to ask for reconciles.
    pub(super) nudges: Nudges,
    /// Published policy: the records it names stay.
    pub(super) evaluated: watch::Receiver<Arc<Evaluated>>,
    /// Told when points have to look again.
    pub(super) points_changed: Arc<Notify>,
    /// The site's name.
    pub(super) site: String,
    /// Time between sweeps, if not the usual.
    pub(super) sweep_interval: Option<Duration>,
}

impl Signals {
    /// Passes changes on until the task is dropped.
    pub(super) async fn follow(&self) {
        let mut changes = self.database.subscribe();
        self.everything().await;
        loop {
            let first = changes.recv().await;
            tokio::time::sleep(GATHER).await;
            let mut gathered = std::collections::BTreeSet::new();
            let mut next = first;
            let lagged = loop {
                match next {
                    Ok(change) => {
                        gathered.insert(change);
                    }
                    Err(RecvError::Lagged(_)) => break true,
                    Err(RecvError::Closed) => return,
                }
                match changes.try_recv() {
                    Ok(change) => next = Ok(change),
                    Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => break true,
                    Err(_) => break false,
                }
            };
            if lagged {
                self.everything().await;
            }
            for change in &gathered {
                self.one(change).await;
            }
        }
    }

    async fn one(&self, change: &Change) {
        match change {
            Change::Locations(package) | Change::Versions(package) => {
                self.nudges.package(package);
                self.distributions_of(package);
                for point in self.stores.points.state() {
                    self.nudges.point(&point.name_any());
                }
                self.points_changed.notify_waiters();
            }
            Change::Points(point) => {
                self.nudges.point(point);
                self.nudges.site(&self.site);
            }
            Change::Devices(id) => {
                self.declare(id).await;
                self.nudges.site(&self.site);
            }
            Change::Status(advertisement) => self.nudges.advertisement(advertisement),
            Change::Messages | Change::Site => self.nudges.site(&self.site),
            Change::Records(_) | Change::Tokens | Change::Labels(_) | Change::Inventory(_) | Change::Jobs => {}
        }
    }

    /// After a start, or when changes were missed: everything shows what the database says now.
    async fn everything(&self) {
        self.nudges.site(&self.site);
        for package in self.stores.packages.state() {
            let name = ObjectName::new(package.namespace().unwrap_or_default(), package.name_any());
            self.nudges.package(&name);
            self.distributions_of(&name);
        }
        for advertisement in self.stores.advertisements.state() {
            let namespace = advertisement.namespace().unwrap_or_default();
            self.nudges.advertisement(&ObjectName::new(namespace, advertisement.name_any()));
        }
        let points = self.database.read(|connection| devices::all(connection, Role::Dp)).await;
        for point in points.unwrap_or_default() {
            self.declare(&point.id).await;
        }
    }

    fn distributions_of(&self, package: &ObjectName) {
        for one in self.stores.distributions.state() {
            let namespace = one.namespace().unwrap_or_default();
            if namespace == package.namespace && one.spec.package == package.name {
                self.nudges.distribution(&ObjectName::new(namespace, one.name_any()));
            }
        }
    }

    /// A distribution point that joined gets an object if nobody declared one.
    async fn declare(&self, id: &str) {
        let wanted = id.to_owned();
        let row = self.database.read(move |connection| devices::get(connection, &wanted)).await;
        let Ok(Some(row)) = row else { return };
        if row.role == Role::Dp
            && self.stores.points.get(&ObjectRef::new(&row.name)).is_none()
            && let Err(error) = ensure_point(&self.client, &row.name).await
        {
            tracing::error!(error = in_words(&error), point = %row.name, "the object of a distribution point was not made");
        }
    }

    /// Forgets what is past its retention, again and again.
    pub(super) async fn sweep(&self) {
        loop {
            tokio::time::sleep(self.sweep_interval.unwrap_or(SWEEP_INTERVAL)).await;
            let site = self.stores.sites.get(&ObjectRef::new(&self.site));
            let retention = site.map_or_else(SiteSpec::default, |site| site.spec.clone()).message_retention;
            let retention_ms = i64::try_from(retention.as_duration().as_millis()).unwrap_or(i64::MAX);
            let now_ms = clock::now_unix_ms();
            if let Err(error) = sweep::sweep(&self.database, now_ms, retention_ms).await {
                tracing::error!(%error, "the sweep failed; tried again in an hour");
            }
            self.forget_undeclared(now_ms, retention_ms).await;
            let named = self.evaluated.borrow().compiled.named_records();
            let before_ms = now_ms - RECORD_RETENTION_MS;
            let retained = self.database.write(move |tx| records::retain(tx, &named, before_ms)).await;
            if let Err(error) = retained {
                tracing::error!(%error, "old records were not forgotten; tried again in an hour");
            }
        }
    }

    /// What is left of objects that were deleted goes as their messages do.
    async fn forget_undeclared(&self, now_ms: i64, retention_ms: i64) {
        let Stores { advertisements, distributions, packages, .. } = &self.stores;
        // Before its first listing a store is empty, and everything would look deleted; it ends with the process.
        let listed = async {
            advertisements.wait_until_ready().await?;
            distributions.wait_until_ready().await?;
            packages.wait_until_ready().await
        };
        if listed.await.is_err() || self.stores.unreadable.any() {
            return;
        }
        let declared = Declared {
            advertisements: names(advertisements),
            distributions: names(distributions),
            packages: names(packages),
        };
        let write = move |tx: &mut Tx| undeclared::forget(tx, &declared, now_ms, retention_ms);
        if let Err(error) = self.database.write(write).await {
            tracing::error!(%error, "what is left of deleted objects was not forgotten; tried again in an hour");
        }
    }
}

fn names<K>(store: &Store<K>) -> BTreeSet<ObjectName>
where
    K: ResourceExt<DynamicType = ()> + Clone + 'static,
{
    let objects = store.state();
    objects.iter().map(|one| ObjectName::new(one.namespace().unwrap_or_default(), one.name_any())).collect()
}
