//! What every reconcile may use. Built once by `site`; cheap to share.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use kube::{
    Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::{RwLock, RwLockReadGuard, watch};

use super::{error::Error, events::Events, guard::Unreadable, looks::SourceLooks, nudge::Nudges, pace::Pace};
use crate::{
    api::{
        advertisement::Advertisement,
        client_agent_config::ClientAgentConfig,
        collection::Collection,
        distribution::Distribution,
        distribution_point::DistributionPoint,
        package::Package,
        program::Program,
        site::{FleetStatus, Site},
    },
    content::digest::Digest,
    db::Database,
    model::{identity::ObjectName, reason::Reason},
    plan::{
        grants::{Granted, Refusal},
        membership::Membership,
        offer::{Compiled, Outcome},
        tenure::Displaced,
    },
    trust::keys::SiteKey,
};

/// Who this site is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteIdentity {
    /// The id made when the state was created.
    pub id: String,
    /// The name of the `Site` object it serves.
    pub name: String,
    /// The policy epoch.
    pub epoch: u64,
}

/// Which manifests are in force, as git sync says.
#[derive(Clone, Default)]
pub struct Revision {
    /// A revision is being applied: records wait until all its objects are there.
    pub applying: bool,
    /// The directory that relative package sources are taken from.
    pub root: PathBuf,
    /// Keeps that directory in place; a clone is held while it is read.
    pub hold: Option<Arc<dyn std::any::Any + Send + Sync>>,
    /// Names everything in a directory of that root, if something else than its place does.
    pub tree: Option<TreeOf>,
    /// Says whether git sync declares a package, and so makes it again if it is gone; `None` where it declares nothing.
    pub declares: Option<Declares>,
    /// What the site's status says of it; the default where nothing is applied by git sync, `None` before its first word.
    pub status: Option<crate::api::site::SyncStatus>,
}

/// A name for all that a directory holds: what has the same name in two revisions is the same. `None` if there is none.
pub type TreeOf = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;

/// Whether the manifests in force declare a package of this name.
pub type Declares = Arc<dyn Fn(&ObjectName) -> bool + Send + Sync>;

impl Revision {
    /// Whether git sync makes this package again if it is gone.
    #[must_use]
    pub fn declares(&self, package: &ObjectName) -> bool {
        self.declares.as_ref().is_some_and(|declares| declares(package))
    }
}

/// What the offer manager computed last.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// Whether it computed anything yet. The first time comes after all watches have listed what there is.
    pub complete: bool,
    /// Members of every collection, or why there are none to be had.
    pub memberships: BTreeMap<ObjectName, Result<Membership, String>>,
    /// What namespaces may reach.
    pub granted: Granted,
    /// Offers and outcomes.
    pub compiled: Compiled,
}

impl Evaluated {
    /// The members of a collection that advertisements of this namespace reach.
    ///
    /// # Errors
    /// Why they reach nobody.
    pub fn targets(&self, namespace: &str, members: &BTreeSet<String>) -> Result<BTreeSet<String>, Refusal> {
        let is_admitted = |client: &&String| self.compiled.bodies.contains_key(*client);
        self.granted.of(namespace)?.targets(members.iter().filter(is_admitted))
    }

    /// The clients that an advertisement to this collection of its namespace reaches: none if what the Site grants the
    /// namespace keeps it from every client, also if that took the program to tell.
    #[must_use]
    pub fn targeted(&self, advertisement: &ObjectName, collection: &str) -> BTreeSet<String> {
        use Reason::{NamespaceNotGranted, RunAsNotGranted, TooManyClients};
        let outcome = self.compiled.outcomes.get(advertisement);
        if matches!(outcome, Some(Outcome::Stalled(NamespaceNotGranted | RunAsNotGranted | TooManyClients, _))) {
            return BTreeSet::new();
        }
        match self.memberships.get(&ObjectName::new(&advertisement.namespace, collection)) {
            Some(Ok(membership)) => self.targets(&advertisement.namespace, &membership.members).unwrap_or_default(),
            _ => BTreeSet::new(),
        }
    }
}

/// Everything in the Kubernetes API, as the watches see it.
#[derive(Clone)]
pub struct Stores {
    /// Sites.
    pub sites: Store<Site>,
    /// Distribution points.
    pub points: Store<DistributionPoint>,
    /// Agent configurations.
    pub configs: Store<ClientAgentConfig>,
    /// Packages.
    pub packages: Store<Package>,
    /// Programs.
    pub programs: Store<Program>,
    /// Distributions.
    pub distributions: Store<Distribution>,
    /// Collections.
    pub collections: Store<Collection>,
    /// Advertisements.
    pub advertisements: Store<Advertisement>,
    /// Those among all of them that this version cannot read.
    pub unreadable: Unreadable,
}

impl Stores {
    /// Whether the watches have delivered, of every kind, what has these resourceVersions. Events of one kind come in
    /// order, so any later one of the kind says it too.
    #[must_use]
    pub fn have_seen(&self, versions: &BTreeMap<String, u64>) -> bool {
        versions.iter().all(|(kind, version)| {
            let seen = match kind.as_str() {
                "Site" => newest(&self.sites),
                "DistributionPoint" => newest(&self.points),
                "ClientAgentConfig" => newest(&self.configs),
                "Package" => newest(&self.packages),
                "Program" => newest(&self.programs),
                "Distribution" => newest(&self.distributions),
                "Collection" => newest(&self.collections),
                "Advertisement" => newest(&self.advertisements),
                _ => return true,
            };
            seen >= *version
        })
    }

    /// Whether the watch of this kind has delivered that the object is gone, or on its way out.
    #[must_use]
    pub fn have_seen_removed(&self, kind: &str, name: &ObjectName) -> bool {
        match kind {
            "Site" => is_leaving(&self.sites, name),
            "DistributionPoint" => is_leaving(&self.points, name),
            "ClientAgentConfig" => is_leaving(&self.configs, name),
            "Package" => is_leaving(&self.packages, name),
            "Program" => is_leaving(&self.programs, name),
            "Distribution" => is_leaving(&self.distributions, name),
            "Collection" => is_leaving(&self.collections, name),
            "Advertisement" => is_leaving(&self.advertisements, name),
            _ => true,
        }
    }

    /// Waits until every watch has listed what there is.
    pub async fn listed(&self) {
        // An end of a watch before it has listed is the end of the process.
        let _ = tokio::join!(
            self.sites.wait_until_ready(),
            self.points.wait_until_ready(),
            self.configs.wait_until_ready(),
            self.packages.wait_until_ready(),
            self.programs.wait_until_ready(),
            self.distributions.wait_until_ready(),
            self.collections.wait_until_ready(),
            self.advertisements.wait_until_ready(),
        );
    }
}

/// What reading a package's source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRead {
    /// Digest of the manifest; files and manifest are in the library.
    pub content: Digest,
    /// Size of all files.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// Why a package's source could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFailure {
    /// The reason shown.
    pub reason: Reason,
    /// What is wrong, where, and the remedy.
    pub text: String,
    /// Whether trying again may help without anybody doing something.
    pub passes: bool,
}

/// The highest resourceVersion among the objects that a watch has delivered.
fn newest<K>(store: &Store<K>) -> u64
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let version = |object: &Arc<K>| object.meta().resource_version.as_ref()?.parse().ok();
    store.state().iter().filter_map(version).max().unwrap_or_default()
}

fn is_leaving<K>(store: &Store<K>, name: &ObjectName) -> bool
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let is_it = |object: &K| object.name_any() == name.name && object.namespace().unwrap_or_default() == name.namespace;
    store.find(|object| is_it(object)).is_none_or(|object| object.meta().deletion_timestamp.is_some())
}

/// Where a package's source is to be found.
#[derive(Clone)]
pub struct SourcePlace {
    /// The package, whose last content makes reading cheaper.
    pub content: Option<Digest>,
    /// The directory as the package names it.
    pub directory: String,
    /// What relative directories are relative to.
    pub base: PathBuf,
    /// Keeps `base` in place while it is held; such a directory is not written any more.
    pub hold: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

/// Reads a directory into the library. Given by `site`: controllers do not know sources.
pub type ReadSource = Arc<dyn Fn(SourcePlace) -> BoxFuture<'static, Result<SourceRead, SourceFailure>> + Send + Sync>;

/// What every reconcile may use.
pub struct Context {
    /// The Kubernetes API.
    pub client: kube::Client,
    /// The site database.
    pub database: Database,
    /// Reads package sources into the library.
    pub read_source: ReadSource,
    /// What was read of them already.
    pub looks: Arc<SourceLooks>,
    /// Who this site is.
    pub site: SiteIdentity,
    /// Signs records.
    pub key: Arc<SiteKey>,
    /// What the watches see.
    pub stores: Stores,
    /// Asks for further reconciles.
    pub nudges: Nudges,
    /// What the offer manager computed last.
    pub evaluated: watch::Receiver<Arc<Evaluated>>,
    /// Which manifests are in force.
    pub revision: watch::Receiver<Revision>,
    /// Held for reading while something is compiled from objects: git sync does not write a revision meanwhile.
    pub compiling: Arc<RwLock<()>>,
    /// Asks the offer manager to compute again: something in the Kubernetes API changed that it reads.
    pub reevaluate: Arc<tokio::sync::Notify>,
    /// Tells distribution points' long polls to look again.
    pub points_changed: Arc<tokio::sync::Notify>,
    /// Paces status writes.
    pub pace: Pace,
    /// Tells of transitions.
    pub events: Events,
    /// Points that have not confirmed a removal after this time are given up.
    pub removal_deadline: Duration,
    /// Told once another server is found to serve the site: this one ends. Only beside a cluster.
    pub displaced: watch::Sender<Option<Displaced>>,
    /// Where the fleet's rows are served to a cluster's users; nothing where the objects are this process's own.
    pub fleet: Option<FleetStatus>,
    /// Takes the place of every interval at which something is looked at without an event.
    pub look_interval: Option<Duration>,
}

impl Context {
    /// When to look again although nothing was announced.
    pub(super) fn at_latest(&self, usual: Duration) -> Duration {
        self.look_interval.unwrap_or(usual)
    }

    /// Waits, after a start, until what reconciles read is there: all objects, and what the offer manager makes of them.
    /// Half of it would be reported as if something had gone, and taken back a moment later.
    pub(super) async fn complete(&self) {
        let _ = self.evaluated.clone().wait_for(|evaluated| evaluated.complete).await;
    }
}

/// While a revision is being applied, its packages wait; the end of it nudges them, this is the fallback.
const REVISION_WAIT: Duration = Duration::from_secs(1);

impl Context {
    /// To be held while something is made of the objects of one whole revision: git sync begins none meanwhile. Deferred
    /// while it is in the middle of one.
    pub(super) fn whole_revision(&self) -> Result<RwLockReadGuard<'_, ()>, Error> {
        let held = self.compiling.try_read().map_err(|_| self.half_a_revision())?;
        if self.revision.borrow().applying { Err(self.half_a_revision()) } else { Ok(held) }
    }

    /// Only half of a revision is there.
    pub(super) fn half_a_revision(&self) -> Error {
        Error::Deferred { after: self.at_latest(REVISION_WAIT) }
    }

    /// Whether the site's own object says that nothing new is to begin.
    #[must_use]
    pub fn site_suspended(&self) -> bool {
        self.stores.site_suspended(&self.site.name)
    }

    /// Asks whoever names this package to look again: it came, or changed.
    pub(super) fn nudge_dependants_of_package(&self, package: &ObjectName) {
        let is_here = |namespace: Option<String>| namespace.as_deref() == Some(&package.namespace);
        for one in self.stores.programs.state() {
            if is_here(one.namespace()) && one.spec.package_ref == package.name {
                self.nudges.program(&ObjectName::new(&package.namespace, one.name_any()));
            }
        }
        for one in self.stores.distributions.state() {
            if is_here(one.namespace()) && one.spec.package == package.name {
                self.nudges.distribution(&ObjectName::new(&package.namespace, one.name_any()));
            }
        }
    }

    /// Asks whoever depends on this program to look again: it came, or changed.
    pub(super) fn nudge_dependants_of_program(&self, program: &ObjectName) {
        for one in self.stores.programs.state() {
            let needs = one.spec.depends_on.as_ref().is_some_and(|needed| needed.program == program.name);
            if needs && one.namespace().as_deref() == Some(&program.namespace) {
                self.nudges.program(&ObjectName::new(&program.namespace, one.name_any()));
            }
        }
    }

    /// Asks every package and distribution to look again: something changed that any of them may wait for.
    pub(super) fn nudge_packages(&self) {
        for package in self.stores.packages.state() {
            self.nudges.package(&ObjectName::new(package.namespace().unwrap_or_default(), package.name_any()));
        }
        for one in self.stores.distributions.state() {
            self.nudges.distribution(&ObjectName::new(one.namespace().unwrap_or_default(), one.name_any()));
        }
    }
}

impl Stores {
    /// Whether the object of this site says that nothing new is to begin.
    #[must_use]
    pub fn site_suspended(&self, site: &str) -> bool {
        self.sites.get(&ObjectRef::new(site)).is_some_and(|site| site.spec.suspend)
    }
}
