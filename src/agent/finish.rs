//! What a run's journal proves, written into history together with the message that tells of it: when its program has
//! started, when it has ended, and at the start of an agent for the runs of its predecessors. It starts nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    AgentError,
    messages::About,
    narrate,
    outbox::Report,
    policy::Policy,
    run::{
        self, End, Ending, Intent, LossCause, Recovered, RunHandle, State, journal,
        output::{printable, read_output},
    },
    shared::Shared,
    store::Standing,
    view::POLICY,
};
use crate::{
    clock,
    model::{
        reason::Reason,
        state::{RunOutcome, RunState},
    },
    plan::run::{PastRun, reason_of},
    wire::policy::{Offer, ReportOutput},
};

/// Bytes of output sent along at most.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Supervisors that vanish before BEGIN are started again so often before the run counts as failed to start.
const VANISHED_MAX: u32 = 3;
/// How often is looked whether a program has started: verifying all of a package may take minutes before.
const STARTED_LOOK: Duration = Duration::from_millis(100);
/// Pause before something is written again that could not be: a full disk may get room.
const WRITE_RETRY: Duration = Duration::from_secs(5);

/// A run that has a directory in the journal.
pub(super) struct Run {
    run_dir: PathBuf,
    past: PastRun,
    success_codes: Vec<i32>,
    for_dependency: bool,
    user: Option<String>,
}

impl Run {
    pub(super) fn new(run_dir: PathBuf, intent: &Intent) -> Self {
        let past = PastRun {
            key: intent.run_key.clone(),
            advertisement: intent.advertisement.clone(),
            started_at: intent.created_at,
            outcome: None,
            // Until its program has started.
            state: RunState::Waiting,
            exit_code: None,
            source_version: intent.source_version,
            program_digest: intent.program_digest.clone(),
        };
        let success_codes = intent.success_codes.clone();
        Self { run_dir, past, success_codes, for_dependency: intent.for_dependency, user: intent.user.clone() }
    }

    fn key(&self) -> String {
        run::name_of(&self.run_dir)
    }

    fn about(&self) -> About {
        About::of(&self.past.advertisement, &self.past.key.program, Some(self.past.source_version))
            .on(&self.past.key.occurrence)
            .by(self.user.as_deref())
            .for_dependency(self.for_dependency)
    }

    /// What there is to say of it, made by `report`: under the advertisement that it was started for, and under the program's
    /// own as well if it ran as a dependency of another.
    fn reports(&self, shared: &Shared, report: impl Fn(About) -> Report) -> Result<Vec<Report>, AgentError> {
        let mut reports = vec![report(self.about())];
        if !self.for_dependency {
            return Ok(reports);
        }
        let program = &self.past.key.program;
        let offers = shared.store.get::<Policy>(POLICY)?.map(|policy| policy.body.offers).unwrap_or_default();
        let now = clock::now();
        let visible = |offer: &&Offer| offer.program == *program && offer.start.is_none_or(|start| start <= now);
        for offer in offers.iter().filter(visible) {
            let own =
                About::of(&offer.advertisement, program, Some(self.past.source_version)).on(&self.past.key.occurrence);
            reports.push(report(own));
        }
        Ok(reports)
    }

    /// Writes that there is a run, which tells nobody anything yet.
    fn write_prepared(&self, shared: &Shared) -> Result<(), AgentError> {
        Ok(shared.store.put_run(&self.key(), &self.past, &[])?)
    }

    /// Writes that its program has started, once that is proven, and once. Whether it is written.
    fn write_started(&self, shared: &Shared, state: &State) -> Result<bool, AgentError> {
        let Some(at) = journal::started_at(&self.run_dir, state).map_err(AgentError::Journal)? else {
            return Ok(false);
        };
        let known = shared.store.run(&self.key())?;
        if known.is_none_or(|known| known.outcome.is_none() && known.state != RunState::Running) {
            let past = PastRun { state: RunState::Running, ..self.past.clone() };
            let standing = Standing { state: RunState::Running, reason: Reason::Progressing };
            let reports = self.reports(shared, |about| about.report(standing.clone(), "", at))?;
            shared.store.put_run(&self.key(), &past, &reports)?;
            narrate::standing(&reports[0].message, None);
            shared.outbox.notify_one();
        }
        Ok(true)
    }
}

/// What the end of a run means.
enum Verdict {
    /// Nothing was started.
    NotStarted(Standing, String),
    /// Over.
    Over { outcome: RunOutcome, state: RunState, detail: String, exit_code: Option<i32> },
}

fn judge(state: &State, success_codes: &[i32]) -> Verdict {
    use RunOutcome::{Failed, Succeeded, Unknown};
    let over = |outcome, state, detail, exit_code| Verdict::Over { outcome, state, detail, exit_code };
    match state {
        State::NotStarted | State::Running => Verdict::NotStarted(
            Standing { state: RunState::Retrying, reason: Reason::StartFailed },
            "the supervisor vanished before the program was started".to_owned(),
        ),
        State::Unknown(lost) => {
            let reason = match lost.cause {
                LossCause::JournalDamaged => Reason::JournalDamaged,
                LossCause::SupervisorLost | LossCause::Rebooted => Reason::SupervisorLost,
            };
            let alive = if lost.program_alive { "; it is still running" } else { "" };
            over(Unknown, RunState::Unknown, format!("{}{alive}", reason.explanation()), None)
        }
        State::Ended(End { ending, .. }) => match ending {
            Ending::Exited { code } if success_codes.contains(code) => {
                over(Succeeded, RunState::Succeeded, String::new(), Some(*code))
            }
            Ending::Exited { code } => over(Failed, RunState::Failed, format!("exit code {code}"), Some(*code)),
            Ending::Signalled { signal } => over(Failed, RunState::Failed, format!("ended by signal {signal}"), None),
            Ending::TimedOut { .. } => over(Failed, RunState::TimedOut, String::new(), None),
            // The copy here was damaged after it had been verified: nothing was started, and a new copy is fetched.
            Ending::CouldNotStart { reason: Reason::DigestMismatch, detail } => Verdict::NotStarted(
                Standing { state: RunState::ContentMismatch, reason: Reason::DigestMismatch },
                detail.clone(),
            ),
            Ending::CouldNotStart { reason, detail } => {
                let detail = match reason {
                    // The detail says all of it, and so does the message.
                    Reason::NotAllowed | Reason::StartFailed => detail.clone(),
                    _ => format!("{}: {detail}", reason.explanation().trim_end_matches('.')),
                };
                over(Failed, RunState::PrepareFailed, detail, None)
            }
        },
    }
}

/// Writes that there is a run, again and again until that succeeds: a run that goes on must be in history.
pub(super) async fn prepared(shared: &Shared, run: &Run) {
    while let Err(error) = run.write_prepared(shared) {
        tracing::error!(%error, "a run could not be written into history; trying again");
        tokio::time::sleep(WRITE_RETRY).await;
    }
}

/// Follows a run to its end: writes that its program has started when that is proven, and then how it ended. The result
/// and `failures` as in [`ended`].
pub(super) async fn follow(
    shared: &Arc<Shared>,
    run: &Run,
    handle: RunHandle,
    failures: Option<u32>,
) -> Option<(Standing, String)> {
    let settled = handle.settled();
    tokio::pin!(settled);
    let mut told = false;
    let state = loop {
        tokio::select! {
            settled = &mut settled => break settled.state,
            () = tokio::time::sleep(STARTED_LOOK), if !told => {
                told = run.write_started(shared, &State::Running).unwrap_or_else(|error| {
                    tracing::error!(%error, "the start of a run could not be written; trying again");
                    false
                });
            }
        }
    };
    ended(shared, run, state, failures).await
}

/// Writes how a run ended, again and again until that succeeds. Gives what to say and try again if nothing was started;
/// `failures` counts earlier such attempts of this process.
async fn ended(
    shared: &Arc<Shared>,
    run: &Run,
    mut state: io::Result<State>,
    failures: Option<u32>,
) -> Option<(Standing, String)> {
    loop {
        let written = state.map_err(AgentError::Journal).and_then(|state| match state {
            State::Running => Ok(None),
            state => write_ended(shared, run, &state, failures).map(Some),
        });
        match written {
            Ok(Some(again)) => return again,
            Ok(None) => {}
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(%error, run = %run.run_dir.display(), "the end of a run could not be written; trying again");
            }
        }
        tokio::time::sleep(WRITE_RETRY).await;
        state = journal::observe(&run.run_dir);
    }
}

fn write_ended(
    shared: &Arc<Shared>,
    run: &Run,
    state: &State,
    failures: Option<u32>,
) -> Result<Option<(Standing, String)>, AgentError> {
    run.write_started(shared, state)?;
    let (outcome, state, detail, exit_code) = match judge(state, &run.success_codes) {
        Verdict::NotStarted(standing, detail) => {
            if standing.state == RunState::ContentMismatch || failures.is_none_or(|count| count < VANISHED_MAX) {
                shared.store.drop_run(&run.key())?;
                return Ok(Some((standing, detail)));
            }
            (RunOutcome::Failed, RunState::PrepareFailed, detail, None)
        }
        Verdict::Over { outcome, state, detail, exit_code } => (outcome, state, detail, exit_code),
    };
    let past = PastRun { outcome: Some(outcome), state, exit_code, ..run.past.clone() };
    let output = wants_output(shared, outcome)?.then(|| output(&run.run_dir)).flatten();
    let (standing, now) = (Standing { state, reason: reason_of(state) }, clock::now());
    let reports = run.reports(shared, |about| {
        about.exit_code(exit_code).output(output.clone()).report(standing.clone(), &detail, now)
    })?;
    shared.store.put_run(&run.key(), &past, &reports)?;
    narrate::standing(&reports[0].message, None);
    shared.outbox.notify_one();
    shared.wake.notify_one();
    super::upkeep::after_run(shared);
    Ok(None)
}

fn wants_output(shared: &Shared, outcome: RunOutcome) -> Result<bool, AgentError> {
    let policy = shared.store.get::<Policy>(POLICY)?;
    Ok(match policy.map(|policy| policy.body.config.report_output).unwrap_or_default() {
        ReportOutput::Always => true,
        ReportOutput::OnFailure => outcome != RunOutcome::Succeeded,
        ReportOutput::Never => false,
    })
}

/// What it wrote; empty if that is nothing, so that the site can tell it from output that was not asked for.
fn output(run_dir: &Path) -> Option<String> {
    let bytes = read_output(run_dir).ok()?;
    Some(printable(&bytes, OUTPUT_BYTES_MAX))
}

/// Brings history up to what the journal proves, before anything is decided: runs that ended while the agent was away
/// are reported, runs under way are watched again.
///
/// # Errors
/// If it cannot; nothing may be started then.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<(), AgentError> {
    let found = run::recover(&shared.state).map_err(AgentError::Journal)?;
    let known: Vec<String> = found.iter().map(|found| run::name_of(&found.run_dir)).collect();
    for lost in shared.store.unfinished()?.iter().filter(|name| !known.contains(name)) {
        // Its directory is gone: somebody removed it by hand. That it began is known, how it ended is not.
        let Some(past) = shared.store.run(lost)? else { continue };
        let run_dir = run::under_name(&shared.state, lost);
        let run = Run { run_dir, past, success_codes: vec![], for_dependency: true, user: None };
        let end = State::Unknown(run::Lost { cause: LossCause::JournalDamaged, program_alive: false, begin: None });
        write_ended(shared, &run, &end, None)?;
    }
    for found in found {
        take_up(shared, found).await?;
    }
    Ok(())
}

/// Takes runs into history that the journal has and the history has not.
pub(super) async fn adopt(shared: &Arc<Shared>, run_dirs: &[PathBuf]) -> Result<(), AgentError> {
    for found in run::recover(&shared.state).map_err(AgentError::Journal)? {
        if run_dirs.contains(&found.run_dir) {
            take_up(shared, found).await?;
        }
    }
    Ok(())
}

async fn take_up(shared: &Arc<Shared>, found: Recovered) -> Result<(), AgentError> {
    let known = shared.store.run(&run::name_of(&found.run_dir))?;
    if known.as_ref().is_some_and(|run| run.outcome.is_some()) {
        return Ok(());
    }
    let is_new = known.is_none();
    let run = match (known, &found.intent) {
        (_, Some(intent)) => Run::new(found.run_dir.clone(), intent),
        (Some(past), None) => {
            Run { run_dir: found.run_dir.clone(), past, success_codes: vec![0], for_dependency: false, user: None }
        }
        // The intent is written before anything is started, so nothing was; or it is damaged and nobody knows what ran.
        (None, None) => {
            if !matches!(found.state, Ok(State::NotStarted)) {
                tracing::error!(run = %found.run_dir.display(), "a run of the journal cannot be read; it is left alone");
            }
            return Ok(());
        }
    };
    let started = match &found.state {
        Ok(state) => !matches!(judge(state, &run.success_codes), Verdict::NotStarted(..)) || found.handle.is_some(),
        Err(_) => true,
    };
    if is_new && started {
        prepared(shared, &run).await;
    }
    match found.handle {
        None if found.state.is_ok() => drop(ended(shared, &run, found.state, None).await),
        handle => {
            // Waited for elsewhere: one run must not keep the agent from its others.
            let shared = shared.clone();
            tokio::spawn(async move {
                drop(match handle {
                    Some(handle) => follow(&shared, &run, handle, None).await,
                    None => ended(&shared, &run, found.state, None).await,
                });
                shared.wake.notify_one();
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nothing_was_started_is_said_once() {
        let said = |reason, detail: &str| {
            let ending = Ending::CouldNotStart { reason, detail: detail.into() };
            let end = State::Ended(End { ending, ended_at: clock::now(), output_bytes: 0 });
            let Verdict::Over { state, detail, .. } = judge(&end, &[0]) else { panic!("{reason:?} is an end") };
            assert_eq!(state, RunState::PrepareFailed);
            detail
        };
        let refused = "the agent's configuration does not allow /bin/bash";
        assert_eq!(said(Reason::NotAllowed, refused), refused);
        assert_eq!(
            said(Reason::ProgramNotFound, "x"),
            "The program file does not exist in the package or may not be used: x"
        );
    }

    #[test]
    fn an_end_that_nobody_saw_says_how_it_was_lost() {
        for (cause, reason) in [
            (LossCause::JournalDamaged, Reason::JournalDamaged),
            (LossCause::SupervisorLost, Reason::SupervisorLost),
            (LossCause::Rebooted, Reason::SupervisorLost),
        ] {
            let lost = State::Unknown(run::Lost { cause, program_alive: false, begin: None });
            let Verdict::Over { outcome, state, detail, .. } = judge(&lost, &[0]) else {
                panic!("{cause:?} is no start")
            };
            assert_eq!(
                (outcome, state, detail.as_str()),
                (RunOutcome::Unknown, RunState::Unknown, reason.explanation())
            );
        }
    }
}
