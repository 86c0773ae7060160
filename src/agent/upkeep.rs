//! What an agent does by the way: sends its inventory when that changed, renews its certificate, tidies its cache and
//! its journal.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    AgentError, inventory,
    policy::Policy,
    poll,
    run::{self, journal},
    session::{Session, SessionError},
    shared::Shared,
    view::{POLICY, View},
};
use crate::{
    clock,
    content::digest::Digest,
    transport::{
        backoff::{Backoff, jitter},
        client::{Listener, Timeouts},
        renewal,
    },
    trust::identity::Role,
};

/// Topic of the digest of the inventory that the site has.
const SENT_INVENTORY: &str = "inventory";
/// A distribution point that says nothing for this long is left for the next.
const CONTENT_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends the inventory at the start, at every poll interval and on request, if it changed.
pub(super) async fn send_inventory(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    loop {
        let held = shared.store.get::<Policy>(POLICY).ok().flatten();
        let interval = poll::interval(held.as_ref());
        let pause = match send_if_changed(&shared).await {
            Ok(()) => {
                backoff.reset();
                interval + jitter(interval / 8)
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the inventory was not delivered");
                backoff.next()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.inventory.notified() => {}
        }
    }
}

async fn send_if_changed(shared: &Shared) -> anyhow::Result<()> {
    let facts = shared.config.facts_directory.clone();
    let inventory = tokio::task::spawn_blocking(move || inventory::read(&facts)).await?;
    let digest = Digest::of(&serde_json::to_vec(&inventory)?);
    if shared.store.get::<Digest>(SENT_INVENTORY)? == Some(digest) {
        return Ok(());
    }
    shared.link.inventory(&inventory).await?;
    shared.store.put(SENT_INVENTORY, &digest)?;
    Ok(())
}

/// Keeps the certificate fresh.
pub(super) async fn renew_certificate(shared: Arc<Shared>) {
    let session = Session::clone(&shared.session());
    renewal::keep(session, &shared.state, Role::Client, &[], |renewed| present(&shared, renewed)).await;
}

/// Shows the renewed certificate from now on.
fn present(shared: &Shared, renewed: &Session) -> Result<(), SessionError> {
    shared.link.replace_client(link_client(renewed, &shared.state)?);
    shared.cache.replace_client(content_client(renewed, &shared.state)?);
    shared.link.add_urls(&renewed.endpoints.cap_urls);
    *shared.session.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed.clone());
    Ok(())
}

/// The client that talks to access points.
pub(super) fn link_client(session: &Session, state: &std::path::Path) -> Result<reqwest::Client, SessionError> {
    session.http(state, Listener::SiteOr(Role::Cap), Timeouts::default())
}

/// The client that talks to distribution points.
pub(super) fn content_client(session: &Session, state: &std::path::Path) -> Result<reqwest::Client, SessionError> {
    let timeouts = Timeouts { read: CONTENT_READ_TIMEOUT, ..Timeouts::default() };
    session.http(state, Listener::SiteOr(Role::Dp), timeouts)
}

/// Tidies after a run; what cannot be tidied now is tidied after the next one.
pub(super) fn after_run(shared: &Shared) {
    if let Err(error) = tidy(shared) {
        tracing::warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the agent's state could not be tidied");
    }
}

fn tidy(shared: &Shared) -> Result<(), AgentError> {
    run::prune_outputs(&shared.state).map_err(AgentError::Journal)?;
    let history = |intent: &run::Intent| {
        let past = shared.store.history(&intent.run_key.program).unwrap_or_default();
        past.iter().any(|past| past.key == intent.run_key && past.outcome.is_some())
    };
    run::prune_runs(&shared.state, clock::now(), history).map_err(AgentError::Journal)?;
    let Some(view) = View::load(shared, clock::now())? else { return Ok(()) };
    let unfinished = shared.store.unfinished()?;
    let mut keep: Vec<Digest> = view.records.values().filter_map(|record| record.content).collect();
    for run_dir in &unfinished {
        let intent = journal::read_intent(run_dir.as_ref()).map_err(AgentError::Journal)?;
        keep.extend(intent.and_then(|intent| intent.manifest_digest));
    }
    let limit = view.policy.body.config.cache_limit_bytes;
    // A record that is not here may name any content.
    if view.missing.is_empty() {
        let trimmed = shared.cache.trim(limit, &keep, unfinished.is_empty());
        trimmed.map_err(|error| AgentError::State(shared.state.join("cache"), error))?;
    }
    Ok(())
}
