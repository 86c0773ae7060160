//! The distribution point: holds published package content and serves it to clients. The same code is built into every
//! site server and runs as `waybill dp`; only its way to the site differs ([`SiteEnd`]).
//!
//! `task` decides what is to be done with a version, `work` does it, `engine` follows the assignment, `report`
//! tells the site, [`serve`] answers clients. It decides nothing about who gets what.

pub mod remote;
pub mod serve;

mod catalog;
mod database;
mod drives;
mod engine;
mod look;
mod messages;
mod report;
mod store;
mod task;
mod trouble;
mod work;

use std::io::{self, Read};
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::engine::{Config, Dp};
pub use self::store::StoreError;
use crate::{
    content::{Digest, Manifest},
    wire::{
        points::{Assignment, PointReport},
        status::StatusAck,
    },
};

/// Why the site gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SiteEndError {
    /// Not now; try again.
    #[error("the site does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused, and says why.
    #[error("the site refused: {0}")]
    Refused(String),
}

/// A distribution point's way to its site: over the network, or in the same process.
pub trait SiteEnd: Send + Sync {
    /// What the point should hold, once it differs from the version `have`; `None` if it does not within `wait`.
    fn assignment(
        &self,
        have: Option<String>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<Assignment>, SiteEndError>>;
    /// Takes a report with its messages durably, and says up to where the messages are stored.
    fn report(&self, report: PointReport) -> BoxFuture<'_, Result<StatusAck, SiteEndError>>;
    /// The manifest of this digest, verified. Blocks; called outside the runtime's own threads.
    ///
    /// # Errors
    /// If the site cannot be reached or does not have it.
    fn manifest(&self, digest: &Digest) -> io::Result<Manifest>;
    /// Opens a file of the library from an offset on. Its bytes are verified by whoever reads them. Blocks.
    ///
    /// # Errors
    /// If the site cannot be reached or does not have it.
    fn open_file(&self, digest: &Digest, offset_bytes: u64) -> io::Result<Box<dyn Read>>;
}
