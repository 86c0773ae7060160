//! Starts one controller per kind: the only list of watches.

use std::{future::Future, sync::Arc};

use futures::{FutureExt, StreamExt};
use kube::runtime::{
    Controller, WatchStreamExt,
    reflector::{self, Store},
    watcher::{Event, watcher},
};
use tokio::sync::Notify;

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

/// What every controller is made with.
struct Make<'a> {
    client: &'a kube::Client,
    gone: &'a Arc<Notify>,
}

impl Make<'_> {
    fn controller<K: Reconciled>(&self) -> (Controller<K>, Store<K>) {
        let (store, writer) = reflector::store();
        let events = reflector::reflector(writer, watcher(kube::Api::all(self.client.clone()), watch_config()));
        let gone = self.gone.clone();
        let events = events.inspect(move |event| {
            // A list that was had anew may lack what was there before.
            if matches!(event, Ok(Event::Delete(_) | Event::InitDone)) {
                gone.notify_one();
            }
        });
        (Controller::for_stream(events.applied_objects(), store.clone()), store)
    }
}

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
    /// Makes all controllers. What is gone has no reconcile that could say so: `gone` is told when a watch has delivered it.
    #[must_use]
    pub fn new(client: &kube::Client, gone: &Arc<Notify>) -> (Self, Stores, Nudges) {
        let make = Make { client, gone };
        let (site, sites) = make.controller();
        let (point, points) = make.controller();
        let (config, configs) = make.controller();
        let (package, packages) = make.controller();
        let (program, programs) = make.controller();
        let (distribution, distributions) = make.controller();
        let (collection, collections) = make.controller();
        let (advertisement, advertisements) = make.controller();
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
