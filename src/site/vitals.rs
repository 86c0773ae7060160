//! What a site server knows of its own health: whether it may act, is assembled, reaches its database, and sees what is declared.
//! Without a word about what the site's machines and software are called. How it is asked is in [`super::health`].

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use super::{tenure::Tenure, watched::Watched};
use crate::{apiserver::ApiServer, controller::context::Evaluated, db::Database};

/// A database that answers nothing for so long is not well.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// With less free than this, the next write may be the one that is refused.
const FREE_BYTES_MIN: u64 = 1 << 20;

/// One check: its name, and what is wrong if it does not pass.
pub(super) type Check = (&'static str, Result<(), String>);

/// Clones are one.
#[derive(Clone)]
pub(super) struct Vitals(Arc<Mutex<Stage>>);

#[derive(Clone)]
enum Stage {
    /// Another instance may be acting.
    Waits,
    Starts,
    Serves(Organs),
}

/// What an assembled site is asked about.
#[derive(Clone)]
pub(super) struct Organs {
    pub(super) database: Database,
    /// The embedded API, whose objects lie beside the database; none beside a cluster.
    pub(super) api: Option<ApiServer>,
    /// The directory they lie in.
    pub(super) state: PathBuf,
    pub(super) tenure: Tenure,
    pub(super) evaluated: watch::Receiver<Arc<Evaluated>>,
    /// Of a site beside a cluster.
    pub(super) watched: Option<Watched>,
}

impl Vitals {
    /// Of a process that has just begun.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::Waits)))
    }

    /// Nobody else acts.
    pub(super) fn starts(&self) {
        self.put(Stage::Starts);
    }

    /// Everything is there.
    pub(super) fn serves(&self, organs: Organs) {
        self.put(Stage::Serves(organs));
    }

    fn put(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database, once it is open.
    pub(super) fn database(&self) -> Option<Database> {
        match self.stage() {
            Stage::Serves(organs) => Some(organs.database),
            Stage::Waits | Stage::Starts => None,
        }
    }

    /// Whether the site can be asked for anything.
    pub(super) async fn readiness(&self) -> Vec<Check> {
        let organs = match self.stage() {
            Stage::Waits => {
                return vec![("lease", Err("waits for the site's Lease; another instance may hold it".into()))];
            }
            Stage::Starts => return vec![("lease", Ok(())), ("start", Err("starts".into()))],
            Stage::Serves(organs) => organs,
        };
        let lease = organs.tenure.holds().then_some(()).ok_or("the site's Lease ran out: the process ends");
        let no_answer = |_| Err(format!("no answer in {} s", ANSWER_MAX.as_secs()));
        let database = timeout(ANSWER_MAX, organs.database.writable()).await.map_or_else(no_answer, |answer| {
            answer.map_err(|error| format!("it refuses writes: {:#}", anyhow::Error::from(error)))
        });
        let evaluated = organs.evaluated.borrow().complete;
        let objects = evaluated.then_some(()).ok_or("not everything that is declared was seen and evaluated yet");
        let mut checks = vec![
            ("lease", lease.map_err(str::to_owned)),
            ("start", Ok(())),
            ("disk", disk(&organs.state)),
            ("database", database),
        ];
        if let Some(api) = &organs.api {
            checks.push(("api", timeout(ANSWER_MAX, api.writable()).await.unwrap_or_else(no_answer)));
        }
        checks.extend([
            ("objects", objects.map_err(str::to_owned)),
            ("watches", organs.watched.as_ref().map_or(Ok(()), Watched::heard)),
        ]);
        checks
    }

    /// Whether it would help to start it again.
    pub(super) fn liveness(&self) -> Vec<Check> {
        let watches = match self.stage() {
            Stage::Waits | Stage::Starts => Ok(()),
            Stage::Serves(organs) => organs.watched.as_ref().map_or(Ok(()), Watched::unwedged),
        };
        vec![("ping", Ok(())), ("watches", watches)]
    }
}

/// A site that cannot write still answers, and is no better off if it is started anew: it is alive, but not ready.
fn disk(state: &Path) -> Result<(), String> {
    let free = rustix::fs::statvfs(state).map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize));
    if free.is_ok_and(|bytes| bytes < FREE_BYTES_MIN) {
        return Err("the disk of the state directory is full".to_owned());
    }
    Ok(())
}
