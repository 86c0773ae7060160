//! What all parts of the agent hold together: state, the line to the site, and the bells they ring for each other. It
//! decides nothing.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    attempts::Attempts,
    config::LocalConfig,
    content::Cache,
    link::Link,
    messages::{self, About},
    narrate,
    outbox::Report,
    run::Launcher,
    session::Session,
    store::{Standing, Store, StoreError},
};
use crate::{
    clock,
    content::anchor::{Anchor, Lost},
    content::digest::Digest,
    model::{identity::ProgramIdentity, message::Severity, reason::Reason},
    trust::device::DeviceKey,
};

/// What all parts of the agent share.
pub struct Shared {
    /// State directory.
    pub state: PathBuf,
    /// What has to stay where it is in the state directory.
    pub(super) anchors: [Anchor; 2],
    /// One of them was found to be lost.
    pub(super) lost: Notify,
    /// The owner's configuration.
    pub config: LocalConfig,
    /// Database.
    pub store: Store,
    /// Access points that gave something the site never signed, and in which way; each is told of once.
    pub(super) distrusted: Mutex<BTreeSet<(String, Reason)>>,
    /// Line to the site.
    pub link: Link,
    /// Content cache.
    pub cache: Cache,
    /// Who this client is; replaced when the certificate is renewed.
    pub(super) session: Mutex<Arc<Session>>,
    /// The device's key, which stays.
    pub(super) key: DeviceKey,
    /// How supervisors are started.
    pub launcher: Launcher,
    /// Something changed: look at the offers.
    pub wake: Notify,
    /// Something is in the outbox.
    pub outbox: Notify,
    /// Poll now.
    pub poll: Notify,
    /// Read the inventory now.
    pub inventory: Notify,
    /// Held by the one who tidies.
    pub(super) tidying: Mutex<()>,
    /// Programs being prepared or run by this process, and pauses after failures.
    pub(super) programs: Attempts<ProgramIdentity>,
    /// Package records being fetched, and pauses after failures.
    pub(super) records: Attempts<Digest>,
}

impl Shared {
    /// Who this client is.
    #[must_use]
    pub fn session(&self) -> Arc<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the state directory is still the one that was opened. If not, the agent ends, and nothing more is begun.
    pub(super) fn has_state(&self) -> bool {
        let has = self.anchors.iter().all(|anchor| anchor.check().is_ok());
        if !has {
            self.lost.notify_one();
        }
        has
    }

    /// Waits until somebody who asked found that it is not.
    pub(super) async fn lost(&self) -> Lost {
        loop {
            if let Some(lost) = self.anchors.iter().find_map(|anchor| anchor.check().err()) {
                return lost;
            }
            self.lost.notified().await;
        }
    }

    /// Leaves an access point that gave something the site never signed, and says so, once for each.
    pub(super) fn distrust(&self, url: &str, reason: Reason, text: &str) {
        tracing::error!(%url, text, "an access point is not to be believed; asking another one");
        self.link.leave(url);
        if !self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).insert((url.to_owned(), reason)) {
            return;
        }
        let text = format!("access point {url}: {text}");
        match self.store.say(&messages::general(Severity::Error, reason, text, clock::now())) {
            Ok(_) => self.outbox.notify_one(),
            Err(error) => tracing::error!(%error, "an access point could not be complained about"),
        }
    }

    /// Puts a report into the outbox, once for every change.
    pub(super) fn say(&self, about: About, standing: Standing, detail: &str) -> Result<(), StoreError> {
        self.say_until(about, standing, detail, None)
    }

    /// As [`Shared::say`]; the log also tells when a wait ends by the clock.
    pub(super) fn say_until(
        &self,
        about: About,
        standing: Standing,
        detail: &str,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.say_report(&about.report(standing, detail, clock::now()), until)
    }

    /// As [`Shared::say_until`], of a report that is made already.
    pub(super) fn say_report(&self, report: &Report, until: Option<Timestamp>) -> Result<(), StoreError> {
        if self.store.say(report)? {
            narrate::standing(&report.message, until);
            self.outbox.notify_one();
        }
        Ok(())
    }
}
