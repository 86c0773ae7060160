//! The client access point: where clients read policy and leave status. The same code is built into every site server
//! and runs as `waybill cap`; only where status goes differs.
//!
//! [`published`] is what clients read, [`routes`] how they read it, [`relay`] how a separate access point passes on what
//! they leave, [`encoded`] what a snapshot is between site and access point. It decides nothing about targeting, and it
//! cannot forge: policy is signed by the site, status by clients.

pub mod encoded;
mod heard;
pub mod published;
pub mod relay;
pub mod routes;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, watch};

use self::{heard::HeardOf, published::Published};
use crate::trust::envelope::Envelope;
use crate::wire::{
    access::{BadContent, Heard},
    inventory::SignedInventory,
    status::SignedBatch,
};

/// Long polls open at the same time at most; beyond it a poll is answered at once and the client comes back at its
/// interval.
pub const LONG_POLLS_MAX: usize = 10_000;

/// Why something a client left was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It will never be taken: the text says why.
    #[error("{0}")]
    Invalid(String),
    /// Not by this sender.
    #[error("{0}")]
    Forbidden(String),
    /// Not now: full, cut off, busy. The sender keeps it and tries again.
    #[error("{0}")]
    Unavailable(String),
}

/// Where an access point takes what clients leave: the site's own database, or the site over the network.
pub trait Upstream: Send + Sync {
    /// Stores a batch durably, once, or refuses it for good; either is said by a `status::Receipt` that the site signed.
    fn status(&self, client: String, batch: SignedBatch) -> BoxFuture<'_, Result<Envelope, Refusal>>;
    /// Stores a client's inventory durably, or refuses it for good; either is said by a `status::Receipt`.
    fn inventory(&self, client: String, inventory: SignedInventory) -> BoxFuture<'_, Result<Envelope, Refusal>>;
    /// Takes a complaint about bytes that a distribution point delivered.
    fn bad_content(&self, client: String, complaint: BadContent) -> BoxFuture<'_, Result<(), Refusal>>;
    /// Notes which clients polled.
    fn heard(&self, heard: Heard) -> BoxFuture<'_, Result<(), Refusal>>;
}

/// A client access point.
#[derive(Clone)]
pub struct Cap {
    published: watch::Receiver<Arc<Published>>,
    upstream: Arc<dyn Upstream>,
    long_polls: Arc<Semaphore>,
    heard: Arc<HeardOf>,
}

impl Cap {
    /// Serves what is published, and takes what clients leave to `upstream`.
    #[must_use]
    pub fn new(published: watch::Receiver<Arc<Published>>, upstream: Arc<dyn Upstream>) -> Self {
        Self { published, upstream, long_polls: Arc::new(Semaphore::new(LONG_POLLS_MAX)), heard: Arc::default() }
    }

    /// Tells upstream which clients poll, until the task is dropped.
    pub async fn tell_who_polls(self) {
        self.heard.tell(&*self.upstream).await;
    }
}

#[cfg(test)]
mod tests;
