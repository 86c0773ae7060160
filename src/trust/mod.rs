//! Keys, signed envelopes, Merkle proofs and certificates. Knows nothing of packages or policy, and opens no
//! connection: what is done with the certificates is the business of [`crate::transport`].

pub mod device;
pub mod envelope;
pub mod identity;
pub mod keys;
pub mod merkle;
pub mod secret_file;
