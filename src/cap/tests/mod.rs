//! The access point in this process: snapshots as a site would sign them, polls in numbers, and a site that offers what it
//! must not. This file holds the snapshots.

mod following;
mod polls;

use super::*;
use crate::{
    clock,
    content::digest::Digest,
    trust::{envelope::Envelope, keys::SiteKey, merkle::MerkleTree},
    wire::{
        access::Snapshot,
        policy::{Leaf, PolicyRoot, ROOT_TYPE},
    },
};

/// A snapshot with one body for all clients.
fn snapshot(key: &SiteKey, (epoch, version): (u64, u64), clients: &[&str], body: &str) -> Snapshot {
    let leaf = |client: &&str| Leaf { client: (*client).to_owned(), version, body: Digest::of(body.as_bytes()) };
    let leaves: Vec<_> = clients.iter().map(leaf).collect();
    let tree = MerkleTree::new(leaves.iter().map(published::leaf_bytes));
    let root = PolicyRoot {
        site: "hq".into(),
        epoch,
        version,
        leaves_root: tree.root(),
        leaves: tree.size() as u64,
        issued_at: clock::now(),
    };
    Snapshot {
        root: Envelope::sign(ROOT_TYPE, serde_json::to_string(&root).unwrap(), key).unwrap(),
        leaves,
        bodies: vec![body.to_owned()],
        records: Vec::new(),
        locations: Vec::new(),
        blocked: Vec::new(),
        deleted: Vec::new(),
    }
}

fn indexed(snapshot: Snapshot) -> Arc<Published> {
    Arc::new(Published::new(snapshot, Default::default()).unwrap())
}
