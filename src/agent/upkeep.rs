//! What an agent does by the way: sends its inventory when that changed, renews its certificate, tidies its cache and
//! its journal.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    AgentError, inventory,
    link::LinkError,
    policy::Policy,
    poll,
    run::{self, journal},
    sender,
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
    wire::{
        inventory::{INVENTORY_PURPOSE, Inventory, InventoryReport, SignedInventory},
        status::Outcome,
    },
};

/// Topic of the digest of the inventory that the site has.
const SENT_INVENTORY: &str = "inventory";
/// Topic of the number of the last inventory.
const INVENTORY_SEQUENCE: &str = "inventorySequence";
/// Time between two looks at what may go, if no run ends.
const TIDY_INTERVAL: Duration = Duration::from_secs(3_600);
/// A distribution point that says nothing for this long is left for the next.
const CONTENT_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends the inventory at the start, at every poll interval and on request, if it changed.
pub(super) async fn send_inventory(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    loop {
        let held = shared.store.get::<Policy>(POLICY).ok().flatten();
        let interval = poll::interval(held.as_ref());
        let done = send_if_changed(&shared).await;
        let rest = async {
            match done.map_err(|error| error.downcast::<LinkError>()) {
                Ok(()) => {
                    backoff.reset();
                    tokio::time::sleep(interval + jitter(interval / 8)).await;
                }
                Err(Ok(error)) => {
                    if !error.is_turned_away() {
                        tracing::warn!(%error, "the inventory was not delivered");
                    }
                    shared.link.rest(&error, &mut backoff).await;
                }
                Err(Err(error)) => {
                    tracing::warn!(error = %format!("{error:#}"), "the inventory was not delivered");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        };
        tokio::select! {
            () = rest => {}
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
    let signed = signed(shared, inventory)?;
    let (envelope, url) = shared.link.inventory(&signed).await?;
    match sender::outcome(shared, &envelope, &url, &signed.report, "inventory") {
        Some(Outcome::Stored { .. }) => Ok(shared.store.put(SENT_INVENTORY, &digest)?),
        Some(Outcome::Refused { why }) => anyhow::bail!("the site refuses it: {why}"),
        None => anyhow::bail!("the access point gave no receipt that the site signed"),
    }
}

/// Signs an inventory under a number that was never used; it is durable before it leaves, so that none comes twice.
fn signed(shared: &Shared, inventory: Inventory) -> anyhow::Result<SignedInventory> {
    let session = shared.session();
    let last = shared.store.get::<u64>(INVENTORY_SEQUENCE)?.unwrap_or_default();
    let sequence = clock::now_unix_ms().unsigned_abs().max(last + 1);
    shared.store.put(INVENTORY_SEQUENCE, &sequence)?;
    let report = InventoryReport { client: session.id.clone(), sequence, inventory };
    let report = serde_json::to_string(&report)?;
    let signature = shared.key.sign(INVENTORY_PURPOSE, report.as_bytes())?;
    Ok(SignedInventory { report, signature, certificate: session.certificate_pem.clone() })
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

/// Tidies now and then as well: what a program left running ends when nobody looks.
pub(super) async fn tidy_regularly(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        after_run(&shared);
    }
}

/// Tidies after a run; what cannot be tidied now is tidied after the next one. Nobody waits for it: to remove a large tree
/// takes a minute where the disk is busy, and the agent has one thread.
pub(super) fn after_run(shared: &Arc<Shared>) {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || {
        let _alone = shared.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tidy(&shared) {
            tracing::warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the agent's state could not be tidied");
        }
    });
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
    for name in &unfinished {
        let intent = journal::read_intent(&run::under_name(&shared.state, name)).map_err(AgentError::Journal)?;
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
