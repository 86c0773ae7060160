//! The offer manager: evaluates collections, compiles every client's policy, signs the root and publishes the snapshot
//! that access points serve. Decisions are in [`crate::plan`]; here facts are gathered and results made durable.

mod facts;
mod held;
mod publish;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, broadcast, watch};

use self::{facts::Clients, held::Holding};
use super::access_points;
use crate::{
    cap::published::Published,
    controller::{
        advertisement::template,
        context::{Evaluated, Revision, SiteIdentity, Stores},
        nudge::Nudges,
    },
    db::{Change, Database, DbError, status},
    metrics,
    model::identity::ObjectName,
    plan::{
        lingering::Lingering,
        membership::Membership,
        offer::{AdvertisementFacts, Compiled, Outcome, compile},
    },
    trust::keys::SiteKey,
    wire::{
        access::Snapshot,
        policy::{AgentConfig, PolicyBody, ROOT_LIFETIME},
    },
};

/// Changes within this time are one evaluation: a client's change must show within a second, a commit within two.
const DEBOUNCE: Duration = Duration::from_millis(15);

/// A revision that is being applied is waited for: policy from half of it would offer what the other half takes back. Not for
/// ever: a client that is blocked meanwhile has to go.
const APPLYING_MAX: Duration = Duration::from_secs(30);

/// Why an evaluation failed; the next one starts from the beginning.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfferError {
    /// The site database failed.
    #[error("the site database failed")]
    Database(#[from] DbError),
    /// Something could not be encoded or signed.
    #[error("policy cannot be encoded or signed: {0}")]
    Sign(String),
    /// The thread that evaluates collections died.
    #[error("collections were not evaluated to the end")]
    Thread(#[from] tokio::task::JoinError),
}

/// What the offer manager works with.
pub(super) struct OfferManager {
    /// The site database.
    pub database: Database,
    /// The Kubernetes API as the watches see it.
    pub stores: Stores,
    /// Asks for reconciles of what changed.
    pub nudges: Nudges,
    /// Who this site is.
    pub site: SiteIdentity,
    /// Signs the root.
    pub key: Arc<SiteKey>,
    /// Told by controllers that something it reads changed.
    pub reevaluate: Arc<Notify>,
    /// Which manifests are in force.
    pub revision: watch::Receiver<Revision>,
    /// Held for reading while policy is compiled: git sync does not write a revision meanwhile.
    pub compiling: Arc<RwLock<()>>,
    /// Where the built-in access point is reached.
    pub device_url: String,
    /// Where results go for controllers.
    pub evaluated: watch::Sender<Arc<Evaluated>>,
    /// Where results go for the built-in access point.
    pub published: watch::Sender<Arc<Published>>,
    /// Where results go for other access points; `None` before the first.
    pub snapshot: watch::Sender<Option<Arc<Snapshot>>>,
}

/// What is kept from one evaluation to the next.
#[derive(Default)]
struct Memory {
    clients: Clients,
    bodies: Option<BTreeMap<String, PolicyBody>>,
    issued_at: Option<jiff::Timestamp>,
    holding: Holding,
    lingering: Lingering,
}

impl OfferManager {
    /// Evaluates on every change until the task is dropped.
    pub(super) async fn run(mut self) {
        let mut changes = self.database.subscribe();
        let mut memory = Memory::default();
        let half_life = ROOT_LIFETIME.as_duration() / 2;
        // Policy from half of the objects would withdraw the offers of the other half.
        self.stores.listed().await;
        loop {
            let whole = tokio::time::timeout(APPLYING_MAX, self.whole()).await.ok();
            let started = tokio::time::Instant::now();
            let evaluated = self.evaluate(&mut memory).await;
            drop(whole);
            if let Err(error) = evaluated {
                tracing::error!(%error, "policy was not evaluated; clients keep what they have");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.reevaluate.notify_one();
            }
            // An evaluation that takes long must not be the only thing the machine does.
            let pause = DEBOUNCE.max(started.elapsed());
            tokio::select! {
                () = self.reevaluate.notified() => {}
                () = relevant(&mut changes, &mut memory) => {}
                () = tokio::time::sleep(half_life) => {}
            }
            tokio::time::sleep(pause).await;
            drain(&mut changes, &mut memory.clients);
        }
    }

    /// Waits until no revision is half applied; the next one waits as long as the answer is held.
    async fn whole(&mut self) -> OwnedRwLockReadGuard<()> {
        // An end of git sync is the end of the process.
        let _ = self.revision.wait_for(|revision| !revision.applying).await;
        self.compiling.clone().read_owned().await
    }

    async fn evaluate(&self, memory: &mut Memory) -> Result<(), OfferError> {
        let kept = facts::Kept::read(&self.database).await?;
        let changed = memory.clients.refresh(&self.database).await?;
        let (memberships, granted) = memory.clients.reached(&self.stores, &self.site, &kept, changed).await?;
        let access_points = access_points::urls(&self.database, &self.device_url).await?;
        let config = AgentConfig { access_points, ..facts::config(&self.stores, &self.site, &kept) };
        let revision = self.revision.borrow().clone();
        let packages = facts::packages(&self.database, &self.stores, &kept, &revision).await?;
        let advertisements = self.advertisements(&memberships);
        let mut compiled = compile(&memory.clients.admitted(), &advertisements, &packages, &granted, &config);
        if self.stores.site_suspended(&self.site.name) {
            let suspended = advertisements.iter().filter(|one| one.template.suspended);
            let suspended = suspended.map(|one| one.template.name.clone()).collect();
            let before = memory.bodies.is_some().then(|| self.evaluated.borrow().clone());
            let before = before.as_ref().map(|evaluated| &evaluated.compiled);
            memory.holding.hold(&self.database, before, &mut compiled, &suspended, &granted).await?;
        } else {
            memory.holding.release(&self.database).await?;
        }
        self.linger(memory, &mut compiled).await?;
        metrics::compiled(compiled.bodies.len(), compiled.bodies.values().map(|body| body.offers.len()).sum());
        kept.update(self, &memberships, &config, &compiled, &revision).await?;
        publish::publish(self, memory, &compiled).await?;
        self.tell(Evaluated { complete: true, memberships, granted, compiled });
        Ok(())
    }

    /// Content that a client loses while a program of it runs there stays readable for it until that has ended.
    async fn linger(&self, memory: &mut Memory, compiled: &mut Compiled) -> Result<(), OfferError> {
        let before = self.evaluated.borrow().clone();
        let losing = memory.lingering.losing(&before.compiled, compiled);
        let pairs: Vec<_> = losing.pairs().map(|(client, name)| (client.to_owned(), name.clone())).collect();
        let running = if pairs.is_empty() {
            BTreeSet::new()
        } else {
            let states = self.database.read(move |connection| status::running(connection, pairs));
            states.await?
        };
        let runs = |client: &str, name: &ObjectName| running.contains(&(client.to_owned(), name.clone()));
        memory.lingering = Lingering::keep(losing, runs, compiled);
        Ok(())
    }

    fn advertisements(
        &self,
        memberships: &BTreeMap<ObjectName, Result<Membership, String>>,
    ) -> Vec<AdvertisementFacts> {
        let mut all: Vec<_> = self
            .stores
            .advertisements
            .state()
            .iter()
            .filter(|one| one.metadata.deletion_timestamp.is_none())
            .filter_map(|one| {
                // One that cannot be read is reported by its own reconcile and offered to nobody.
                let template = template(one).ok()?;
                let namespace = &template.name.namespace;
                let program = kube::runtime::reflector::ObjectRef::new(&template.program).within(namespace);
                let program = self.stores.programs.get(&program);
                let collection = ObjectName::new(namespace.clone(), one.spec.collection.clone());
                Some(AdvertisementFacts {
                    package: program.map(|program| program.spec.package_ref.clone()),
                    members: memberships
                        .get(&collection)
                        .and_then(|one| one.as_ref().ok())
                        .map(|membership| membership.members.clone()),
                    template,
                })
            })
            .collect();
        all.sort_by(|a, b| a.template.name.cmp(&b.template.name));
        all
    }

    /// Hands out the results and nudges whatever shows a different outcome now.
    fn tell(&self, now: Evaluated) {
        let before = self.evaluated.send_replace(Arc::new(now));
        let now = self.evaluated.borrow().clone();
        for (name, membership) in &now.memberships {
            if before.memberships.get(name) != Some(membership) {
                self.nudges.collection(name);
            }
        }
        // Who is reached may differ although as many are.
        let others = before.granted != now.granted;
        if others {
            self.nudges.site(&self.site.name);
        }
        for (name, outcome) in &now.compiled.outcomes {
            if others || before.compiled.outcomes.get(name) != Some(outcome) {
                self.nudges.advertisement(name);
            }
        }
        let offered = |evaluated: &Evaluated| evaluated.compiled.offered.clone();
        let (was, is) = (offered(&before), offered(&now));
        for name in was.keys().chain(is.keys()) {
            if was.get(name) != is.get(name) {
                self.nudges.package(name);
            }
        }
        let lost =
            now.compiled.outcomes.values().filter(|one| matches!(one, Outcome::Offered { lost: true, .. })).count();
        if lost > 0 {
            tracing::warn!(advertisements = lost, "content of offered packages is on no distribution point");
        }
    }
}

/// Waits for a change of the database that policy depends on.
async fn relevant(changes: &mut broadcast::Receiver<Change>, memory: &mut Memory) {
    loop {
        match changes.recv().await {
            Ok(change) => {
                let may_have_ended = !memory.lingering.is_empty() && matches!(change, Change::Status(_));
                if memory.clients.note(&change) || matters(&change) || may_have_ended {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                memory.clients.forget();
                return;
            }
            // The database is closing, and this task with it.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn drain(changes: &mut broadcast::Receiver<Change>, clients: &mut Clients) {
    loop {
        match changes.try_recv() {
            Ok(change) => {
                clients.note(&change);
            }
            Err(broadcast::error::TryRecvError::Lagged(_)) => clients.forget(),
            Err(_) => return,
        }
    }
}

const fn matters(change: &Change) -> bool {
    matches!(change, Change::Locations(_) | Change::Records(_) | Change::Versions(_) | Change::Points(_))
}
