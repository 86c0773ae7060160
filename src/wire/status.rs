//! Status batches from clients, distribution points and client access points, and their acknowledgement: stored once,
//! in order, whoever relays them.

use serde::{Deserialize, Serialize};

use crate::model::message::StatusMessage;

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

/// What became of a batch, sent only after a durable commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusAck {
    /// The outbox the numbers belong to.
    pub outbox: String,
    /// Everything up to this number is stored; the sender may forget it.
    pub acked_through: u64,
}
