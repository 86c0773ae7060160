//! `waybill dp`: a distribution point as a process of its own.

use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;

use super::point::{Common, Point, serving};
use crate::{
    dp::{Config, Dp, remote::Remote},
    transport::{
        client::{Listener, Timeouts},
        limits::Limits,
        renewal,
        server::{Allowed, serve},
        session::{Session, SessionError},
    },
    trust::identity::Role,
};

/// Run a distribution point, which serves package content to clients
#[derive(Debug, clap::Args)]
pub(super) struct DpVerb {
    #[command(flatten)]
    common: Common,
}

impl DpVerb {
    /// Runs until the process is asked to stop.
    ///
    /// # Errors
    /// If it cannot join, or its state or address cannot be used.
    pub(super) fn run(self) -> Result<()> {
        serving(run(self.common))
    }
}

async fn run(common: Common) -> Result<()> {
    let Point { device, listener, tls, shutdown } = Point::open(common, Role::Dp).await?;
    let state = device.state.path();
    let http = |session: &Session| session.http(state, Listener::Site, Timeouts::default());
    let site_url = device.session.endpoints.site_url.clone();
    let remote = Arc::new(Remote::new(http(&device.session)?, site_url, Handle::current()));
    let config = Config { name: device.session.id.clone(), url: device.url.clone(), state: state.to_owned() };
    let dp = Dp::open(config, remote.clone())?;
    let swap = |session: &Session| -> Result<(), SessionError> {
        remote.replace_client(http(session)?);
        device.present(session);
        Ok(())
    };
    tracing::info!(name = %device.session.name(), url = %device.url, "the distribution point serves");
    let allowed: Allowed = Arc::new(|_| Ok(()));
    tokio::select! {
        lost = device.state.lost() => return Err(lost.into()),
        () = serve(listener, tls, dp.router(), Limits::default(), allowed, shutdown.clone()) => {}
        () = renewal::keep(device.session.clone(), state, Role::Dp, &device.names, swap) => {}
        () = dp.clone().run(shutdown.clone()) => {}
    }
    Ok(())
}
