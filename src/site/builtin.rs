//! The site as its built-in distribution point sees it: the same questions as over the network, answered in the process.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;

use super::{intake::Intake, points::Points};
use crate::{
    content::{Digest, Library, Manifest},
    dp::{SiteEnd, SiteEndError},
    wire::{
        points::{Assignment, PointReport},
        status::StatusAck,
    },
};

/// The built-in point's way to its site.
pub(super) struct Builtin {
    /// Name of its `DistributionPoint`.
    pub(super) name: String,
    pub(super) points: Points,
    pub(super) intake: Intake,
    pub(super) library: Arc<Library>,
}

impl SiteEnd for Builtin {
    fn assignment(
        &self,
        have: Option<String>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<Assignment>, SiteEndError>> {
        Box::pin(async move {
            let next = self.points.next(&self.name, have.as_deref(), wait).await;
            let assignment = next.map_err(|error| SiteEndError::Unavailable(Box::new(error)))?;
            Ok((have.as_deref() != Some(assignment.version.as_str())).then_some(assignment))
        })
    }

    fn report(&self, report: PointReport) -> BoxFuture<'_, Result<StatusAck, SiteEndError>> {
        Box::pin(async move {
            let taken = self.intake.report(&self.name, report).await;
            taken.map_err(|refusal| SiteEndError::Unavailable(Box::new(refusal)))
        })
    }

    fn manifest(&self, digest: &Digest) -> io::Result<Manifest> {
        self.library.manifest(digest).map_err(io::Error::other)
    }

    fn open_file(&self, digest: &Digest, offset_bytes: u64) -> io::Result<Box<dyn Read>> {
        self.library.open_from(digest, offset_bytes)
    }
}
