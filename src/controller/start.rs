//! Starts one controller per kind: the only list of watches.

use std::{future::Future, sync::Arc, time::Duration};

use futures::FutureExt;

use super::{
    context::{Context, Stores},
    guard::{self, Unreadable, Watched, watched},
    nudge::{self, Nudged, Nudges},
    run,
};
use crate::{
    api::{
        advertisement::Advertisement, client_agent_config::ClientAgentConfig, collection::Collection,
        distribution::Distribution, distribution_point::DistributionPoint, package::Package, program::Program,
        site::Site,
    },
    plan::tenure::Displaced,
};

/// All controllers, made but not running: their stores and nudges go into the [`Context`] first.
pub struct Controllers {
    site: Watched<Site>,
    point: Watched<DistributionPoint>,
    config: Watched<ClientAgentConfig>,
    package: Watched<Package>,
    program: Watched<Program>,
    distribution: Watched<Distribution>,
    collection: Watched<Collection>,
    advertisement: Watched<Advertisement>,
    nudged: Nudged,
    findings: tokio::sync::mpsc::Receiver<guard::Finding>,
}

impl Controllers {
    /// Makes all controllers, whose watches the server ends after `watch_timeout`.
    #[must_use]
    pub fn new(client: &kube::Client, watch_timeout: Duration) -> (Self, Stores, Nudges) {
        let (unreadable, findings) = Unreadable::new();
        let (site, sites) = watched(client, watch_timeout, &unreadable);
        let (point, points) = watched(client, watch_timeout, &unreadable);
        let (config, configs) = watched(client, watch_timeout, &unreadable);
        let (package, packages) = watched(client, watch_timeout, &unreadable);
        let (program, programs) = watched(client, watch_timeout, &unreadable);
        let (distribution, distributions) = watched(client, watch_timeout, &unreadable);
        let (collection, collections) = watched(client, watch_timeout, &unreadable);
        let (advertisement, advertisements) = watched(client, watch_timeout, &unreadable);
        let (nudges, nudged) = nudge::channel();
        let stores = Stores {
            sites,
            points,
            configs,
            packages,
            programs,
            distributions,
            collections,
            advertisements,
            unreadable,
        };
        let all =
            Self { site, point, config, package, program, distribution, collection, advertisement, nudged, findings };
        (all, stores, nudges)
    }

    /// Runs them until `shutdown`.
    ///
    /// # Errors
    /// If another server took the site over.
    pub async fn run(
        self,
        ctx: Arc<Context>,
        shutdown: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Result<(), Displaced> {
        let mut displaced = ctx.displaced.subscribe();
        let shutdown = shutdown.shared();
        let Self { site, point, config, package, program, distribution, collection, advertisement, nudged, findings } =
            self;
        let told = guard::tell(ctx.client.clone(), findings);
        let all = async {
            tokio::join!(
                run(site, nudged.site, ctx.clone(), shutdown.clone()),
                run(point, nudged.point, ctx.clone(), shutdown.clone()),
                run(config, nudged.config, ctx.clone(), shutdown.clone()),
                run(package, nudged.package, ctx.clone(), shutdown.clone()),
                run(program, nudged.program, ctx.clone(), shutdown.clone()),
                run(distribution, nudged.distribution, ctx.clone(), shutdown.clone()),
                run(collection, nudged.collection, ctx.clone(), shutdown.clone()),
                run(advertisement, nudged.advertisement, ctx.clone(), shutdown),
            )
        };
        tokio::select! {
            _ = all => Ok(()),
            () = told => Ok(()),
            found = displaced.wait_for(Option::is_some) => found.ok().and_then(|found| found.clone()).map_or(Ok(()), Err),
        }
    }
}
