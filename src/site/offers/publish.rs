//! Turns compiled bodies into a signed snapshot: leaf versions are made durable first, then the root is signed, then
//! access points get it. Nothing is published that a crash could take back.

use std::{collections::HashMap, sync::Arc};

use super::{Memory, OfferError, OfferManager};
use crate::{
    cap::published::{Published, leaf_bytes},
    clock,
    content::digest::Digest,
    db::{devices, leaves, points, records},
    plan::offer::Compiled,
    trust::{envelope::Envelope, identity::Role, merkle::MerkleTree},
    wire::{
        access::Snapshot,
        policy::{Leaf, PolicyRoot, ROOT_LIFETIME, ROOT_TYPE},
    },
};

/// Publishes what was compiled, if it differs from what is published or the root is half expired.
pub(super) async fn publish(
    manager: &OfferManager,
    memory: &mut Memory,
    compiled: &Compiled,
) -> Result<(), OfferError> {
    let now = clock::now();
    let half_life = ROOT_LIFETIME.as_duration() / 2;
    let fresh = memory.issued_at.is_some_and(|issued| now.duration_since(issued).unsigned_abs() < half_life);
    let unchanged = memory.bodies.as_ref() == Some(&compiled.bodies);
    let before = manager.snapshot.borrow().clone();
    let mut snapshot = match before {
        Some(snapshot) if unchanged && fresh => (*snapshot).clone(),
        _ => {
            let snapshot = sign(manager, compiled, now).await?;
            memory.bodies = Some(compiled.bodies.clone());
            memory.issued_at = Some(now);
            snapshot
        }
    };
    let wanted = snapshot.records.clone();
    let (locations, rows, deleted) = manager
        .database
        .read(move |connection| {
            let rows = wanted.iter().map(|digest| records::get(connection, digest)).collect::<Result<Vec<_>, _>>()?;
            Ok((points::all_holders(connection)?, rows, devices::gone(connection, Role::Client)?))
        })
        .await?;
    snapshot.locations = locations;
    snapshot.blocked = memory.clients.blocked();
    snapshot.deleted = deleted;
    if manager.snapshot.borrow().as_deref() == Some(&snapshot) {
        return Ok(());
    }
    let envelopes: HashMap<Digest, Envelope> =
        rows.into_iter().flatten().map(|row| (row.digest, row.envelope)).collect();
    let published = Published::new(snapshot.clone(), envelopes).map_err(|error| OfferError::Sign(error.to_string()))?;
    manager.published.send_replace(Arc::new(published));
    manager.snapshot.send_replace(Some(Arc::new(snapshot)));
    Ok(())
}

async fn sign(manager: &OfferManager, compiled: &Compiled, now: jiff::Timestamp) -> Result<Snapshot, OfferError> {
    let encode = |error: serde_json::Error| OfferError::Sign(error.to_string());
    // Equal bodies are encoded and hashed once: a fleet has few different ones.
    let mut texts: HashMap<&crate::wire::policy::PolicyBody, (Digest, String)> = HashMap::new();
    let mut digests = Vec::with_capacity(compiled.bodies.len());
    for (client, body) in &compiled.bodies {
        let digest = match texts.get(body) {
            Some((digest, _)) => *digest,
            None => {
                let text = serde_json::to_string(body).map_err(encode)?;
                let digest = Digest::of(text.as_bytes());
                texts.insert(body, (digest, text));
                digest
            }
        };
        digests.push((client.clone(), digest));
    }
    let rows = digests.clone();
    let now_ms = now.as_millisecond();
    let (versions, root_version) = manager
        .database
        .write(move |tx| Ok((leaves::assign(tx, &rows, now_ms)?, leaves::next_root_version(tx, now_ms)?)))
        .await?;
    let leaves: Vec<Leaf> =
        digests.into_iter().zip(versions).map(|((client, body), version)| Leaf { client, version, body }).collect();
    let tree = MerkleTree::new(leaves.iter().map(leaf_bytes));
    let root = PolicyRoot {
        site: manager.site.id.clone(),
        epoch: manager.site.epoch,
        version: root_version,
        leaves_root: tree.root(),
        leaves: tree.size() as u64,
        issued_at: now,
    };
    let payload = serde_json::to_string(&root).map_err(encode)?;
    let envelope =
        Envelope::sign(ROOT_TYPE, payload, &manager.key).map_err(|error| OfferError::Sign(error.to_string()))?;
    Ok(Snapshot {
        root: envelope,
        leaves,
        bodies: texts.into_values().map(|(_, text)| text).collect(),
        records: compiled.named_records().into_iter().collect(),
        locations: Vec::new(),
        blocked: Vec::new(),
        deleted: Vec::new(),
    })
}
