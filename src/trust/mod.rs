//! Keys, signed envelopes, Merkle proofs and certificates. Knows nothing of packages or policy, and opens no
//! connection: what is done with the certificates is the business of [`crate::transport`].

pub mod ca;
pub mod device;
pub mod envelope;
pub mod identity;
pub mod keys;
pub mod merkle;
pub mod names;
pub mod secret_file;
pub mod token;
