//! One run from the decision to its start: content fetched and verified, the decision made again, journal and
//! supervisor started, the end waited for. Everything that must survive is durable before the next step.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::{
    AgentError,
    content::CacheError,
    finish::{self, Run},
    messages::About,
    narrate,
    run::{
        self, Intent, Ticket,
        ticket::{TERM_GRACE_SECONDS, TicketContent},
    },
    shared::Shared,
    store::Standing,
    view::{Start, Step, View},
};
use crate::{
    clock,
    content::{Digest, SafePath},
    model::{reason::Reason, state::RunState},
    plan::run::{RunKey, program_digest},
    wire::{
        policy::Offer,
        record::{PackageRecord, RUNTIME_MIN, RecordProgram},
    },
};

/// A run to be made.
pub(super) struct Job {
    pub(super) offer: Offer,
    pub(super) record: PackageRecord,
    pub(super) start: Start,
    /// Failures before the start so far.
    pub(super) failures: u32,
}

impl Job {
    fn about(&self) -> About {
        About::of(&self.offer.advertisement, &self.start.program, Some(self.record.source_version))
            .on(&self.start.occurrence)
            .by(self.start.request.as_ref().map(|request| request.user.as_str()))
            .for_dependency(self.start.for_dependency)
    }
}

/// How a job ended that did not fail.
enum Done {
    /// The program was run, or is known to have been.
    Over,
    /// It is not due any more.
    NotDue,
    /// Nothing was started; tried again after a pause.
    Failed(Standing, String),
}

/// Makes the run.
pub(super) async fn run(shared: Arc<Shared>, job: Job) {
    let program = job.start.program.clone();
    let done = make(&shared, &job).await.unwrap_or_else(|error| {
        let text = format!("{:#}", anyhow::Error::from(error));
        tracing::error!(error = %text, %program, "a run could not be made");
        Done::Failed(Standing { state: RunState::Retrying, reason: Reason::StartFailed }, text)
    });
    match done {
        Done::Over | Done::NotDue => shared.programs.done(&program),
        Done::Failed(standing, detail) => {
            if !job.start.for_dependency
                && let Err(error) = shared.say(job.about(), standing.clone(), &detail)
            {
                tracing::error!(%error, "a failure could not be written down");
            }
            shared.programs.failed(&program, standing, clock::now());
        }
    }
    shared.wake.notify_one();
}

async fn make(shared: &Arc<Shared>, job: &Job) -> Result<Done, AgentError> {
    let Some(definition) = job.record.program(&job.start.program.program) else { return Ok(Done::NotDue) };
    let key = RunKey { program: job.start.program.clone(), occurrence: job.start.occurrence.clone() };
    let begun = run::begun(&shared.state, &key).map_err(AgentError::Journal)?;
    if !begun.is_empty() {
        // The journal is the truth: a run of this key that the history does not have is taken up, never repeated.
        finish::adopt(shared, &begun).await?;
        return Ok(Done::Over);
    }
    let content = match &job.record.content {
        None => None,
        Some(digest) => {
            let found = match shared.cache.find(digest).await {
                Some(found) => Ok(found),
                None => {
                    if job.failures == 0 && !job.start.for_dependency {
                        let standing = Standing { state: RunState::Downloading, reason: Reason::Progressing };
                        shared.say(job.about(), standing, "")?;
                    }
                    fetch(shared, job, digest).await
                }
            };
            match found {
                Ok(content) => Some(content),
                Err(error) => {
                    let text = error.to_string();
                    let shown = narrate::line(&text);
                    tracing::warn!(error = shown, program = %job.start.program, "content is not here; it will be tried again");
                    return Ok(Done::Failed(standing_of(&error), text));
                }
            }
        }
    };
    // The journal of a state directory that is gone would be forgotten, and the program would run again.
    if !shared.has_state() || !still_due(shared, job)? {
        return Ok(Done::NotDue);
    }
    start(shared, job, definition, key, content).await
}

async fn fetch(shared: &Shared, job: &Job, content: &Digest) -> Result<TicketContent, CacheError> {
    let (package, version) = (&job.record.package, job.record.source_version);
    tracing::info!(%package, version, size_bytes = job.record.size_bytes, "fetching content");
    let began = Instant::now();
    let fetched = shared.cache.fetch(content, &shared.link).await?;
    let (bytes, point) = (fetched.received_bytes, fetched.point.as_deref().map(narrate::line));
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(%package, version, bytes, point, "content fetched and verified in {seconds:.1} s");
    Ok(fetched.content)
}

/// Whether the same start would be decided now: fetching may have taken hours.
fn still_due(shared: &Shared, job: &Job) -> Result<bool, AgentError> {
    let Some(view) = View::load(shared, clock::now())? else { return Ok(false) };
    let Some(offer) = view.offer(&job.offer.advertisement.to_string()) else { return Ok(false) };
    Ok(view.step(shared, offer)? == Step::Start(job.start.clone()))
}

const fn standing_of(error: &CacheError) -> Standing {
    let (state, reason) = match error {
        CacheError::Mismatch { .. } => (RunState::ContentMismatch, Reason::DigestMismatch),
        CacheError::Disk(_) => (RunState::Retrying, Reason::DiskFull),
        CacheError::Locations(_) | CacheError::Nowhere | CacheError::Failed { .. } => {
            (RunState::Retrying, Reason::NoContentSource)
        }
    };
    Standing { state, reason }
}

async fn start(
    shared: &Arc<Shared>,
    job: &Job,
    definition: &RecordProgram,
    key: RunKey,
    content: Option<TicketContent>,
) -> Result<Done, AgentError> {
    let intent = Intent {
        attempt: run::next_attempt(&shared.state, &key).map_err(AgentError::Journal)?,
        run_key: key,
        source_version: job.record.source_version,
        program_digest: program_digest(definition),
        record_digest: job.start.record,
        manifest_digest: job.record.content,
        advertisement: job.offer.advertisement.clone(),
        user: job.start.request.as_ref().map(|request| request.user.clone()),
        for_dependency: job.start.for_dependency,
        success_codes: definition.success_codes.clone(),
        created_at: clock::now(),
    };
    let ticket = ticket(shared, job, definition, content)?;
    let handle = match run::start(&shared.state, &intent, &ticket, &shared.launcher) {
        Ok(handle) => handle,
        Err(error) => {
            let text = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error = %text, program = %job.start.program, "a supervisor was not started");
            return Ok(Done::Failed(Standing { state: RunState::Retrying, reason: Reason::StartFailed }, text));
        }
    };
    let run = Run::new(handle.run_dir().to_owned(), &intent);
    finish::prepared(shared, &run).await;
    Ok(match finish::follow(shared, &run, handle, Some(job.failures)).await {
        None => Done::Over,
        Some((standing, detail)) => Done::Failed(standing, detail),
    })
}

fn ticket(
    shared: &Shared,
    job: &Job,
    definition: &RecordProgram,
    content: Option<TicketContent>,
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
        max_runtime_seconds: definition.max_runtime.max(RUNTIME_MIN).as_duration().as_secs(),
        term_grace_seconds: TERM_GRACE_SECONDS,
        system_paths: shared.config.system_paths.clone(),
        allow_root: shared.config.allow_root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_nobody_delivers_and_content_that_is_wrong_are_told_apart() {
        let of = |error: CacheError| (standing_of(&error).state, standing_of(&error).reason);
        assert_eq!(of(CacheError::Nowhere), (RunState::Retrying, Reason::NoContentSource));
        assert_eq!(of(CacheError::Locations("x".into())), (RunState::Retrying, Reason::NoContentSource));
        let failed = CacheError::Failed { point: "dp".into(), text: "x".into() };
        assert_eq!(of(failed), (RunState::Retrying, Reason::NoContentSource));
        let wrong = CacheError::Mismatch { point: "dp".into() };
        assert_eq!(of(wrong), (RunState::ContentMismatch, Reason::DigestMismatch));
    }
}
