//! What the agent believes: policy whose signature, proof and place in time it has verified. A hostile access point can
//! withhold, but neither forge nor retarget nor roll back. No I/O here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    content::digest::Digest,
    trust::{envelope::Envelope, keys::TrustedKeys},
    wire::{
        policy::{BODY_BYTES_MAX, Leaf, PolicyAnswer, PolicyBody, PolicyRoot, ROOT_LIFETIME, ROOT_TYPE},
        record::{PackageRecord, RECORD_TYPE},
    },
};

/// A root may be dated this far in the future: clocks differ.
const CLOCK_SKEW_SECS: i64 = 300;

/// Verified policy with what is needed to recognise an older one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Entity tag for the next poll.
    pub tag: String,
    /// Epoch of the root.
    pub epoch: u64,
    /// Version of the root.
    pub root_version: u64,
    /// When the root was signed.
    pub issued_at: Timestamp,
    /// The client's leaf.
    pub leaf: Leaf,
    /// The body.
    pub body: PolicyBody,
}

impl Policy {
    /// Whether the root is so old that nothing may be started from it.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let age_secs = now.as_second() - self.issued_at.as_second();
        age_secs > ROOT_LIFETIME.as_duration().as_secs().cast_signed()
    }
}

/// Why an answer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not signed by a key of the site.
    #[error("the policy is not signed by the site: {0}")]
    Signature(String),
    /// Signed, but unreadable.
    #[error("the policy cannot be read: {0}")]
    Unreadable(String),
    /// Of another site or another client.
    #[error("the policy is meant for another {0}")]
    Other(&'static str),
    /// The leaf is not under the signed root.
    #[error("the policy's proof does not fit the signed root")]
    Proof,
    /// The body is not the one in the leaf.
    #[error("the policy's body does not fit its digest")]
    Body,
    /// Older than what is held.
    #[error("the policy is older than the one held ({offered} after {held}); it is refused")]
    Rollback {
        /// What was offered: epoch, root version, leaf version.
        offered: String,
        /// What is held.
        held: String,
    },
    /// Signed too long ago, or in the future.
    #[error("the policy was signed at {0}, which is too far from this machine's time; check its clock")]
    Time(Timestamp),
}

/// What an answer has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Keys of the site.
    pub keys: &'a TrustedKeys,
    /// The site's id.
    pub site: &'a str,
    /// This client's id.
    pub client: &'a str,
    /// No lower epoch is accepted.
    pub epoch_min: u64,
}

/// Verifies a poll's answer against what is expected and what is held.
///
/// # Errors
/// [`PolicyError`]; nothing of the answer may be used then.
pub fn verify(
    answer: &PolicyAnswer,
    tag: &str,
    expected: Expected<'_>,
    held: Option<&Policy>,
    now: Timestamp,
) -> Result<Policy, PolicyError> {
    let payload =
        answer.root.open(ROOT_TYPE, expected.keys).map_err(|error| PolicyError::Signature(error.to_string()))?;
    let unreadable = |error: serde_json::Error| PolicyError::Unreadable(error.to_string());
    let root: PolicyRoot = serde_json::from_str(payload).map_err(unreadable)?;
    if root.site != expected.site {
        return Err(PolicyError::Other("site"));
    }
    if answer.leaf.client != expected.client {
        return Err(PolicyError::Other("client"));
    }
    let age_secs = now.as_second() - root.issued_at.as_second();
    if age_secs < -CLOCK_SKEW_SECS || age_secs > ROOT_LIFETIME.as_duration().as_secs().cast_signed() {
        return Err(PolicyError::Time(root.issued_at));
    }
    let leaf = serde_json::to_vec(&answer.leaf).map_err(unreadable)?;
    if !answer.proof.verify(&root.leaves_root, &leaf) {
        return Err(PolicyError::Proof);
    }
    if answer.body.len() > BODY_BYTES_MAX || Digest::of(answer.body.as_bytes()) != answer.leaf.body {
        return Err(PolicyError::Body);
    }
    if root.epoch < expected.epoch_min {
        return Err(PolicyError::Rollback {
            offered: format!("epoch {}", root.epoch),
            held: format!("epoch {}", expected.epoch_min),
        });
    }
    if let Some(held) = held {
        let older = root.epoch < held.epoch
            || (root.epoch == held.epoch
                && (root.version < held.root_version || answer.leaf.version < held.leaf.version));
        if older {
            return Err(PolicyError::Rollback {
                offered: format!("{}.{}.{}", root.epoch, root.version, answer.leaf.version),
                held: format!("{}.{}.{}", held.epoch, held.root_version, held.leaf.version),
            });
        }
    }
    Ok(Policy {
        tag: tag.to_owned(),
        epoch: root.epoch,
        root_version: root.version,
        issued_at: root.issued_at,
        leaf: answer.leaf.clone(),
        body: serde_json::from_str(&answer.body).map_err(unreadable)?,
    })
}

/// Verifies a package record and that it is the one asked for.
///
/// # Errors
/// [`PolicyError`].
pub fn verify_record(
    envelope: &Envelope,
    digest: &Digest,
    keys: &TrustedKeys,
    site: &str,
) -> Result<PackageRecord, PolicyError> {
    let payload = envelope.open(RECORD_TYPE, keys).map_err(|error| PolicyError::Signature(error.to_string()))?;
    if Digest::of(payload.as_bytes()) != *digest {
        return Err(PolicyError::Body);
    }
    let record =
        PackageRecord::decode(payload.as_bytes()).map_err(|error| PolicyError::Unreadable(error.to_string()))?;
    if record.site != site {
        return Err(PolicyError::Other("site"));
    }
    Ok(record)
}
