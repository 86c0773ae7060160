//! Keeps the Kubernetes API at what a directory or branch declares: watch, read, decide (`plan_sync`), apply, report.
//! One task, one pass at a time. Does not interpret the objects it applies.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use kube::{Client, ResourceExt as _, api::DynamicObject};
use serde_json::Value;
use tokio::{
    sync::{RwLock, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use super::start::SyncError;
pub use super::state::{HeldExport, RevisionState};
pub use super::watch::POLL_INTERVAL;
use super::{
    acknowledge::written_acknowledgements,
    apply::{self, WriteError},
    contradictions::contradictions,
    diagnostic::{Diagnostic, Severity},
    kinds::{Kinds, ObjectKey},
    ledger::{Ledger, Owned},
    live::{Live, LiveObject},
    load::Loaded,
    plan_sync::{self, Facts, Guard, Plan, Why},
    revision::{Reader, Revision, RevisionError, Source},
    state::{Declared, OwnSite, Written, bounded},
    told::{News, Told},
    turn::Turn,
    watch::Changes,
};
use crate::{clock, model::causes::chain, transport::kubernetes::in_words};

/// How often everything is compared even if nothing happened.
pub const RESYNC: Duration = Duration::from_secs(600);
/// Writes of one wave that are under way at once: the embedded store commits them as a group.
const CONCURRENCY: usize = 8;
/// An object must be missing from a directory for so long before it is removed: editors truncate before they write.
const SETTLE: Duration = Duration::from_secs(1);
/// First and longest pause after a write that may succeed later.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest pause after a refusal of the object itself, which only a change cures.
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// A directory that changes all the time is taken as it is after so many reads.
const READS_MAX: usize = 5;
/// How long to wait before looking again at a source that cannot be read.
const UNREADABLE: Duration = Duration::from_secs(2);

/// What a sync needs to know.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// Where manifests come from.
    pub source: Source,
    /// A directory for exports and the ledger, for this sync alone.
    pub state: PathBuf,
    /// The name of the sync, which labels its objects: a DNS label. Another sync of the same API needs another name.
    pub name: String,
    /// How often everything is compared although nothing happened.
    pub resync: Duration,
    /// How often the source is looked at beside the kernel's notices of changes; [`POLL_INTERVAL`] unless told otherwise.
    pub poll: Duration,
    /// Held for reading by those who compile from the objects, and by the sync while a revision is half written.
    pub compiling: Arc<RwLock<()>>,
}

/// Runs until `shutdown`. Fails only if it cannot begin; whatever happens later is reported in `revisions`.
pub async fn run(
    config: SyncConfig,
    client: Client,
    revisions: watch::Sender<RevisionState>,
    shutdown: CancellationToken,
) -> Result<(), SyncError> {
    let kinds = Arc::new(Kinds::of(&crate::api::crds()));
    let reader = Reader::new(config.source.clone(), &config.state, kinds.clone()).map_err(SyncError::State)?;
    let ledger = Ledger::open(&config.state.join("ledger.json"))?;
    revisions.send_modify(|state| state.applying = true);
    let live = Arc::new(Live::default());
    let mut sync = Sync {
        config,
        client: client.clone(),
        kinds: kinds.clone(),
        reader,
        ledger,
        live: live.clone(),
        revisions,
        failures: BTreeMap::new(),
        missing: BTreeMap::new(),
        settled_at: None,
        written: Written::default(),
        turn: Turn::default(),
        told: Told::default(),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = live.follow(client, kinds) => {}
        () = sync.work() => {}
    }
    Ok(())
}

/// Longest wait for those who compile from the objects before they are written.
const COMPILING_MAX: Duration = Duration::from_secs(30);

/// What the API server holds after a write, and the resourceVersion of that.
type WriteResult = Result<(LiveObject, u64), WriteError>;

/// A write that failed.
#[derive(Debug)]
struct Failure {
    diagnostics: Vec<Diagnostic>,
    attempts: u32,
    again_at: Instant,
}

struct Sync {
    config: SyncConfig,
    client: Client,
    kinds: Arc<Kinds>,
    reader: Reader,
    ledger: Ledger,
    live: Arc<Live>,
    revisions: watch::Sender<RevisionState>,
    failures: BTreeMap<ObjectKey, Failure>,
    /// Objects that are missing from the tree, and since when.
    missing: BTreeMap<ObjectKey, Instant>,
    /// When the first of those that are missing for too short a time may be removed.
    settled_at: Option<Instant>,
    /// See [`RevisionState::written`].
    written: Written,
    turn: Turn,
    told: Told,
}

impl Sync {
    async fn work(&mut self) {
        let mut changes: Option<Changes> = None;
        let mut look = true;
        loop {
            if changes.is_none() {
                changes = self.reader.changes(self.config.poll).await.ok();
            }
            let read = self.read(look, &mut changes).await;
            let again_at = self.pass(read).await;
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            look = tokio::select! {
                () = changed => true,
                () = tokio::time::sleep_until(again_at) => true,
                () = self.live.changed.notified() => false,
            }
        }
    }

    /// Reads the source; again if it changed meanwhile, but not for ever.
    async fn read(&mut self, look: bool, changes: &mut Option<Changes>) -> Result<Revision, RevisionError> {
        let mut read = self.reader.read(look).await;
        let Some(changes) = changes.as_mut().filter(|_| look) else { return read };
        for _ in 1..READS_MAX {
            if !changes.interrupted().await {
                break;
            }
            read = self.reader.read(look).await;
        }
        read
    }

    /// Brings the API to what was read and reports. Answers when to look again at the latest.
    async fn pass(&mut self, read: Result<Revision, RevisionError>) -> Instant {
        let revision = match read {
            Ok(revision) => revision,
            Err(error) => return self.report_unreadable(&error),
        };
        if !self.live.is_complete() {
            // The first listing ends with a notice; an API that cannot be reached is looked for again.
            return Instant::now() + UNREADABLE;
        }
        let plan = self.decide(&revision);
        if self.revisions.borrow().revision != revision.id || plan.has_writes() {
            self.begin(&revision).await;
        }
        self.carry_out(&plan, &revision).await;
        self.report(&revision, plan);
        self.next_look()
    }

    /// From here on nobody compiles from the objects, until whoever follows the sync has seen all of the revision.
    async fn begin(&mut self, revision: &Revision) {
        let declared = Declared(revision.manifests.clone());
        self.revisions.send_if_modified(|state| {
            let begins = !state.applying || state.revision != revision.id || state.declared != declared;
            (state.applying, state.revision, state.declared) = (true, revision.id.clone(), declared);
            begins
        });
        self.turn = self.turn.next(&self.config.compiling, COMPILING_MAX).await;
    }

    fn decide(&mut self, revision: &Revision) -> Plan {
        let now = Instant::now();
        if self.revisions.borrow().revision != revision.id {
            // A new revision may cure what failed in the last one.
            self.failures.clear();
        }
        let declared = |key: &ObjectKey| revision.manifests.objects.iter().any(|loaded| loaded.key == *key);
        self.failures.retain(|key, _| self.ledger.objects.contains_key(key) || declared(key));
        let pausing = self.failures.iter().filter(|(_, failure)| failure.again_at > now);
        let pausing: BTreeSet<ObjectKey> = pausing.map(|(key, _)| key.clone()).collect();
        let in_mid_edit = self.reader.may_be_in_mid_edit();
        let (missing, settled_at, live) = (&mut self.missing, &mut self.settled_at, &self.live);
        let plan = live.with(|live| {
            let acknowledged: Vec<String> = written_acknowledgements(live);
            let mut facts = Facts {
                sync: &self.config.name,
                revision: &revision.id,
                manifests: &revision.manifests,
                ledger: &self.ledger.objects,
                live,
                acknowledged: &acknowledged,
                pausing: &pausing,
                unsettled: &BTreeSet::new(),
            };
            let vanished = plan_sync::vanished(&facts);
            missing.retain(|key, _| vanished.contains(key));
            for key in vanished {
                missing.entry(key).or_insert(now);
            }
            let young = missing.iter().filter(|(_, since)| in_mid_edit && now.duration_since(**since) < SETTLE);
            *settled_at = young.clone().map(|(_, since)| *since + SETTLE).min();
            let unsettled: BTreeSet<ObjectKey> = young.map(|(key, _)| key.clone()).collect();
            facts.unsettled = &unsettled;
            plan_sync::plan(&facts, &self.kinds)
        });
        // What failed and is not tried again now is no longer asked for, or somebody else is at it.
        let applied = plan.apply.iter().flatten().map(|(index, _)| &revision.manifests.objects[*index].key);
        let tried: BTreeSet<&ObjectKey> = applied.chain(plan.remove.iter().map(|(key, _)| key)).collect();
        self.failures.retain(|key, _| pausing.contains(key) || tried.contains(key));
        plan
    }

    async fn carry_out(&mut self, plan: &Plan, revision: &Revision) {
        let before = self.ledger.objects.clone();
        if plan.has_writes() {
            self.written = Written::default();
        }
        for namespace in &plan.namespaces {
            if let Err(error) = apply::ensure_namespace(&self.client, namespace).await {
                tracing::warn!(namespace, error = in_words(&error), "git sync could not create a namespace");
            }
        }
        for wave in &plan.apply {
            let writes: Vec<_> = wave.iter().map(|(index, why)| self.write(revision, *index, *why)).collect();
            let results: Vec<_> = stream::iter(writes).buffer_unordered(CONCURRENCY).collect().await;
            for (index, result) in results {
                self.note_applied(&revision.manifests.objects[index], result);
            }
        }
        for (key, uid) in &plan.remove {
            tracing::info!(object = %key, revision = revision.id, "git sync removes");
            let Some(kind) = self.kinds.get(&key.kind) else { continue };
            match apply::delete(&self.client, kind, key, uid).await {
                Ok(()) => {
                    self.live.leaves(key, uid);
                    self.failures.remove(key);
                    self.ledger.objects.remove(key);
                    self.written.removed.insert(key.clone());
                }
                Err(error) => {
                    let text = |message| format!("{key} could not be removed: {message}");
                    let told = |(_, message)| Diagnostic::of_file(Severity::Error, "", text(message));
                    let complaints = apply::complaints(&error, &Value::Null, &Value::Null);
                    self.note_failure(key, &error, complaints.into_iter().map(told).collect());
                }
            }
        }
        plan.forget.iter().for_each(|key| drop(self.ledger.objects.remove(key)));
        if plan.guard.is_none() {
            self.ledger.objects.values_mut().for_each(|owned| owned.settled = true);
        }
        if self.ledger.objects != before
            && let Err(error) = self.ledger.save()
        {
            tracing::error!(%error, "the sync ledger could not be written; it is rebuilt from labels if it is lost");
        }
    }

    /// One write, which borrows nothing so that several can be under way.
    fn write(&self, revision: &Revision, index: usize, why: Why) -> BoxFuture<'static, (usize, WriteResult)> {
        let (client, kinds, manifests) = (self.client.clone(), self.kinds.clone(), revision.manifests.clone());
        let (sync, id) = (self.config.name.clone(), revision.id.clone());
        let write = async move {
            let loaded = &manifests.objects[index];
            tracing::debug!(object = %loaded.key, ?why, "git sync applies");
            let Some(kind) = kinds.get(&loaded.key.kind) else { return (index, Err(WriteError::Timeout)) };
            let applied = apply::apply(&client, kind, &loaded.key, &apply::desired(loaded, &sync, &id)).await;
            let version = |object: &DynamicObject| object.resource_version()?.parse().ok();
            (index, applied.map(|object| (LiveObject::of(&object), version(&object).unwrap_or_default())))
        };
        write.boxed()
    }

    fn note_applied(&mut self, loaded: &Loaded, result: WriteResult) {
        match result {
            Ok((live, version)) => {
                self.written.note(&loaded.key.kind, version);
                self.failures.remove(&loaded.key);
                let settled = self.ledger.objects.get(&loaded.key).is_some_and(|owned| owned.settled);
                self.ledger.objects.insert(loaded.key.clone(), Owned::applied(loaded, &live, settled));
                self.live.put(loaded.key.clone(), live);
            }
            Err(error) => {
                let kind = self.kinds.get(&loaded.key.kind);
                let schema = kind.map_or(&Value::Null, |kind| &kind.schema);
                let complaints = apply::complaints(&error, schema, &loaded.object);
                let told = |(field, message): (String, String)| loaded.diagnose(Severity::Error, &field, message);
                self.note_failure(&loaded.key, &error, complaints.into_iter().map(told).collect());
            }
        }
    }

    fn note_failure(&mut self, key: &ObjectKey, error: &WriteError, diagnostics: Vec<Diagnostic>) {
        let attempts = self.failures.get(key).map_or(0, |failure| failure.attempts);
        let (first, longest) = if error.is_refusal() { REFUSED } else { RETRY };
        let pause = first.saturating_mul(1_u32 << attempts.min(10)).min(longest);
        tracing::debug!(object = %key, error = %chain(error), "a write of git sync failed");
        let failure = Failure { diagnostics, attempts: attempts + 1, again_at: Instant::now() + pause };
        self.failures.insert(key.clone(), failure);
    }

    fn report(&mut self, revision: &Revision, plan: Plan) {
        let mut diagnostics = revision.manifests.diagnostics.clone();
        diagnostics.extend(self.live.with(|live| contradictions(&revision.manifests, &|key| live.contains_key(key))));
        diagnostics.extend(self.failures.values().flat_map(|failure| failure.diagnostics.clone()));
        let state = RevisionState {
            revision: revision.id.clone(),
            applying: false,
            applied_at: None,
            root: revision.root.clone(),
            export: revision.export.clone().map(HeldExport),
            declared: Declared(revision.manifests.clone()),
            written: self.written.clone(),
            turn: self.turn.clone(),
            own_site: self
                .live
                .with(|live| OwnSite::of(&self.config.name, &revision.manifests, &self.ledger.objects, live)),
            objects: self.ledger.objects.len(),
            diagnostics: bounded(diagnostics),
            guard: plan.guard,
            problem: None,
        };
        self.publish(state);
    }

    /// A source that cannot be read says nothing about what is declared: everything stays, and says so.
    fn report_unreadable(&mut self, error: &RevisionError) -> Instant {
        self.missing.clear();
        let removals: Vec<ObjectKey> = self.ledger.objects.keys().cloned().collect();
        let owned = removals.len();
        let guard = (owned > 0).then_some(Guard { revision: None, removals, owned });
        let state =
            RevisionState { applying: false, guard, problem: Some(chain(error)), ..self.revisions.borrow().clone() };
        self.publish(state);
        Instant::now() + UNREADABLE
    }

    /// Publishes what differs from what was published, the time of applying left out of the comparison.
    fn publish(&mut self, mut state: RevisionState) {
        self.told.news(&state).iter().for_each(News::log);
        self.revisions.send_if_modified(|published| {
            let same = published.revision == state.revision && published.applied_at.is_some();
            let unchanged = same && published.root == state.root && !published.applying;
            state.applied_at = match (&state.problem, unchanged) {
                (None, false) => Some(clock::now()),
                _ => published.applied_at,
            };
            let differs = *published != state;
            if differs {
                published.clone_from(&state);
            }
            differs
        });
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let retries = self.failures.values().map(|failure| failure.again_at);
        retries.chain(self.settled_at).fold(now + self.config.resync, Instant::min)
    }
}
