//! One run from the decision to its report: content fetched and verified, journal and supervisor started, the end
//! waited for and interpreted. Everything that must survive is durable before the next step.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    AgentError,
    content::CacheError,
    engine::{STANDINGS, Shared, Standing, Standings, UnderWay},
    messages::About,
    run::{
        self, End, Ending, Intent, Recovered, State, Ticket,
        output::{printable, read_output},
        ticket::TERM_GRACE_SECONDS,
    },
    store::Request,
};
use crate::{
    clock,
    content::SafePath,
    model::{
        identity::ProgramIdentity,
        reason::Reason,
        state::{RunOutcome, RunState},
    },
    plan::run::{Occurrence, PastRun, RunKey, program_digest},
    wire::{
        policy::{Offer, ReportOutput},
        record::{PackageRecord, RecordProgram},
    },
};

/// Bytes of output sent along at most.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Supervisors that vanish before BEGIN are started again so often before the run counts as failed to start.
const ATTEMPTS_MAX: u32 = 3;

/// A run to be made.
pub(super) struct Job {
    pub(super) offer: Offer,
    pub(super) record: PackageRecord,
    pub(super) program: ProgramIdentity,
    pub(super) occurrence: Occurrence,
    pub(super) request: Option<Request>,
    /// Failures before the start so far, if it was paused.
    pub(super) failures: Option<u32>,
}

impl Job {
    /// Whether it runs the offered program itself, not one that it depends on.
    fn is_offered(&self) -> bool {
        self.program == self.offer.program
    }

    fn definition(&self) -> Option<&RecordProgram> {
        self.record.program(&self.program.program)
    }

    fn about(&self) -> About {
        About::new(&self.offer, Some(self.record.source_version))
            .by(self.request.as_ref().map(|request| request.user.as_str()))
    }
}

/// Makes the run.
pub(super) async fn run(shared: Arc<Shared>, job: Job) {
    let program = job.program.clone();
    if let Err(error) = prepare_and_run(&shared, job).await {
        tracing::error!(%error, %program, "a run could not be made");
        shared.pause(&program, RunState::Retrying, Reason::StartFailed);
    }
}

async fn prepare_and_run(shared: &Shared, job: Job) -> Result<(), AgentError> {
    let Some(definition) = job.definition().cloned() else {
        release(shared, &job.program);
        return Ok(());
    };
    let key = job.offer.advertisement.to_string();
    let content = match &job.record.content {
        None => None,
        Some(digest) => {
            if job.is_offered() && job.failures.is_none() {
                let standing = Standing { state: RunState::Downloading, reason: Reason::Progressing };
                shared.stand(job.about(), &key, standing, "")?;
            }
            match shared.cache.ensure(digest).await {
                Ok(content) => Some(content),
                Err(error) => {
                    content_failed(shared, &job, &key, &error)?;
                    return Ok(());
                }
            }
        }
    };
    let run_key = RunKey { program: job.program.clone(), occurrence: job.occurrence.clone() };
    let attempt = run::next_attempt(&shared.state, &run_key).map_err(AgentError::Journal)?;
    let intent = Intent {
        run_key: run_key.clone(),
        source_version: job.record.source_version,
        program_digest: program_digest(&definition),
        record_digest: job.offer.record,
        manifest_digest: job.record.content,
        advertisement: job.offer.advertisement.clone(),
        attempt,
        user: job.request.as_ref().map(|request| request.user.clone()),
        created_at: clock::now(),
    };
    let ticket = ticket(shared, &job, &definition, content)?;
    let handle = match run::start(&shared.state, &intent, &ticket, &shared.launcher) {
        Ok(handle) => handle,
        Err(error) => {
            tracing::error!(%error, program = %job.program, "a supervisor was not started");
            shared.pause(&job.program, RunState::Retrying, Reason::StartFailed);
            return Ok(());
        }
    };
    let past = PastRun {
        key: run_key,
        advertisement: job.offer.advertisement.clone(),
        started_at: intent.created_at,
        outcome: None,
        state: RunState::Running,
        source_version: job.record.source_version,
        program_digest: intent.program_digest.clone(),
    };
    let run_dir = handle.run_dir().to_owned();
    let message = job.is_offered().then(|| job.about().state(RunState::Running, Reason::Progressing, "", clock::now()));
    shared.store.put_run(&run_dir.to_string_lossy(), &past, message.as_ref())?;
    note(shared, &key, RunState::Running, Reason::Progressing, job.is_offered())?;
    if let Some(request) = &job.request {
        shared.store.drop_request(&request.id)?;
    }
    shared.outbox.notify_one();
    let settled = handle.settled().await;
    let user = job.request.as_ref().map(|request| request.user.as_str());
    let report = Report { success_codes: &definition.success_codes, offered: job.is_offered(), user };
    let ended = finish(shared, &settled.run_dir, past, settled.state, &report);
    release(shared, &job.program);
    ended
}

fn content_failed(shared: &Shared, job: &Job, key: &str, error: &CacheError) -> Result<(), AgentError> {
    let (state, reason) = match error {
        CacheError::Mismatch { .. } => (RunState::ContentMismatch, Reason::DigestMismatch),
        CacheError::Disk(_) => (RunState::Retrying, Reason::DiskFull),
        CacheError::Locations(_) | CacheError::Nowhere | CacheError::Failed { .. } => {
            (RunState::Retrying, Reason::NoContentSource)
        }
    };
    if job.is_offered() {
        shared.stand(job.about(), key, Standing { state, reason }, &error.to_string())?;
    }
    if let Some(failures) = job.failures {
        // The pause grows: put back what the task took over.
        let until = clock::now();
        shared.under_way().insert(job.program.clone(), UnderWay::Paused { failures, until, state, reason });
    }
    shared.pause(&job.program, state, reason);
    Ok(())
}

fn ticket(
    shared: &Shared,
    job: &Job,
    definition: &RecordProgram,
    content: Option<run::ticket::TicketContent>,
) -> Result<Ticket, AgentError> {
    let cwd = definition.cwd.as_deref().map(str::parse::<SafePath>).transpose();
    Ok(Ticket {
        package: job.record.package.clone(),
        program: definition.name.clone(),
        source_version: job.record.source_version,
        content,
        argv: definition.argv.clone(),
        cwd: cwd.map_err(|error| AgentError::Record(format!("cwd: {error}")))?,
        env: definition.env.iter().cloned().collect::<BTreeMap<_, _>>(),
        run_as: definition.run_as.clone(),
        max_runtime_seconds: definition.max_runtime.as_duration().as_secs(),
        term_grace_seconds: TERM_GRACE_SECONDS,
        system_paths: shared.config.system_paths.clone(),
        allow_root: shared.config.allow_root,
    })
}

/// What is needed to tell of a run that ended.
struct Report<'a> {
    success_codes: &'a [i32],
    /// Whether it is the advertised program itself, not one that it depends on.
    offered: bool,
    user: Option<&'a str>,
}

/// What a journal state means: outcome, state, reason, sentence, exit code. `None` if nothing was started.
fn interpret(state: &State, success_codes: &[i32]) -> Option<(RunOutcome, RunState, Reason, String, Option<i32>)> {
    use RunOutcome::{Failed, Succeeded, Unknown};
    Some(match state {
        State::NotStarted | State::Running => return None,
        State::Unknown(lost) => {
            let alive = if lost.program_alive { "; it is still running" } else { "" };
            let reason = match lost.cause {
                run::LossCause::JournalDamaged => Reason::JournalDamaged,
                run::LossCause::SupervisorLost | run::LossCause::Rebooted => Reason::SupervisorLost,
            };
            (Unknown, RunState::Unknown, reason, format!("{}{alive}", reason.explanation()), None)
        }
        State::Ended(End { ending, .. }) => match ending {
            Ending::Exited { code } if success_codes.contains(code) => {
                (Succeeded, RunState::Succeeded, Reason::Succeeded, String::new(), Some(*code))
            }
            Ending::Exited { code } => {
                (Failed, RunState::Failed, Reason::ExitCode, format!("exit code {code}"), Some(*code))
            }
            Ending::Signalled { signal } => {
                (Failed, RunState::Failed, Reason::Signal, format!("ended by signal {signal}"), None)
            }
            Ending::TimedOut { .. } => (Failed, RunState::TimedOut, Reason::MaxRuntimeExceeded, String::new(), None),
            Ending::CouldNotStart { reason: Reason::DigestMismatch, detail } => {
                (Failed, RunState::ContentMismatch, Reason::DigestMismatch, detail.clone(), None)
            }
            Ending::CouldNotStart { reason, detail } => {
                (Failed, RunState::PrepareFailed, *reason, detail.clone(), None)
            }
        },
    })
}

/// Writes how a run ended, with the message that tells of it.
fn finish(
    shared: &Shared,
    run_dir: &Path,
    past: PastRun,
    state: std::io::Result<State>,
    report: &Report<'_>,
) -> Result<(), AgentError> {
    let state = state.map_err(AgentError::Journal)?;
    let key = run_dir.to_string_lossy();
    let Some((outcome, run_state, reason, detail, code)) = interpret(&state, report.success_codes) else {
        // The supervisor vanished before BEGIN: proven not started, so it may be tried again, but not for ever.
        shared.store.drop_run(&key)?;
        let attempts = run::next_attempt(&shared.state, &past.key).map_err(AgentError::Journal)?;
        let state = if attempts > ATTEMPTS_MAX { RunState::PrepareFailed } else { RunState::Retrying };
        shared.pause(&past.key.program, state, Reason::StartFailed);
        shared.wake.notify_one();
        return Ok(());
    };
    let policy = shared.store.get::<super::policy::Policy>(super::engine::POLICY)?;
    let send_output = match policy.map(|policy| policy.body.config.report_output).unwrap_or_default() {
        ReportOutput::Always => true,
        ReportOutput::OnFailure => outcome != RunOutcome::Succeeded,
        ReportOutput::Never => false,
    };
    let output = send_output
        .then(|| read_output(run_dir).ok())
        .flatten()
        .filter(|bytes| !bytes.is_empty())
        .map(|bytes| printable(&bytes, OUTPUT_BYTES_MAX));
    let done = PastRun { outcome: Some(outcome), state: run_state, ..past };
    let message = report.offered.then(|| {
        About::of(&done.advertisement, &done.key.program, Some(done.source_version))
            .by(report.user)
            .exit_code(code)
            .output(output)
            .state(run_state, reason, &detail, clock::now())
    });
    shared.store.put_run(&key, &done, message.as_ref())?;
    if message.is_some() {
        note(shared, &done.advertisement.to_string(), run_state, settled_reason(run_state, reason), true)?;
    }
    let _ = run::prune_outputs(&shared.state);
    shared.outbox.notify_one();
    shared.wake.notify_one();
    Ok(())
}

/// The reason under which the next look will find this state settled, so that it does not say it again.
fn settled_reason(state: RunState, reason: Reason) -> Reason {
    match state {
        RunState::Succeeded => Reason::Succeeded,
        RunState::Unknown => Reason::SupervisorLost,
        RunState::TimedOut => Reason::MaxRuntimeExceeded,
        _ => reason,
    }
}

/// Remembers what was reported along with a run.
fn note(shared: &Shared, key: &str, state: RunState, reason: Reason, offered: bool) -> Result<(), AgentError> {
    if !offered {
        return Ok(());
    }
    let mut standings: Standings = shared.store.get(STANDINGS)?.unwrap_or_default();
    standings.insert(key.to_owned(), Standing { state, reason });
    shared.store.put(STANDINGS, &standings)?;
    Ok(())
}

fn release(shared: &Shared, program: &ProgramIdentity) {
    let mut under_way = shared.under_way();
    if matches!(under_way.get(program), Some(UnderWay::Busy)) {
        under_way.remove(program);
    }
    drop(under_way);
    shared.wake.notify_one();
}

/// Brings history up to what the journal proves, before anything is decided: runs that ended while the agent was away
/// are reported, runs under way are watched again.
pub(super) fn recover(shared: &Arc<Shared>) -> Result<(), AgentError> {
    for found in run::recover(&shared.state).map_err(AgentError::Journal)? {
        let run_dir = found.run_dir.clone();
        if let Err(error) = recover_one(shared, found) {
            tracing::error!(%error, run = %run_dir.display(), "a run of the journal could not be recovered");
        }
    }
    Ok(())
}

fn recover_one(shared: &Arc<Shared>, found: Recovered) -> Result<(), AgentError> {
    let run_key = found.run_dir.to_string_lossy().into_owned();
    let known = shared.store.run(&run_key)?;
    if known.as_ref().is_some_and(|run| run.outcome.is_some()) {
        return Ok(());
    }
    let past = match (known, &found.intent) {
        (Some(past), _) => past,
        (None, Some(intent)) => PastRun {
            key: intent.run_key.clone(),
            advertisement: intent.advertisement.clone(),
            started_at: intent.created_at,
            outcome: None,
            state: RunState::Running,
            source_version: intent.source_version,
            program_digest: intent.program_digest.clone(),
        },
        // The intent is the first file of a run: without it nothing was started.
        (None, None) => return Ok(()),
    };
    if !matches!(found.state, Ok(State::NotStarted)) {
        shared.store.put_run(&run_key, &past, None)?;
    }
    let watched = shared.clone();
    let end = move |state: std::io::Result<State>| -> Result<(), AgentError> {
        let codes = success_codes(&watched, &past, found.intent.as_ref())?;
        let user = found.intent.as_ref().and_then(|intent| intent.user.as_deref());
        let report = Report { success_codes: &codes, offered: is_offered(&watched, &past)?, user };
        finish(&watched, &found.run_dir, past, state, &report)
    };
    match found.handle {
        None => end(found.state),
        Some(handle) => {
            tokio::spawn(async move {
                let settled = handle.settled().await;
                if let Err(error) = end(settled.state) {
                    tracing::error!(%error, "the end of a run could not be written");
                }
            });
            Ok(())
        }
    }
}

/// Whether a run was made for an advertisement's own program; one withdrawn meanwhile counts as such.
fn is_offered(shared: &Shared, past: &PastRun) -> Result<bool, AgentError> {
    let policy = shared.store.get::<super::policy::Policy>(super::engine::POLICY)?;
    let offers = policy.map(|policy| policy.body.offers).unwrap_or_default();
    let offer = offers.iter().find(|offer| offer.advertisement == past.advertisement);
    Ok(offer.is_none_or(|offer| offer.program == past.key.program))
}

fn success_codes(shared: &Shared, past: &PastRun, intent: Option<&Intent>) -> Result<Vec<i32>, AgentError> {
    let Some(intent) = intent else { return Ok(vec![0]) };
    let kept = shared.store.record(&intent.record_digest.to_string())?;
    let record = kept
        .and_then(|text| serde_json::from_str::<crate::trust::envelope::Envelope>(&text).ok())
        .and_then(|envelope| PackageRecord::decode(envelope.payload.as_bytes()).ok());
    let program = record.as_ref().and_then(|record| record.program(&past.key.program.program));
    Ok(program.map_or_else(|| vec![0], |program| program.success_codes.clone()))
}
