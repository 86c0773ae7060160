//! The distribution point at work: it follows what the site wants, starts the work that is due, several at once and
//! bounded, and goes on serving what it has while the site is away.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use axum::Router;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    SiteEnd,
    catalog::{Catalog, Job, Record, Wanted},
    drives::Drives,
    look, report,
    serve::{self, Indexes},
    store::{Store, StoreError},
    task::{Due, Task, due},
    work,
};
use crate::{
    clock,
    content::Digest,
    model::causes::chain,
    wire::points::{Assignment, VersionRef},
};

/// Versions copied, checked or removed at the same time: four fill a line and leave room for clients.
const COPIES_MAX: u32 = 4;
/// Versions scrubbed at the same time: a scrub reads a whole disk and must not push clients aside.
const SCRUBS_MAX: u32 = 1;
/// How long a poll for the assignment waits at the site.
const POLL_WAIT: Duration = Duration::from_secs(55);
/// Pause after a failed poll, doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause: a site that is back is noticed within half a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Everything is looked at this often without any event: clocks step, drives come back.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Drives that are full or not there are looked at this often: space that was freed is used soon.
const SPACE_INTERVAL: Duration = Duration::from_secs(2);
/// How long running work may take to end when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a distribution point is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, that of its `DistributionPoint`.
    pub name: String,
    /// Where clients reach it.
    pub url: String,
    /// Directory for its database, and for content when no drive is named. This process alone uses it.
    pub state: PathBuf,
}

/// A distribution point.
#[derive(Clone)]
pub struct Dp {
    shared: Arc<Shared>,
}

/// What all its parts share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) site: Arc<dyn SiteEnd>,
    pub(super) store: Store,
    pub(super) drives: Drives,
    pub(super) indexes: Indexes,
    catalog: Mutex<Catalog>,
    /// There may be work to begin.
    wake: Notify,
    /// The site should hear.
    pub(super) changed: Notify,
    copies: Arc<Semaphore>,
    scrubs: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a version's record, if it is still of interest, and tells the site.
    pub(super) fn update(&self, version: &VersionRef, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.catalog().records.get_mut(version) {
            change(record);
        }
        self.changed.notify_one();
    }

    /// Something of this content could not be served: it is verified, and repaired if it is not sound.
    pub(super) fn suspect(&self, content: &Digest) {
        self.catalog().suspect(content);
        self.wake.notify_one();
    }

    /// Forgets a version that nobody assigned and that is gone now.
    pub(super) fn drop_record(&self, version: &VersionRef) {
        let mut catalog = self.catalog();
        if matches!(catalog.wanted.get(version), Some(Wanted::Nobody { .. })) {
            catalog.wanted.remove(version);
            catalog.records.remove(version);
        } else if let Some(record) = catalog.records.get_mut(version) {
            *record = Record::default();
        }
        drop(catalog);
        self.changed.notify_one();
    }
}

impl Dp {
    /// Opens its state. What it held is served as soon as [`Dp::run`] runs, whether the site answers or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(config: Config, site: Arc<dyn SiteEnd>) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&config.state).map_err(StoreError::Directory)?;
        let store = Store::open(&config.state.join("dp.db"))?;
        let shared = Shared {
            name: config.name,
            url: config.url,
            site,
            store,
            drives: Drives::new(config.state.join("content")),
            indexes: Indexes::default(),
            catalog: Mutex::default(),
            wake: Notify::new(),
            changed: Notify::new(),
            copies: Arc::new(Semaphore::new(COPIES_MAX as usize)),
            scrubs: Arc::new(Semaphore::new(SCRUBS_MAX as usize)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What clients ask of it.
    pub fn router(&self) -> Router {
        serve::router(self.shared.clone())
    }

    /// Works until `shutdown` is cancelled; then running copies end where they are and are resumed next time.
    pub async fn run(self, shutdown: CancellationToken) {
        let shared = &self.shared;
        let _cancel = CancelOnDrop(shared);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow(shared) => {}
            () = dispatch(shared) => {}
            () = report::run(shared) => {}
        }
        shared.catalog().cancel(|_, _| true);
        // Whoever holds a permit still writes; it ends at its next file.
        let _ = tokio::time::timeout(STOP_TIMEOUT, idle(shared)).await;
    }
}

/// Ends copies also when the future of [`Dp::run`] is dropped: they would keep the process alive.
struct CancelOnDrop<'a>(&'a Shared);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.catalog().cancel(|_, _| true);
    }
}

/// Waits until no work is under way, and keeps it so.
pub(super) async fn idle(shared: &Shared) -> [Option<OwnedSemaphorePermit>; 2] {
    // The semaphores are never closed.
    let copies = shared.copies.clone().acquire_many_owned(COPIES_MAX).await.ok();
    let scrubs = shared.scrubs.clone().acquire_many_owned(SCRUBS_MAX).await.ok();
    [copies, scrubs]
}

/// Follows the site's assignment, from the one kept on disk on.
async fn follow(shared: &Arc<Shared>) {
    let mut have = None;
    match shared.store.assignment() {
        Ok(Some(kept)) => {
            have = Some(kept.version.clone());
            accept(shared, kept).await;
        }
        Ok(None) => {}
        Err(error) => tracing::error!(error = %chain(&error), "the kept assignment cannot be read"),
    }
    let mut pause = RETRY_FIRST;
    loop {
        let trouble = match shared.site.assignment(have.clone(), POLL_WAIT).await {
            Ok(None) => None,
            Ok(Some(assignment)) => match remember(shared, &assignment) {
                Ok(()) => {
                    have = Some(assignment.version.clone());
                    accept(shared, assignment).await;
                    None
                }
                Err(why) => Some(why),
            },
            Err(error) => Some(chain(&error)),
        };
        match trouble {
            None if pause > RETRY_FIRST => {
                // The site is back: what failed for want of it need not wait.
                pause = RETRY_FIRST;
                shared.catalog().records.values_mut().for_each(|record| record.retry_at_ms = 0);
                shared.wake.notify_one();
            }
            None => {}
            Some(why) => {
                shared.changed.notify_one(); // The site should hear what could not be kept here.
                tracing::warn!(%why, "no assignment from the site; going on with the last one");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Keeps an assignment, unless it is of an epoch that is over: of a restored backup, or of a second site server.
fn remember(shared: &Shared, assignment: &Assignment) -> Result<(), String> {
    let text = |error: StoreError| chain(&error);
    let seen = shared.store.epoch().map_err(text)?;
    if assignment.epoch < seen {
        let epoch = assignment.epoch;
        return Err(format!("the site speaks for epoch {epoch}, and {seen} was seen; its assignment is refused"));
    }
    shared.store.keep_assignment(assignment).map_err(text)
}

/// Makes an assignment the one that is worked on.
pub(super) async fn accept(shared: &Arc<Shared>, assignment: Assignment) {
    let now_ms = clock::now_unix_ms();
    let scrub_asked_ms = scrub_asked(shared, &assignment, now_ms);
    let found = if shared.drives.need_opening(&assignment.drives) {
        if shared.drives.differ(&assignment.drives) {
            shared.catalog().cancel(|_, _| true);
        }
        look::open_drives(shared, assignment.drives.clone()).await
    } else {
        None
    };
    let gone = {
        let mut catalog = shared.catalog();
        catalog.scrub_asked_ms = scrub_asked_ms;
        let gone = catalog.assign(assignment, found, now_ms);
        for (version, record) in &mut catalog.records {
            match shared.store.notes(version) {
                Ok(notes) => record.notes = notes,
                Err(error) => tracing::error!(error = %chain(&error), "a version's notes cannot be read"),
            }
        }
        gone
    };
    for version in gone {
        if let Err(error) = shared.store.forget(&version, &[]) {
            tracing::error!(error = %chain(&error), "a version cannot be forgotten");
        }
    }
    shared.changed.notify_one();
    shared.wake.notify_one();
}

/// When a scrub was last asked for. The first token of a new point asks for nothing: everything is fresh.
fn scrub_asked(shared: &Shared, assignment: &Assignment, now_ms: i64) -> i64 {
    let kept = shared.store.scrub_token().unwrap_or_default();
    match (&assignment.scrub_token, kept) {
        (Some(token), Some((kept, at_ms))) if *token == kept => at_ms,
        (None, kept) => kept.map_or(0, |(_, at_ms)| at_ms),
        (Some(token), _) => {
            if let Err(error) = shared.store.keep_scrub_token(token, now_ms) {
                tracing::error!(error = %chain(&error), "a scrub request cannot be remembered");
            }
            now_ms
        }
    }
}

/// Starts what is due, and looks again when something may be.
async fn dispatch(shared: &Arc<Shared>) {
    let mut looked = Instant::now();
    loop {
        if shared.drives.have_moved() || looked.elapsed() >= LOOK_INTERVAL {
            look::at_drives(shared).await;
            looked = Instant::now();
        }
        let now_ms = clock::now_unix_ms();
        look::for_space(shared);
        let wait = begin_due(shared, now_ms);
        tokio::select! {
            () = shared.wake.notified() => {}
            // None is open: another process may have let go of one.
            () = tokio::time::sleep(wait) => if shared.drives.publisher().is_err() { look::at_drives(shared).await },
        }
    }
}

/// Begins what is due as far as permits go; gives the time until the next look.
fn begin_due(shared: &Arc<Shared>, now_ms: i64) -> Duration {
    // A drive that is not the one that was opened is opened anew, once what runs has ended.
    if shared.drives.have_moved() {
        return SPACE_INTERVAL;
    }
    let mut catalog = shared.catalog();
    let scrubbing = catalog.scrubbing();
    let mut next = if shared.drives.are_sound() { LOOK_INTERVAL } else { SPACE_INTERVAL };
    let mut ready: Vec<(Task, VersionRef, Wanted)> = Vec::new();
    for (version, record) in &catalog.records {
        let Some(wanted) = catalog.wanted.get(version) else { continue };
        if record.full_at_bytes.is_some() {
            next = next.min(SPACE_INTERVAL);
        }
        match due(wanted, record, scrubbing, now_ms) {
            Due::Now(task) => ready.push((task, version.clone(), wanted.clone())),
            Due::At(at_ms) => next = next.min(Duration::from_millis((at_ms - now_ms).max(1).cast_unsigned())),
            Due::Idle => {}
        }
    }
    ready.sort_by_key(|(task, ..)| *task);
    for (task, version, wanted) in ready {
        if catalog.busy.contains_key(&version.package) {
            continue;
        }
        let permits = if task == Task::Scrub { &shared.scrubs } else { &shared.copies };
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = Job { version: version.clone(), cancelled: cancelled.clone() };
        catalog.busy.insert(version.package.clone(), job);
        begin(shared.clone(), task, version, wanted, cancelled, permit);
    }
    next
}

fn begin(
    shared: Arc<Shared>,
    task: Task,
    version: VersionRef,
    wanted: Wanted,
    cancelled: Arc<AtomicBool>,
    permit: OwnedSemaphorePermit,
) {
    tokio::spawn(async move {
        let (working, subject) = (shared.clone(), version.clone());
        let done = tokio::task::spawn_blocking(move || work::run(&working, task, &subject, &wanted, &cancelled)).await;
        if let Err(error) = done {
            tracing::error!(%error, package = %version.package, "work on a version ended badly");
            let retry_at_ms = clock::now_unix_ms() + 60_000;
            shared.update(&version, |record| record.retry_at_ms = retry_at_ms);
        }
        shared.catalog().busy.remove(&version.package);
        drop(permit);
        shared.wake.notify_one();
    });
}
