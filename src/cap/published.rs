//! What clients read: one snapshot of policy, indexed. Swapped as a whole; answers polls without I/O.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{
    content::digest::Digest,
    trust::{envelope::Envelope, merkle::MerkleTree},
    wire::{
        access::{Locations, PointRef, Snapshot},
        policy::{Leaf, PolicyAnswer, PolicyRoot, ROOT_LIFETIME},
        turned_away::TurnedAway,
    },
};

/// A snapshot that does not fit together: its sender is broken or hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The root's payload is no policy root.
    #[error("the policy root cannot be read: {0}")]
    Root(String),
    /// The leaves do not hash to the root.
    #[error("the leaves do not match the signed root")]
    Leaves,
    /// A leaf names a body that is not there.
    #[error("the body of client {0} is missing")]
    Body(String),
}

/// An indexed snapshot.
#[derive(Debug, Default)]
pub struct Published {
    signed: Option<Signed>,
    bodies: HashMap<Digest, String>,
    records: HashMap<Digest, Envelope>,
    locations: HashMap<Digest, Vec<PointRef>>,
    turned_away: BTreeMap<String, TurnedAway>,
}

#[derive(Debug)]
struct Signed {
    envelope: Envelope,
    root: PolicyRoot,
    tree: MerkleTree,
    leaves: Vec<Leaf>,
    by_client: HashMap<String, usize>,
}

/// The answer to a poll.
#[derive(Debug)]
pub enum Poll {
    /// What the client has is current.
    Unchanged,
    /// Something new, with its entity tag.
    Changed(Box<PolicyAnswer>, String),
    /// No policy for this client yet.
    Unknown,
}

impl Published {
    /// Indexes a snapshot whose signature has been checked by the caller, with the records it names.
    ///
    /// # Errors
    /// If its parts do not fit together.
    pub fn new(snapshot: Snapshot, records: HashMap<Digest, Envelope>) -> Result<Self, SnapshotError> {
        let Snapshot { root: envelope, leaves, bodies, records: _, locations, blocked, deleted } = snapshot;
        let root: PolicyRoot =
            serde_json::from_str(&envelope.payload).map_err(|error| SnapshotError::Root(error.to_string()))?;
        let tree = MerkleTree::new(leaves.iter().map(leaf_bytes));
        if tree.root() != root.leaves_root || tree.size() as u64 != root.leaves {
            return Err(SnapshotError::Leaves);
        }
        let bodies: HashMap<_, _> = bodies.into_iter().map(|body| (Digest::of(body.as_bytes()), body)).collect();
        if let Some(leaf) = leaves.iter().find(|leaf| !bodies.contains_key(&leaf.body)) {
            return Err(SnapshotError::Body(leaf.client.clone()));
        }
        let by_client = leaves.iter().enumerate().map(|(index, leaf)| (leaf.client.clone(), index)).collect();
        Ok(Self {
            signed: Some(Signed { envelope, root, tree, leaves, by_client }),
            bodies,
            records,
            locations: locations.into_iter().map(|(version, points)| (version.content, points)).collect(),
            turned_away: blocked
                .into_iter()
                .map(|client| (client, TurnedAway::Blocked))
                .chain(deleted.into_iter().map(|client| (client, TurnedAway::Deleted)))
                .collect(),
        })
    }

    /// Answers a client's poll; `tag` is the entity tag of what it has.
    #[must_use]
    pub fn poll(&self, client: &str, tag: Option<&str>, now: Timestamp) -> Poll {
        let Some(signed) = &self.signed else { return Poll::Unknown };
        let Some(index) = signed.by_client.get(client).copied() else { return Poll::Unknown };
        let leaf = &signed.leaves[index];
        if tag.is_some_and(|tag| is_current(tag, leaf, signed.root.epoch, now)) {
            return Poll::Unchanged;
        }
        let (Some(proof), Some(body)) = (signed.tree.prove(index), self.bodies.get(&leaf.body)) else {
            return Poll::Unknown;
        };
        let tag = entity_tag(leaf, signed.root.epoch, signed.root.issued_at);
        let answer = PolicyAnswer { root: signed.envelope.clone(), leaf: leaf.clone(), proof, body: body.clone() };
        Poll::Changed(Box::new(answer), tag)
    }

    /// A package record, if this client's policy names it.
    #[must_use]
    pub fn record(&self, client: &str, digest: &Digest) -> Option<&Envelope> {
        self.body(client)?.contains(&digest.to_string()).then(|| self.records.get(digest))?
    }

    /// The digests of all records it holds.
    pub fn held_records(&self) -> impl Iterator<Item = (&Digest, &Envelope)> {
        self.records.iter()
    }

    /// The distribution points that hold some content, in an order that differs from client to client so that they
    /// spread, and is always the same for one of them.
    #[must_use]
    pub fn locations(&self, client: &str, content: &Digest) -> Locations {
        let mut points = self.locations.get(content).cloned().unwrap_or_default();
        points.sort_by_cached_key(|point| Digest::of(format!("{client}\n{}", point.name).as_bytes()));
        Locations { points }
    }

    /// Whether this client may call, as far as the site has said.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, client: &str) -> Result<(), TurnedAway> {
        self.turned_away.get(client).map_or(Ok(()), |why| Err(*why))
    }

    /// The signed root's epoch and version, which together never go back; zeros while there is none.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        self.signed.as_ref().map_or((0, 0), |signed| (signed.root.epoch, signed.root.version))
    }

    fn body(&self, client: &str) -> Option<&String> {
        let signed = self.signed.as_ref()?;
        self.bodies.get(&signed.leaves[*signed.by_client.get(client)?].body)
    }
}

/// A leaf as it is hashed into the tree.
#[must_use]
pub fn leaf_bytes(leaf: &Leaf) -> Vec<u8> {
    serde_json::to_vec(leaf).unwrap_or_default()
}

fn entity_tag(leaf: &Leaf, epoch: u64, issued_at: Timestamp) -> String {
    format!("\"{epoch}.{}.{}\"", leaf.version, issued_at.as_second())
}

/// Whether the policy behind an entity tag may stay: same leaf, and a root that is not half expired.
fn is_current(tag: &str, leaf: &Leaf, epoch: u64, now: Timestamp) -> bool {
    let mut parts = tag.trim_matches('"').split('.').map(str::parse::<i64>);
    let (Some(Ok(had_epoch)), Some(Ok(version)), Some(Ok(issued_at)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let half_life_secs = (ROOT_LIFETIME.as_duration().as_secs() / 2).cast_signed();
    u64::try_from(had_epoch) == Ok(epoch)
        && u64::try_from(version) == Ok(leaf.version)
        && now.as_second().saturating_sub(issued_at) < half_life_secs
}
