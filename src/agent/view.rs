//! Everything the agent knows at one moment, and the next step for each offer from it. Reads the store; starts nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    AgentError,
    messages::About,
    outbox::Request,
    policy::{self, Policy},
    shared::Shared,
    store::Standing,
};
use crate::{
    content::digest::Digest,
    model::{
        identity::ProgramIdentity,
        platform::Platform,
        reason::Reason,
        schedule::{Assignment, Rerun},
    },
    plan::run::{Decision, Facts, Occurrence, PastRun, decide},
    trust::envelope::Envelope,
    wire::{
        policy::Offer,
        record::{PackageRecord, RecordProgram},
    },
};

/// Topic of the verified policy in the store.
pub(super) const POLICY: &str = "policy";
/// A program whose dependency has a dependency, and so on: more steps than this are a circle.
const DEPENDENCY_DEPTH_MAX: u8 = 8;

/// What is known.
pub(super) struct View {
    pub(super) policy: Policy,
    pub(super) records: BTreeMap<Digest, PackageRecord>,
    /// Records that policy names and that are not here.
    pub(super) missing: Vec<Digest>,
    pub(super) now: Timestamp,
    platform: Platform,
    free_disk_bytes: u64,
    requests: Vec<Request>,
}

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) program: ProgramIdentity,
    /// The record it is run from.
    pub(super) record: Digest,
    pub(super) occurrence: Occurrence,
    pub(super) request: Option<Request>,
    /// It is not the advertised program but one that it depends on.
    pub(super) for_dependency: bool,
}

/// The next step for an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start this.
    Start(Start),
    /// Anything else.
    Other(Decision),
}

impl View {
    /// What is known now; `None` before there is any policy.
    pub(super) fn load(shared: &Shared, now: Timestamp) -> Result<Option<Self>, AgentError> {
        let Some(policy) = shared.store.get::<Policy>(POLICY)? else { return Ok(None) };
        let session = shared.session();
        let (mut records, mut missing) = (BTreeMap::new(), Vec::new());
        let named = policy.body.offers.iter().map(|offer| offer.record).chain(policy.body.dependencies.iter().copied());
        for digest in named {
            if records.contains_key(&digest) || missing.contains(&digest) {
                continue;
            }
            let kept = shared.store.record(&digest.to_string())?;
            let envelope = kept.and_then(|text| serde_json::from_str::<Envelope>(&text).ok());
            // Verified again: a database can be changed by whoever becomes the agent's user, a signature cannot.
            let verified = envelope
                .and_then(|envelope| policy::verify_record(&envelope, &digest, &session.keys, &session.site_id).ok());
            match verified {
                Some(record) => drop(records.insert(digest, record)),
                None => missing.push(digest),
            }
        }
        Ok(Some(Self {
            policy,
            records,
            missing,
            now,
            platform: super::inventory::platform(),
            free_disk_bytes: rustix::fs::statvfs("/").map_or(0, |stat| stat.f_bavail * stat.f_frsize),
            requests: shared.store.requests()?,
        }))
    }

    /// The program that is offered, if its record is here.
    pub(super) fn program(&self, offer: &Offer) -> Option<(&RecordProgram, u64)> {
        let record = self.records.get(&offer.record)?;
        Some((record.program(&offer.program.program)?, record.source_version))
    }

    /// What messages about this offer are about.
    pub(super) fn about(&self, offer: &Offer) -> About {
        About::new(offer, self.program(offer).map(|(_, version)| version))
    }

    /// Whether the offer's time has come and has not passed.
    pub(super) fn is_visible(&self, offer: &Offer) -> bool {
        offer.start.is_none_or(|start| start <= self.now) && offer.expires.is_none_or(|expires| expires > self.now)
    }

    /// Whether anybody was told of an offer that has expired.
    pub(super) fn was_visible(&self, offer: &Offer, said: Option<&Standing>) -> bool {
        said.is_some() || offer.start.is_none_or(|start| offer.expires.is_none_or(|expires| start < expires))
    }

    /// The offer of this advertisement.
    pub(super) fn offer(&self, advertisement: &str) -> Option<&Offer> {
        self.policy.body.offers.iter().find(|offer| offer.advertisement.to_string() == advertisement)
    }

    /// The next step for an offer.
    pub(super) fn step(&self, shared: &Shared, offer: &Offer) -> Result<Step, AgentError> {
        match self.step_at(shared, offer, 0)? {
            // What is withheld from this client may have been withdrawn.
            Step::Start(_) if self.policy.is_stale(self.now) => {
                Ok(Step::Other(Decision::Wait { reason: Reason::WaitingForPolicy, until: None }))
            }
            step => Ok(step),
        }
    }

    fn step_at(&self, shared: &Shared, offer: &Offer, depth: u8) -> Result<Step, AgentError> {
        let program = self.program(offer);
        let key = offer.advertisement.to_string();
        let request = self.requests.iter().find(|request| depth == 0 && request.advertisement == key);
        let history = shared.store.history(&offer.program)?;
        let dependency = program.and_then(|(program, _)| self.dependency(offer, program));
        let dependency_history = match &dependency {
            Some((identity, _)) => shared.store.history(identity)?,
            None => Vec::new(),
        };
        let facts = Facts {
            offer,
            program,
            enabled: self.policy.body.config.enabled,
            platform: &self.platform,
            free_disk_bytes: self.free_disk_bytes,
            history: &history,
            dependency_history: &dependency_history,
            request: request.map(|request| request.id.as_str()),
        };
        let waiting = |reason| Step::Other(Decision::Wait { reason, until: None });
        Ok(match decide(&facts, self.now) {
            Decision::Start(occurrence) => {
                let request = request.filter(|request| occurrence == Occurrence::Request(request.id.clone())).cloned();
                Step::Start(Start {
                    program: offer.program.clone(),
                    record: offer.record,
                    occurrence,
                    request,
                    for_dependency: depth > 0,
                })
            }
            Decision::StartDependency => match dependency {
                Some((identity, record)) if depth < DEPENDENCY_DEPTH_MAX => {
                    match self.step_at(shared, &dependency_offer(offer, identity, record), depth + 1)? {
                        Step::Other(Decision::Settled { reason, .. }) => waiting(reason),
                        Step::Other(Decision::Running) => waiting(Reason::WaitingForDependency),
                        other => other,
                    }
                }
                _ => waiting(Reason::WaitingForDependency),
            },
            other => Step::Other(other),
        })
    }

    /// The last run of the program that keeps this offer's from running: what it depends on, or what that depends on, and so on.
    pub(super) fn failed_dependency(&self, shared: &Shared, offer: &Offer) -> Result<Option<PastRun>, AgentError> {
        let mut offer = offer.clone();
        for _ in 0..DEPENDENCY_DEPTH_MAX {
            let Some((program, _)) = self.program(&offer) else { return Ok(None) };
            let Some((identity, record)) = self.dependency(&offer, program) else { return Ok(None) };
            if let Some(last) = shared.store.history(&identity)?.pop() {
                return Ok(Some(last));
            }
            offer = dependency_offer(&offer, identity, record);
        }
        Ok(None)
    }

    /// The record that holds the program's dependency: its own, one that policy names for this, or another offer's.
    fn dependency(&self, offer: &Offer, program: &RecordProgram) -> Option<(ProgramIdentity, Digest)> {
        let wanted = program.depends_on.as_ref()?;
        let own = std::iter::once(&offer.record);
        let candidates = own.chain(&self.policy.body.dependencies).chain(self.records.keys());
        candidates.filter_map(|digest| Some((digest, self.records.get(digest)?))).find_map(|(digest, record)| {
            let fits = record.namespace == offer.program.namespace
                && record.package == wanted.package
                && record.program(&wanted.program).is_some();
            fits.then(|| (record.identity(&wanted.program), *digest))
        })
    }
}

/// A dependency is run once, for the first run of the program that needs it.
fn dependency_offer(offer: &Offer, program: ProgramIdentity, record: Digest) -> Offer {
    Offer {
        program,
        record,
        assignments: vec![Assignment::AsSoonAsPossible],
        user_may_start: false,
        rerun: Rerun::Never,
        rerun_token: None,
        ..offer.clone()
    }
}
