//! Starting a run: intent and ticket become durable, then a supervisor is started that was given the run's lock before
//! it was born. Whoever decides that a program may run has decided; here only the journal can object.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;

use super::journal::{self, End, Ending, State};
use super::ticket::run_key_hash;
use super::{Intent, Ticket};
use crate::plan::run::RunKey;

/// The directory below the agent's state that holds the journal.
const RUNS: &str = "runs";
/// Stack of a waiting thread, which only waits.
const WAITER_STACK_BYTES: usize = 128 << 10;

/// Why a run was not started. Nothing was executed in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This attempt exists already.
    #[error("attempt {attempt} of this run exists already in {}; recover it instead", .run_dir.display())]
    AttemptExists {
        /// Its directory.
        run_dir: PathBuf,
        /// The attempt.
        attempt: u32,
    },
    /// An earlier attempt of the same run key is not over.
    #[error("an earlier attempt of this run is still running in {}", .run_dir.display())]
    StillRunning {
        /// The directory of the earlier attempt.
        run_dir: PathBuf,
    },
    /// The journal cannot be written.
    #[error("{}: the run's journal cannot be written", .run_dir.display())]
    Journal {
        /// The run's directory.
        run_dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor process cannot be started.
    #[error("the supervisor process cannot be started")]
    Supervisor(#[source] io::Error),
}

/// How to start a supervisor: this executable's hidden verb.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The executable.
    pub program: PathBuf,
    /// The words before the run directory.
    pub verb: Vec<String>,
}

impl Launcher {
    /// The running executable, also if its file was replaced by an update meanwhile. `verb` as in
    /// [`supervise`](super::supervise).
    #[must_use]
    pub fn this_executable(verb: &[&str]) -> Self {
        Self { program: "/proc/self/exe".into(), verb: verb.iter().map(ToString::to_string).collect() }
    }
}

/// A run that is over, or of which nothing more will be known.
#[derive(Debug)]
pub struct Settled {
    /// Its directory.
    pub run_dir: PathBuf,
    /// What its journal proves; never [`State::Running`]. An error means that the journal cannot be read now: nothing
    /// is known, and nothing of this run key may be started.
    pub state: io::Result<State>,
}

/// A run under way. Dropping it changes nothing for the run.
#[derive(Debug)]
pub struct RunHandle {
    run_dir: PathBuf,
    settled: oneshot::Receiver<io::Result<State>>,
}

impl RunHandle {
    /// The run's directory.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Waits until the supervisor is gone.
    pub async fn settled(self) -> Settled {
        Self::settle(self.run_dir, self.settled.await)
    }

    /// [`settled`](Self::settled) for callers without a runtime; blocks.
    #[must_use]
    pub fn wait(self) -> Settled {
        Self::settle(self.run_dir, self.settled.blocking_recv())
    }

    fn settle(run_dir: PathBuf, received: Result<io::Result<State>, oneshot::error::RecvError>) -> Settled {
        let state = received.unwrap_or_else(|_| Err(io::Error::other("the waiting thread is gone")));
        Settled { run_dir, state }
    }

    /// Attaches to a run whose supervisor another agent process started.
    pub(super) fn attach(run_dir: PathBuf) -> io::Result<Self> {
        let (sender, settled) = oneshot::channel();
        let waited = run_dir.clone();
        spawn_waiter(move || drop(sender.send(journal::wait_settled(&waited))))?;
        Ok(Self { run_dir, settled })
    }
}

/// A thread of its own and not of the runtime's: a program may run for hours, and must not keep the agent from ending.
fn spawn_waiter(wait: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name("run".to_owned()).stack_size(WAITER_STACK_BYTES);
    builder.spawn(wait).map(drop)
}

/// Starts a run under the supervision of a process that outlives this one.
///
/// # Errors
/// See [`StartError`]; nothing was executed then.
pub fn start(state_dir: &Path, intent: &Intent, ticket: &Ticket, launcher: &Launcher) -> Result<RunHandle, StartError> {
    let runs_dir = runs_dir(state_dir);
    let hash = intent.run_key_hash().map_err(|source| StartError::Journal { run_dir: runs_dir.clone(), source })?;
    let key_dir = runs_dir.join(hash);
    let run_dir = key_dir.join(intent.attempt.to_string());
    let journal = |source| StartError::Journal { run_dir: run_dir.clone(), source };
    create_durable(state_dir, &key_dir).map_err(journal)?;
    for attempt in attempts(&key_dir).map_err(journal)? {
        let run_dir = key_dir.join(attempt.to_string());
        if journal::observe(&run_dir).map_err(journal)? == State::Running {
            return Err(StartError::StillRunning { run_dir });
        }
    }
    match DirBuilder::new().mode(0o700).create(&run_dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StartError::AttemptExists { attempt: intent.attempt, run_dir });
        }
        made => made.and_then(|()| sync_dir(&key_dir)).map_err(journal)?,
    }
    // From here to the death of the supervisor somebody always holds the lock: first this process, then both, then the
    // supervisor. If this process dies before the supervisor is born, the lock is free and BEGIN will never come.
    let lock = hold_lock(&run_dir).map_err(journal)?;
    journal::write_record(&run_dir, journal::TICKET, ticket).map_err(journal)?;
    journal::write_record(&run_dir, journal::INTENT, intent).map_err(journal)?;
    let settled = launch(&run_dir, lock, launcher).map_err(StartError::Supervisor)?;
    Ok(RunHandle { run_dir, settled })
}

/// The number of the next attempt of this run key: one more than any that left a directory.
///
/// # Errors
/// The journal cannot be read.
pub fn next_attempt(state_dir: &Path, run_key: &RunKey) -> io::Result<u32> {
    let key_dir = runs_dir(state_dir).join(run_key_hash(run_key)?);
    Ok(attempts(&key_dir)?.into_iter().max().unwrap_or(0).saturating_add(1))
}

/// The attempts of this run key that have, or may have, started the program. Whoever finds one must not start another.
///
/// # Errors
/// The journal cannot be read; nothing may be started then.
pub fn begun(state_dir: &Path, run_key: &RunKey) -> io::Result<Vec<PathBuf>> {
    let key_dir = runs_dir(state_dir).join(run_key_hash(run_key)?);
    let mut begun = Vec::new();
    for attempt in attempts(&key_dir)? {
        let run_dir = key_dir.join(attempt.to_string());
        match journal::observe(&run_dir)? {
            State::NotStarted | State::Ended(End { ending: Ending::CouldNotStart { .. }, .. }) => {}
            State::Running | State::Ended(_) | State::Unknown(_) => begun.push(run_dir),
        }
    }
    Ok(begun)
}

/// What a run is called wherever its state directory lies: the last two parts of its own directory.
#[must_use]
pub fn name_of(run_dir: &Path) -> String {
    let part = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{}/{}", run_dir.parent().map(part).unwrap_or_default(), part(run_dir))
}

/// The directory of the run that is called so.
#[must_use]
pub fn under_name(state_dir: &Path, name: &str) -> PathBuf {
    runs_dir(state_dir).join(name)
}

/// The directory of all run keys.
pub(super) fn runs_dir(state_dir: &Path) -> PathBuf {
    state_dir.join(RUNS)
}

/// The attempts in a run key's directory, in order; none if there is no directory.
pub(super) fn attempts(key_dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(key_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attempts = Vec::new();
    for entry in entries {
        attempts.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    attempts.sort_unstable();
    Ok(attempts)
}

/// Makes the directories from `state_dir` to `key_dir`, each durable in the one that holds it.
fn create_durable(state_dir: &Path, key_dir: &Path) -> io::Result<()> {
    let runs = runs_dir(state_dir);
    for (dir, holder) in [(runs.as_path(), state_dir), (key_dir, runs.as_path())] {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => sync_dir(holder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn hold_lock(run_dir: &Path) -> io::Result<File> {
    let path = run_dir.join(journal::LOCK);
    let lock = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    // Waits only for somebody who is just looking.
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
    Ok(lock)
}

/// Starts the supervisor from the thread that will wait for it, so that it is reaped without a handler for signals and
/// there is no moment at which it runs and nobody waits.
fn launch(run_dir: &Path, lock: File, launcher: &Launcher) -> io::Result<oneshot::Receiver<io::Result<State>>> {
    let (settled_sender, settled) = oneshot::channel();
    let (started_sender, started) = mpsc::channel();
    let (run_dir, launcher) = (run_dir.to_owned(), launcher.clone());
    spawn_waiter(move || match spawn_supervisor(&run_dir, lock, &launcher) {
        Err(error) => drop(started_sender.send(Err(error))),
        Ok(mut child) => {
            let _ = started_sender.send(Ok(()));
            let waited = child.wait();
            drop(settled_sender.send(waited.and_then(|_| journal::wait_settled(&run_dir))));
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the waiting thread is gone")))?;
    Ok(settled)
}

fn spawn_supervisor(run_dir: &Path, lock: File, launcher: &Launcher) -> io::Result<Child> {
    let run_dir = std::path::absolute(run_dir)?;
    let log = run_dir.join(journal::SUPERVISOR_LOG);
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
    Command::new(&launcher.program)
        .args(&launcher.verb)
        .arg(&run_dir)
        .env_clear()
        .current_dir("/")
        .stdin(lock)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}
