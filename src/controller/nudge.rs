//! Asks for a reconcile of objects whose facts changed outside the Kubernetes API: memberships, locations, messages.

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use crate::{
    api::{
        advertisement::Advertisement, client_agent_config::ClientAgentConfig, collection::Collection,
        distribution::Distribution, distribution_point::DistributionPoint, package::Package, program::Program,
        site::Site,
    },
    model::identity::ObjectName,
};

/// Nudges waiting for one controller at most; a controller that lags this far behind looks at everything anyway when
/// it catches up with its own watch, so more are dropped.
const QUEUE_MAX: usize = 65_536;

/// The sending end for every kind.
#[derive(Clone, Debug)]
pub struct Nudges {
    site: mpsc::Sender<ObjectRef<Site>>,
    point: mpsc::Sender<ObjectRef<DistributionPoint>>,
    config: mpsc::Sender<ObjectRef<ClientAgentConfig>>,
    package: mpsc::Sender<ObjectRef<Package>>,
    program: mpsc::Sender<ObjectRef<Program>>,
    distribution: mpsc::Sender<ObjectRef<Distribution>>,
    collection: mpsc::Sender<ObjectRef<Collection>>,
    advertisement: mpsc::Sender<ObjectRef<Advertisement>>,
}

/// The receiving end for every kind.
#[derive(Debug)]
pub(super) struct Nudged {
    pub(super) site: mpsc::Receiver<ObjectRef<Site>>,
    pub(super) point: mpsc::Receiver<ObjectRef<DistributionPoint>>,
    pub(super) config: mpsc::Receiver<ObjectRef<ClientAgentConfig>>,
    pub(super) package: mpsc::Receiver<ObjectRef<Package>>,
    pub(super) program: mpsc::Receiver<ObjectRef<Program>>,
    pub(super) distribution: mpsc::Receiver<ObjectRef<Distribution>>,
    pub(super) collection: mpsc::Receiver<ObjectRef<Collection>>,
    pub(super) advertisement: mpsc::Receiver<ObjectRef<Advertisement>>,
}

/// Both ends.
pub(super) fn channel() -> (Nudges, Nudged) {
    let (site, site_nudged) = mpsc::channel(QUEUE_MAX);
    let (point, point_nudged) = mpsc::channel(QUEUE_MAX);
    let (config, config_nudged) = mpsc::channel(QUEUE_MAX);
    let (package, package_nudged) = mpsc::channel(QUEUE_MAX);
    let (program, program_nudged) = mpsc::channel(QUEUE_MAX);
    let (distribution, distribution_nudged) = mpsc::channel(QUEUE_MAX);
    let (collection, collection_nudged) = mpsc::channel(QUEUE_MAX);
    let (advertisement, advertisement_nudged) = mpsc::channel(QUEUE_MAX);
    let nudges = Nudges { site, point, config, package, program, distribution, collection, advertisement };
    let nudged = Nudged {
        site: site_nudged,
        point: point_nudged,
        config: config_nudged,
        package: package_nudged,
        program: program_nudged,
        distribution: distribution_nudged,
        collection: collection_nudged,
        advertisement: advertisement_nudged,
    };
    (nudges, nudged)
}

fn named<K: kube::Resource<DynamicType = ()>>(name: &ObjectName) -> ObjectRef<K> {
    ObjectRef::new(&name.name).within(&name.namespace)
}

impl Nudges {
    /// The site of this name.
    pub fn site(&self, name: &str) {
        let _ = self.site.try_send(ObjectRef::new(name));
    }

    /// The distribution point of this name.
    pub fn point(&self, name: &str) {
        let _ = self.point.try_send(ObjectRef::new(name));
    }

    /// The agent configuration of this name.
    pub fn config(&self, name: &str) {
        let _ = self.config.try_send(ObjectRef::new(name));
    }

    /// A package.
    pub fn package(&self, name: &ObjectName) {
        let _ = self.package.try_send(named(name));
    }

    /// A program.
    pub fn program(&self, name: &ObjectName) {
        let _ = self.program.try_send(named(name));
    }

    /// A distribution.
    pub fn distribution(&self, name: &ObjectName) {
        let _ = self.distribution.try_send(named(name));
    }

    /// A collection.
    pub fn collection(&self, name: &ObjectName) {
        let _ = self.collection.try_send(named(name));
    }

    /// An advertisement.
    pub fn advertisement(&self, name: &ObjectName) {
        let _ = self.advertisement.try_send(named(name));
    }
}
