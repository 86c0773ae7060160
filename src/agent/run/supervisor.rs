//! The process that stands over one run, from before the program exists until after it is gone. It verifies, writes
//! BEGIN, lets the stage process become the program, watches, and writes END. It outlives the agent: it has its own
//! session, and a service manager must stop the agent only (systemd: `KillMode=process`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{Pid, Resource, Rlimit};

use super::account::{self, Account};
use super::cgroup::Cgroup;
use super::journal::{self, Begin, End, Ending, Started};
use super::output::Tail;
use super::stage::{Executable, Order};
use super::tree::{self, Tree};
use super::verify::{self, Program, Refusal, Verified};
use super::watch::{Limits, Watch};
use super::{Intent, Ticket};
use crate::clock;
use crate::model::reason::Reason;

/// Where programs are looked up. Fixed, so that a run does not depend on how the agent was started.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest text about why a program was not started: END has to fit into the space set aside for it.
const MAX_DETAIL_BYTES: usize = 1024;
/// Pause between tries to write END on a disk that refuses.
const END_RETRY: Duration = Duration::from_secs(1);
/// Tries to write END: an hour, in which somebody may make room. The run counts as running meanwhile, and as Unknown
/// afterwards.
const END_TRIES: u32 = 3600;

/// Why a run could not be supervised.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The caller is not the agent that prepared this run, or the run was supervised before.
    #[error("{}: not a run to supervise: {what}; runs are started by the agent only", .run_dir.display())]
    NotPrepared {
        /// The run's directory.
        run_dir: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A file of the journal cannot be read or written.
    #[error("{}: cannot {what}", .run_dir.display())]
    Journal {
        /// The run's directory.
        run_dir: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refuses what a supervisor needs.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Supervises the run in `run_dir`, whose lock is handed over as standard input. `verb` as in
/// [`supervise`](super::supervise).
///
/// # Errors
/// Before BEGIN: no program was started. After it: END is missing and the run will be `Unknown`.
pub fn supervise(run_dir: &Path, verb: &[&str]) -> Result<(), SuperviseError> {
    // Held until this process ends; the stage and the program never get it.
    let _lock = take_lock(run_dir)?;
    detach()?;
    let journal = |what| {
        let run_dir = run_dir.to_owned();
        move |source| SuperviseError::Journal { run_dir, what, source }
    };
    journal::reserve_end(run_dir).map_err(journal("set space aside for its end"))?;
    let (ending, output_bytes) = match prepare(run_dir) {
        Ok(prepared) => run(run_dir, verb, prepared)?,
        Err(Refusal { reason, detail }) => (Ending::CouldNotStart { reason, detail: short(detail) }, 0),
    };
    let end = End { ending, ended_at: clock::now(), output_bytes };
    write_end(run_dir, &end).map_err(journal("write how it ended"))
}

/// Takes over the lock that the agent holds for this process, and makes sure that nobody was here before.
fn take_lock(run_dir: &Path) -> Result<File, SuperviseError> {
    let refuse = |what| SuperviseError::NotPrepared { run_dir: run_dir.to_owned(), what };
    let system = |what| move |source: io::Error| SuperviseError::System { what, source };
    let lock = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(system("keep the lock"))?);
    let named = std::fs::metadata(run_dir.join(journal::LOCK)).map_err(|_| refuse("it has no lock file"))?;
    let held = lock.metadata().map_err(system("look at the lock"))?;
    if (named.dev(), named.ino()) != (held.dev(), held.ino()) {
        return Err(refuse("standard input is not its lock"));
    }
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| refuse("another process holds its lock"))?;
    if [journal::BEGIN, journal::END].iter().any(|name| run_dir.join(name).exists()) {
        return Err(refuse("it has already begun"));
    }
    let null = File::open("/dev/null").map_err(system("open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| system("take /dev/null as input")(error.into()))?;
    Ok(lock)
}

/// Leaves the agent's session, becomes the parent of orphans, and sets what the program inherits.
fn detach() -> Result<(), SuperviseError> {
    let system = |what| move |error: rustix::io::Errno| SuperviseError::System { what, source: error.into() };
    rustix::process::setsid().map_err(system("leave the agent's session"))?;
    // The kernel reads the argument as a switch; our own id says "on".
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(system("adopt orphans"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, no_core).map_err(system("forbid core files"))
}

/// A run that may begin.
struct Prepared {
    intent: Intent,
    ticket: Ticket,
    account: Account,
    verified: Verified,
}

fn prepare(run_dir: &Path) -> Result<Prepared, Refusal> {
    let damaged = |error: io::Error| Refusal { reason: Reason::JournalDamaged, detail: error.to_string() };
    let ticket = journal::read_ticket(run_dir).map_err(damaged)?;
    let intent = journal::read_intent(run_dir).map_err(damaged)?;
    let intent = intent.ok_or_else(|| damaged(io::Error::other("the run's intent cannot be read")))?;
    let agent_uid = rustix::process::geteuid().as_raw();
    let account = account::choose(ticket.run_as.as_deref(), ticket.allow_root, agent_uid, Path::new("/etc"))?;
    let verified = verify::verify(&ticket)?;
    Ok(Prepared { intent, ticket, account, verified })
}

/// From BEGIN to the end of the program: how it ended and how much it wrote.
fn run(run_dir: &Path, verb: &[&str], prepared: Prepared) -> Result<(Ending, u64), SuperviseError> {
    let limits = Limits {
        max_runtime: Duration::from_secs(prepared.ticket.max_runtime_seconds),
        term_grace: Duration::from_secs(prepared.ticket.term_grace_seconds),
    };
    let (pid, output, cgroup) = match begin(run_dir, verb, prepared) {
        Ok(begun) => begun,
        Err(Refusal { reason, detail }) => return Ok((Ending::CouldNotStart { reason, detail: short(detail) }, 0)),
    };
    let mut watch = Watch {
        run_dir,
        pid,
        output,
        tail: Tail::default(),
        tree: Tree::new(cgroup),
        limits,
        stored_at: Instant::now(),
    };
    let ending = watch.run().map_err(|source| SuperviseError::System { what: "watch the program", source })?;
    Ok((ending, watch.tail.total_bytes()))
}

/// Writes BEGIN and starts the program.
///
/// # Errors
/// The program was not started, whether BEGIN was written or not.
fn begin(run_dir: &Path, verb: &[&str], prepared: Prepared) -> Result<(Pid, File, Option<Cgroup>), Refusal> {
    let refuse = |what: &str, error: io::Error| {
        let reason = if error.kind() == io::ErrorKind::StorageFull { Reason::DiskFull } else { Reason::StartFailed };
        Refusal { reason, detail: format!("{what}: {error}") }
    };
    let Prepared { intent, ticket, account, verified } = prepared;
    let (output, program_output) = io::pipe().map_err(|error| refuse("cannot make a pipe for its output", error))?;
    let (stage_input, their_input) = UnixStream::pair().map_err(|error| refuse("cannot make a socket", error))?;
    // A file of the package travels as the stage's standard error: an open descriptor, not a name.
    let (executable, their_errors) = match verified.program {
        Program::System(path) => (Executable::Path(path), program_output.try_clone().map(Stdio::from)),
        Program::Package { file, interpreted } => (Executable::StandardError { interpreted }, Ok(Stdio::from(file))),
    };
    let stage = Command::new("/proc/self/exe")
        .args(verb)
        .arg("--exec")
        .env_clear()
        .current_dir(&verified.cwd)
        .stdin(Stdio::from(OwnedFd::from(their_input)))
        .stdout(program_output)
        .stderr(their_errors.map_err(|error| refuse("cannot make a pipe for its errors", error))?)
        .spawn()
        .map_err(|error| refuse("cannot start the stage process", error))?;
    let pid = Pid::from_child(&stage);
    let cgroup = cgroup_name(run_dir).and_then(|name| Cgroup::create(&name));
    let record = Begin {
        boot_id: tree::boot_id().map_err(|error| refuse("cannot read the boot id", error))?,
        pid: pid.as_raw_nonzero().get(),
        start_time_ticks: tree::start_time_ticks(pid.as_raw_nonzero().get()).unwrap_or_default(),
        attempt: intent.attempt,
        began_at: clock::now(),
        cgroup: cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned()),
    };
    // Until here every way out closes the socket, and the stage process ends without having become anything.
    journal::write_record(run_dir, journal::BEGIN, &record).map_err(|error| refuse("cannot write BEGIN", error))?;
    let order = Order {
        executable,
        env: environment(&ticket, &account),
        argv: ticket.argv,
        account,
        cgroup_procs: cgroup.as_ref().map(Cgroup::procs),
    };
    give_order(stage_input, &order)?;
    let started = Started { started_at: clock::now() };
    if let Err(error) = journal::write_record(run_dir, journal::STARTED, &started) {
        // Said later then: how it ends will prove it.
        tracing::warn!(run_dir = %run_dir.display(), %error, "that the program was started cannot be written down");
    }
    Ok((pid, File::from(OwnedFd::from(output)), cgroup))
}

/// Sends the order and waits until the program runs or the stage process says why not.
fn give_order(mut stage: UnixStream, order: &Order) -> Result<(), Refusal> {
    let refuse = |detail| Refusal { reason: Reason::StartFailed, detail };
    let mut line = serde_json::to_vec(order).map_err(|error| refuse(format!("cannot write the order: {error}")))?;
    line.push(b'\n');
    stage.write_all(&line).map_err(|error| refuse(format!("the stage process went away: {error}")))?;
    // The stream ends at exec. If it cannot be read the program may run, so it counts as started.
    let mut complaint = String::new();
    match stage.read_to_string(&mut complaint) {
        Ok(1..) => Err(refuse(complaint)),
        Ok(0) | Err(_) => Ok(()),
    }
}

/// Unique on the machine as far as run keys are, and telling for whoever looks at the groups.
fn cgroup_name(run_dir: &Path) -> Option<String> {
    let (attempt, key) = (run_dir.file_name()?.to_str()?, run_dir.parent()?.file_name()?.to_str()?);
    Some(format!("waybill-run-{}-{attempt}-{}", key.get(..12)?, std::process::id()))
}

/// The program's whole environment. Its own variables may replace the fixed ones, never those that name the run.
fn environment(ticket: &Ticket, account: &Account) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), account.home.clone()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    env.extend(ticket.env.clone());
    let content = ticket.content.as_ref().map(|content| content.dir.to_string_lossy().into_owned());
    env.extend(content.map(|dir| ("WAYBILL_CONTENT".to_owned(), dir)));
    env.insert("WAYBILL_PACKAGE".to_owned(), ticket.package.clone());
    env.insert("WAYBILL_PROGRAM".to_owned(), ticket.program.clone());
    env.insert("WAYBILL_SOURCE_VERSION".to_owned(), ticket.source_version.to_string());
    env
}

/// Writes END, patiently: without it a program that ended well would be `Unknown`.
fn write_end(run_dir: &Path, end: &End) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match journal::write_end(run_dir, end) {
            Ok(()) => return Ok(()),
            // Where the run is gone with its whole directory nobody asks for its end any more.
            Err(error) if tries == END_TRIES || !run_dir.exists() => return Err(error),
            Err(error) => tracing::warn!(run_dir = %run_dir.display(), %error, "END cannot be written; trying again"),
        }
        tries += 1;
        std::thread::sleep(END_RETRY);
    }
}

fn short(mut detail: String) -> String {
    let mut end = detail.len().min(MAX_DETAIL_BYTES);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    detail
}
