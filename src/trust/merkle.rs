//! A Merkle tree as in RFC 6962 (certificate transparency): one signed root stands for all leaves of a policy
//! snapshot, and a short proof shows that one leaf is among them. Pure; what a leaf says is the caller's business.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::content::Digest;

/// More leaves than any site has clients; a proof is then at most this many steps.
pub const MAX_PROOF_STEPS: usize = 32;

/// All hashes of a tree, so that a proof for any leaf costs no hashing. About 64 bytes a leaf.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    /// `levels[0]` are the leaves' hashes, the last level is the root alone. One empty level for an empty tree.
    levels: Vec<Vec<Digest>>,
}

/// The proof that a leaf is number `index` of the `size` leaves under a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The leaf's position, from 0.
    pub index: u64,
    /// The number of leaves in the tree.
    pub size: u64,
    /// The hashes beside the way from the leaf to the root, from the bottom up.
    pub path: Vec<Digest>,
}

/// Leaf and node hashes begin differently, so that an inner node can never be shown as a leaf.
fn hash_leaf(leaf: &[u8]) -> Digest {
    let mut hasher = Sha256::new_with_prefix([0]);
    hasher.update(leaf);
    Digest::from_bytes(hasher.finalize().into())
}

fn hash_node(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Sha256::new_with_prefix([1]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    Digest::from_bytes(hasher.finalize().into())
}

impl MerkleTree {
    /// Builds the tree. The order of the leaves counts.
    pub fn new<L: AsRef<[u8]>>(leaves: impl IntoIterator<Item = L>) -> Self {
        let mut levels = vec![leaves.into_iter().map(|leaf| hash_leaf(leaf.as_ref())).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            // A node without a partner moves up unchanged, which gives exactly the unbalanced tree of the RFC.
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => hash_node(left, right),
                lonely => lonely[0],
            });
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// The hash that stands for all leaves in their order; of no leaves at all, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(|| Digest::of(b""))
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> usize {
        self.levels[0].len()
    }

    /// The proof for leaf `index`; `None` if there is no such leaf.
    #[must_use]
    pub fn prove(&self, index: usize) -> Option<InclusionProof> {
        if index >= self.size() {
            return None;
        }
        let beside = self.levels.iter().enumerate().filter_map(|(height, level)| level.get((index >> height) ^ 1));
        Some(InclusionProof { index: index as u64, size: self.size() as u64, path: beside.copied().collect() })
    }
}

impl InclusionProof {
    /// Whether the proof shows that `leaf` is at its place in the tree of that `root`. Never fails otherwise, whatever a
    /// hostile proof contains.
    #[must_use]
    pub fn verify(&self, root: &Digest, leaf: &[u8]) -> bool {
        if self.index >= self.size || self.path.len() > MAX_PROOF_STEPS {
            return false;
        }
        let (mut position, mut last) = (self.index, self.size - 1);
        let mut hash = hash_leaf(leaf);
        let mut path = self.path.iter();
        while last > 0 {
            // On the right edge of a level there may be no partner: then nothing is hashed on this level.
            if position % 2 == 1 || position < last {
                let Some(beside) = path.next() else { return false };
                hash = if position % 2 == 1 { hash_node(beside, &hash) } else { hash_node(&hash, beside) };
            }
            position /= 2;
            last /= 2;
        }
        path.next().is_none() && hash == *root
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The eight leaves that the certificate transparency projects test their trees with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let root = |count: usize| MerkleTree::new(&LEAVES[..count]).root().hex();
        assert_eq!(root(0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(root(1), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(2), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(3), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(root(8), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    /// The definition of RFC 6962 section 2.1, word for word, to check the faster construction against.
    fn root_by_definition(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => hash_leaf(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                hash_node(&root_by_definition(&leaves[..split]), &root_by_definition(&leaves[split..]))
            }
        }
    }

    fn leaves() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..70)
    }

    proptest! {
        #[test]
        fn the_root_is_the_definitions(leaves in leaves()) {
            prop_assert_eq!(MerkleTree::new(&leaves).root(), root_by_definition(&leaves));
        }

        #[test]
        fn every_leaf_has_a_proof_and_it_fits_nothing_else(leaves in leaves(), other in prop::collection::vec(any::<u8>(), 0..8)) {
            let tree = MerkleTree::new(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = tree.prove(index).unwrap();
                prop_assert!(proof.verify(&tree.root(), leaf));
                prop_assert!(&other == leaf || !proof.verify(&tree.root(), &other));
                prop_assert!(!proof.verify(&Digest::of(b"another root"), leaf));
                let moved = InclusionProof { index: (proof.index + 1) % proof.size, ..proof.clone() };
                prop_assert!(moved.index == proof.index || leaves[moved.index as usize] == *leaf || !moved.verify(&tree.root(), leaf));
                let mut longer = proof.clone();
                longer.path.push(tree.root());
                prop_assert!(!longer.verify(&tree.root(), leaf));
                let mut shorter = proof.clone();
                if shorter.path.pop().is_some() {
                    prop_assert!(!shorter.verify(&tree.root(), leaf));
                }
            }
            prop_assert!(tree.prove(leaves.len()).is_none());
        }

        #[test]
        fn a_hostile_proof_neither_panics_nor_holds(index: u64, size: u64, steps in 0usize..80) {
            let path = vec![Digest::of(b"x"); steps];
            let proof = InclusionProof { index, size, path };
            prop_assert!(!proof.verify(&Digest::of(b"root"), b"leaf"));
        }
    }

    #[test]
    fn an_inner_node_is_not_a_leaf() {
        let tree = MerkleTree::new(LEAVES);
        let inner = [hash_leaf(LEAVES[0]).as_bytes().as_slice(), hash_leaf(LEAVES[1]).as_bytes()].concat();
        let proof = InclusionProof { index: 0, size: 4, path: tree.prove(0).unwrap().path[1..].to_vec() };
        assert!(!proof.verify(&tree.root(), &inner));
    }
}
