//! Keys, signed envelopes, Merkle proofs and certificates. Knows nothing of packages or policy.
