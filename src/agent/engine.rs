//! The agent's heart: looks at every offer, asks [`crate::plan::run`] what to do, and does it. Runs go on in tasks and
//! supervisor processes; this loop only decides, and is told when something changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{
    AgentError,
    config::LocalConfig,
    content::Cache,
    link::Link,
    messages::About,
    policy::{self, Policy},
    run::Launcher,
    session::Session,
    store::{Request, Store},
};
use crate::{
    clock,
    content::digest::Digest,
    model::{identity::ProgramIdentity, platform::Platform, reason::Reason, state::RunState},
    plan::run::{Decision, Facts, Occurrence, decide},
    trust::envelope::Envelope,
    wire::{policy::Offer, record::PackageRecord},
};

/// The loop looks at everything this often without any event: clocks step, disks fill.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// First pause after content or a start failed; doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// SMS's own pause when no distribution point could be reached (domain.md §1.11).
const RETRY_MAX: Duration = Duration::from_secs(600);

/// What all parts of the agent share.
pub struct Shared {
    /// State directory.
    pub state: std::path::PathBuf,
    /// The owner's configuration.
    pub config: LocalConfig,
    /// Database.
    pub store: Store,
    /// Line to the site.
    pub link: Arc<Link>,
    /// Content cache.
    pub cache: Cache,
    /// Who this client is.
    pub session: Session,
    /// How supervisors are started.
    pub launcher: Launcher,
    /// Something changed: look at the offers.
    pub wake: Notify,
    /// Something is in the outbox.
    pub outbox: Notify,
    /// Poll now.
    pub poll: Notify,
    /// Programs being prepared or run, and pauses after failures.
    pub(super) under_way: Mutex<HashMap<ProgramIdentity, UnderWay>>,
}

/// What is going on with a program that the history does not tell.
#[derive(Clone, Debug)]
pub(super) enum UnderWay {
    /// Content is being fetched or the supervisor started, or it runs.
    Busy,
    /// It failed before it could start; tried again at this time.
    Paused { failures: u32, until: Timestamp, state: RunState, reason: Reason },
}

/// Where an offer stood when it was last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) state: RunState,
    pub(super) reason: Reason,
}

/// Topic of the standings in the store.
pub(super) const STANDINGS: &str = "standings";
/// Topic of the verified policy in the store.
pub(super) const POLICY: &str = "policy";

pub(super) type Standings = BTreeMap<String, Standing>;

impl Shared {
    pub(super) fn under_way(&self) -> std::sync::MutexGuard<'_, HashMap<ProgramIdentity, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports where an offer stands, once for every change.
    pub(super) fn stand(&self, about: About, key: &str, standing: Standing, detail: &str) -> Result<(), AgentError> {
        let mut standings: Standings = self.store.get(STANDINGS)?.unwrap_or_default();
        if standings.get(key) == Some(&standing) {
            return Ok(());
        }
        self.store.enqueue(&about.state(standing.state, standing.reason, detail, clock::now()))?;
        standings.insert(key.to_owned(), standing);
        self.store.put(STANDINGS, &standings)?;
        self.outbox.notify_one();
        Ok(())
    }

    /// Notes a pause after a failure before the start.
    pub(super) fn pause(&self, program: &ProgramIdentity, state: RunState, reason: Reason) {
        let mut under_way = self.under_way();
        let failures = match under_way.get(program) {
            Some(UnderWay::Paused { failures, .. }) => failures + 1,
            _ => 0,
        };
        let pause = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
        let until = clock::now().saturating_add(pause).unwrap_or(Timestamp::MAX);
        under_way.insert(program.clone(), UnderWay::Paused { failures, until, state, reason });
        drop(under_way);
        self.wake.notify_one();
    }
}

/// Looks at the offers whenever something changed, until the task is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let next = match look(&shared).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "offers could not be looked at");
                None
            }
        };
        let pause = next.map_or(LOOK_INTERVAL, |next| next.duration_since(clock::now()).unsigned_abs());
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(pause.min(LOOK_INTERVAL)) => {}
        }
    }
}

/// One look at everything. Gives when to look again at the latest.
async fn look(shared: &Arc<Shared>) -> Result<Option<Timestamp>, AgentError> {
    let Some(policy) = shared.store.get::<Policy>(POLICY)? else { return Ok(None) };
    let now = clock::now();
    let platform = super::inventory::platform();
    let free_disk_bytes = rustix::fs::statvfs("/").map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let mut records = BTreeMap::new();
    for digest in policy.body.offers.iter().map(|offer| offer.record).chain(policy.body.dependencies.iter().copied()) {
        if let Some(record) = record(shared, &digest).await? {
            records.insert(digest, record);
        }
    }
    let mut next: Option<Timestamp> = None;
    for offer in &policy.body.offers {
        let look = Look { offer, policy: &policy, records: &records, platform: &platform, free_disk_bytes, now };
        match look_at(shared, &look) {
            Ok(until) => next = [next, until].into_iter().flatten().min(),
            // One odd offer must not stop the others.
            Err(error) => {
                tracing::error!(%error, advertisement = %offer.advertisement, "an offer could not be looked at")
            }
        }
    }
    withdraw(shared, &policy)?;
    Ok(next)
}

/// One offer with everything a decision needs.
struct Look<'a> {
    offer: &'a Offer,
    policy: &'a Policy,
    records: &'a BTreeMap<Digest, PackageRecord>,
    platform: &'a Platform,
    free_disk_bytes: u64,
    now: Timestamp,
}

fn look_at(shared: &Arc<Shared>, look: &Look<'_>) -> Result<Option<Timestamp>, AgentError> {
    let offer = look.offer;
    let key = offer.advertisement.to_string();
    let record = look.records.get(&offer.record);
    let program = record.and_then(|record| Some((record.program(&offer.program.program)?, record.source_version)));
    let request = shared.store.request(&key)?;
    let history = shared.store.history(&offer.program)?;
    let dependency = program.and_then(|(program, _)| find_dependency(look, program));
    let dependency_history = match &dependency {
        Some((identity, _)) => shared.store.history(identity)?,
        None => Vec::new(),
    };
    let facts = Facts {
        offer,
        program,
        enabled: look.policy.body.config.enabled,
        platform: look.platform,
        free_disk_bytes: look.free_disk_bytes,
        history: &history,
        dependency_history: &dependency_history,
        request: request.as_ref().map(|request| request.id.as_str()),
    };
    let about = || About::new(offer, program.map(|(_, version)| version));
    if offer.start.is_none_or(|start| start <= look.now) {
        let standings: Standings = shared.store.get(STANDINGS)?.unwrap_or_default();
        if !standings.contains_key(&key) {
            shared.stand(about(), &key, Standing { state: RunState::Accepted, reason: Reason::Succeeded }, "")?;
        }
    }
    let decision = if look.policy.is_stale(look.now) {
        Decision::Wait { reason: Reason::WaitingForPolicy, until: None }
    } else {
        decide(&facts, look.now)
    };
    match decision {
        Decision::Start(occurrence) => match (record, program) {
            (Some(record), Some(_)) => begin(shared, offer, record, &offer.program, occurrence, request),
            _ => Ok(None),
        },
        Decision::StartDependency => match dependency {
            Some((identity, record)) => begin(shared, offer, record, &identity, Occurrence::Once, None),
            None => {
                let standing = Standing { state: RunState::Waiting, reason: Reason::WaitingForDependency };
                shared.stand(about(), &key, standing, "")?;
                Ok(None)
            }
        },
        Decision::Running => Ok(None),
        // Nothing is visible before its start.
        Decision::Wait { reason: Reason::WaitingForStart, until } => Ok(until),
        Decision::Wait { reason, until } => {
            shared.stand(about(), &key, Standing { state: RunState::Waiting, reason }, "")?;
            Ok(until)
        }
        Decision::Settled { state, reason } => {
            shared.stand(about(), &key, Standing { state, reason }, "")?;
            Ok(None)
        }
    }
}

fn find_dependency<'a>(
    look: &Look<'a>,
    program: &crate::wire::record::RecordProgram,
) -> Option<(ProgramIdentity, &'a PackageRecord)> {
    let dependency = program.depends_on.as_ref()?;
    let namespace = &look.offer.program.namespace;
    let record = look.records.values().find(|record| {
        record.namespace == *namespace
            && record.package == dependency.package
            && record.program(&dependency.program).is_some()
    })?;
    Some((record.identity(&dependency.program), record))
}

/// Begins to prepare a run in a task of its own, unless one is under way or paused.
fn begin(
    shared: &Arc<Shared>,
    offer: &Offer,
    record: &PackageRecord,
    identity: &ProgramIdentity,
    occurrence: Occurrence,
    request: Option<Request>,
) -> Result<Option<Timestamp>, AgentError> {
    let paused = shared.under_way().get(identity).cloned();
    match paused {
        Some(UnderWay::Busy) => return Ok(None),
        Some(UnderWay::Paused { until, state, reason, .. }) if until > clock::now() => {
            let about = About::new(offer, Some(record.source_version));
            shared.stand(about, &offer.advertisement.to_string(), Standing { state, reason }, "")?;
            return Ok(Some(until));
        }
        _ => {}
    }
    let failures = match paused {
        Some(UnderWay::Paused { failures, .. }) => Some(failures),
        _ => None,
    };
    shared.under_way().insert(identity.clone(), UnderWay::Busy);
    let job = super::job::Job {
        offer: offer.clone(),
        record: record.clone(),
        program: identity.clone(),
        occurrence,
        request,
        failures,
    };
    tokio::spawn(super::job::run(shared.clone(), job));
    Ok(None)
}

/// Offers that are gone: what had not started is cancelled, what runs goes on (L14).
fn withdraw(shared: &Shared, policy: &Policy) -> Result<(), AgentError> {
    let mut standings: Standings = shared.store.get(STANDINGS)?.unwrap_or_default();
    let offered: Vec<String> = policy.body.offers.iter().map(|offer| offer.advertisement.to_string()).collect();
    let before = standings.len();
    standings.retain(|key, _| offered.contains(key));
    if standings.len() != before {
        shared.store.put(STANDINGS, &standings)?;
    }
    Ok(())
}

/// The record of this digest: kept, or fetched and verified. `None` if it is not to be had now.
async fn record(shared: &Shared, digest: &Digest) -> Result<Option<PackageRecord>, AgentError> {
    let text = digest.to_string();
    let verify =
        |envelope: &Envelope| policy::verify_record(envelope, digest, &shared.session.keys, &shared.session.site_id);
    if let Some(kept) = shared.store.record(&text)?
        && let Ok(envelope) = serde_json::from_str(&kept)
        && let Ok(record) = verify(&envelope)
    {
        return Ok(Some(record));
    }
    let envelope = match shared.link.record(digest).await {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::warn!(%error, %digest, "a package record was not delivered");
            shared.poll.notify_one();
            return Ok(None);
        }
    };
    match verify(&envelope) {
        Ok(record) => {
            shared
                .store
                .put_record(&text, &serde_json::to_string(&envelope).map_err(super::store::StoreError::from)?)?;
            Ok(Some(record))
        }
        Err(error) => {
            tracing::error!(%error, %digest, "a package record is refused");
            Ok(None)
        }
    }
}
