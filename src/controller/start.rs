//! Starts one controller per kind: the only list of watches.

use std::{future::Future, sync::Arc};

use futures::FutureExt;
use kube::runtime::{Controller, reflector::Store};

use super::{
    Reconciled,
    context::{Context, Stores},
    nudge::{self, Nudged, Nudges},
    run, watch_config,
};
use crate::api::{
    advertisement::Advertisement, client_agent_config::ClientAgentConfig, collection::Collection,
    distribution::Distribution, distribution_point::DistributionPoint, package::Package, program::Program, site::Site,
};

/// All controllers, made but not running: their stores and nudges go into the [`Context`] first.
pub struct Controllers {
    site: Controller<Site>,
    point: Controller<DistributionPoint>,
    config: Controller<ClientAgentConfig>,
    package: Controller<Package>,
    program: Controller<Program>,
    distribution: Controller<Distribution>,
    collection: Controller<Collection>,
    advertisement: Controller<Advertisement>,
    nudged: Nudged,
}

impl Controllers {
    /// Makes all controllers.
    #[must_use]
    pub fn new(client: &kube::Client) -> (Self, Stores, Nudges) {
        fn make<K: Reconciled>(client: &kube::Client) -> (Controller<K>, Store<K>) {
            let controller = Controller::new(kube::Api::all(client.clone()), watch_config());
            let store = controller.store();
            (controller, store)
        }
        let (site, sites) = make(client);
        let (point, points) = make(client);
        let (config, configs) = make(client);
        let (package, packages) = make(client);
        let (program, programs) = make(client);
        let (distribution, distributions) = make(client);
        let (collection, collections) = make(client);
        let (advertisement, advertisements) = make(client);
        let (nudges, nudged) = nudge::channel();
        let stores = Stores { sites, points, configs, packages, programs, distributions, collections, advertisements };
        let all = Self { site, point, config, package, program, distribution, collection, advertisement, nudged };
        (all, stores, nudges)
    }

    /// Runs them until `shutdown`.
    pub async fn run(self, ctx: Arc<Context>, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
        let shutdown = shutdown.shared();
        let Self { site, point, config, package, program, distribution, collection, advertisement, nudged } = self;
        tokio::join!(
            run(site, nudged.site, ctx.clone(), shutdown.clone()),
            run(point, nudged.point, ctx.clone(), shutdown.clone()),
            run(config, nudged.config, ctx.clone(), shutdown.clone()),
            run(package, nudged.package, ctx.clone(), shutdown.clone()),
            run(program, nudged.program, ctx.clone(), shutdown.clone()),
            run(distribution, nudged.distribution, ctx.clone(), shutdown.clone()),
            run(collection, nudged.collection, ctx.clone(), shutdown.clone()),
            run(advertisement, nudged.advertisement, ctx.clone(), shutdown),
        );
    }
}
