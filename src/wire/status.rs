//! Status batches from clients, distribution points and client access points, and their acknowledgement: stored once,
//! in order, whoever relays them.

use serde::{Deserialize, Serialize};

use crate::{content::digest::Digest, model::message::StatusMessage};

/// What a client signs a batch for; see `trust::device`.
pub const STATUS_PURPOSE: &str = "waybill.status.v1";
/// Messages in one batch at most.
pub const BATCH_MESSAGES_MAX: usize = 500;
/// Bytes of one batch at most.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Bytes of one message at most; its output attribute is cut to fit.
pub const MESSAGE_BYTES_MAX: usize = 96 << 10;

/// Consecutive messages of one sender's outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusBatch {
    /// The sender's id; must be the id in its certificate.
    pub sender: String,
    /// Random, made when the sender's outbox was created: a new one after a loss of state.
    pub outbox: String,
    /// The messages with their sequence numbers, ascending. The first number of an outbox is 1.
    pub messages: Vec<(u64, StatusMessage)>,
}

/// A batch as its sender signed it with the key of its certificate, so that no relay can forge one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedBatch {
    /// The exact JSON text of a [`StatusBatch`].
    pub batch: String,
    /// Signature over the text, base64.
    pub signature: String,
    /// The sender's certificate chain, PEM.
    pub certificate: String,
}

/// The envelope type a receipt is signed under.
pub const RECEIPT_TYPE: &str = "waybill.status-receipt.v1";

/// What the site did with a client's batch or inventory, signed with the key that signs policy: an access point that passes
/// them on can neither make one up nor use one again. Made only after a durable commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The client.
    pub sender: String,
    /// Digest of the exact text of the [`StatusBatch`] or of the inventory's report.
    pub batch: Digest,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// Everything in it is stored.
    Stored {
        /// Everything of the outbox up to this number is; the sender may forget it. Of an inventory, its own number.
        through: u64,
    },
    /// It will never be stored.
    Refused {
        /// For people.
        why: String,
    },
}

/// What became of a distribution point's messages, sent only after a durable commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusAck {
    /// The outbox the numbers belong to.
    pub outbox: String,
    /// Everything up to this number is stored; the sender may forget it.
    pub acked_through: u64,
}
