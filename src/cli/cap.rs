//! `waybill cap`: a client access point as a process of its own.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::watch;

use super::point::{Common, Point, serving};
use crate::{
    cap::{Cap, relay::Relay, routes},
    transport::{
        client::{Listener, Timeouts},
        limits::Limits,
        renewal,
        server::{Allowed, serve},
        session::{Session, SessionError},
    },
    trust::identity::Role,
    wire::inventory::SIGNED_INVENTORY_BYTES_MAX,
};

/// Run a client access point, which gives policy to clients and takes their status, also while the site is away
#[derive(Debug, clap::Args)]
pub(super) struct CapVerb {
    #[command(flatten)]
    common: Common,
}

impl CapVerb {
    /// Runs until the process is asked to stop.
    ///
    /// # Errors
    /// If it cannot join, or its state or address cannot be used.
    pub(super) fn run(self) -> Result<()> {
        serving(run(self.common))
    }
}

async fn run(common: Common) -> Result<()> {
    let Point { device, listener, tls, shutdown } = Point::open(common, Role::Cap).await?;
    let state = device.state.path();
    let http = |session: &Session| session.http(state, Listener::Site, Timeouts::default());
    let (site_url, keys) = (device.session.endpoints.site_url.clone(), device.session.keys.clone());
    let relay = Arc::new(Relay::new(
        http(&device.session)?,
        site_url,
        device.url.clone(),
        keys,
        device.state.join("policy.json"),
    ));
    let (publish, published) = watch::channel(Arc::new(relay.stored()?));
    let cap = Cap::new(published.clone(), relay.clone());
    let router = routes::router(cap.clone());
    let allowed: Allowed = Arc::new(move |peer| match peer.role {
        Role::Client => published.borrow().admits(&peer.id),
        _ => Ok(()),
    });
    let swap = |session: &Session| -> Result<(), SessionError> {
        relay.replace_client(http(session)?);
        device.present(session);
        Ok(())
    };
    tracing::info!(name = %device.session.name(), url = %device.url, "the client access point serves");
    // The largest that any route takes.
    let limits = Limits { body_bytes_max: SIGNED_INVENTORY_BYTES_MAX, ..Limits::default() };
    let served = serve(listener, tls, router, limits, allowed, shutdown.clone());
    tokio::select! {
        lost = device.state.lost() => return Err(lost.into()),
        () = served => {}
        () = renewal::keep(device.session.clone(), state, Role::Cap, &device.names, swap) => {}
        () = relay.follow(publish) => {}
        () = cap.tell_who_polls() => {}
    }
    Ok(())
}
