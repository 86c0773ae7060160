//! The files of one run and what they prove. BEGIN is durable before the program exists and END is durable before the
//! supervisor goes, and the supervisor holds the lock from before its birth to its death; so lock, BEGIN and END alone
//! tell whether a program was started. Decides nothing about running again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::reason::Reason;

/// What is about to run, written by the agent.
pub const INTENT: &str = "intent.json";
/// How to run it, written by the agent.
pub const TICKET: &str = "ticket.json";
/// Held by the supervisor for its whole life.
pub const LOCK: &str = "lock";
/// Present: the program may have been started.
pub const BEGIN: &str = "begin.json";
/// Present: the program was started. May be absent although it was, if the supervisor or the disk failed in between.
pub const STARTED: &str = "started.json";
/// Present: the run is over, and how.
pub const END: &str = "end.json";
/// The last 64 KiB that the program wrote.
pub const OUTPUT: &str = "output";
/// What a supervisor that fails has to say.
pub const SUPERVISOR_LOG: &str = "supervisor.log";

/// Longest journal file that is read: ours are under 4 KiB, a ticket's environment and command line may be larger.
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// Disk space set aside for END before BEGIN is written, so that a disk which the program fills cannot swallow END.
const END_RESERVE_BYTES: usize = 4096;
/// Where END is prepared.
const END_RESERVED: &str = "end.reserved";

/// The program is about to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begin {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Process id that the program has.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: with `pid` and `boot_id` it names one process for ever.
    pub start_time_ticks: u64,
    /// The attempt.
    pub attempt: u32,
    /// When.
    pub began_at: Timestamp,
    /// The control group of the program, where one could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

/// The stage process became the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    /// When.
    pub(super) started_at: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Ending {
    /// The program ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that did not come from the supervisor ended the program.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// The maximum run time passed and the process tree was ended.
    TimedOut {
        /// Whether KILL was needed after TERM.
        killed: bool,
        /// Processes that survived even KILL (stuck in the kernel); 0 as a rule.
        survivors: usize,
    },
    /// The program was not started.
    CouldNotStart {
        /// The class of the obstacle.
        reason: Reason,
        /// What exactly, for people.
        detail: String,
    },
}

/// The run is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// How.
    pub ending: Ending,
    /// When.
    pub ended_at: Timestamp,
    /// Bytes the program wrote to standard output and standard error; only the last are kept.
    pub output_bytes: u64,
}

/// What the files and the lock of a run prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No program was started and none will be.
    NotStarted,
    /// A supervisor lives.
    Running,
    /// The supervisor finished.
    Ended(End),
    /// A program may have been started and nobody knows how it ended. Never run again by itself.
    Unknown(Lost),
}

/// What is left of a run whose end nobody saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How the end was lost.
    pub cause: LossCause,
    /// Whether the program itself is still running, unwatched.
    pub program_alive: bool,
    /// BEGIN, if it can be read.
    pub begin: Option<Begin>,
}

/// How the end of a run was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The supervisor was killed.
    SupervisorLost,
    /// The machine went down in mid-run; a program that restarts its machine looks like this.
    Rebooted,
    /// A file of the journal cannot be read.
    JournalDamaged,
}

/// Tells the state of the run in `run_dir` without waiting.
///
/// # Errors
/// The files cannot be read; nothing is known then and nothing may be started.
pub fn observe(run_dir: &Path) -> io::Result<State> {
    let Some(lock) = open_lock(run_dir)? else { return read_settled(run_dir) };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => read_settled(run_dir),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(State::Running),
        Err(error) => Err(error.into()),
    }
}

/// Waits until no supervisor lives, then tells the state. Blocks its thread for as long as the program runs.
///
/// # Errors
/// As [`observe`].
pub fn wait_settled(run_dir: &Path) -> io::Result<State> {
    if let Some(lock) = open_lock(run_dir)? {
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockShared))?;
        return read_settled(run_dir);
    }
    read_settled(run_dir)
}

fn open_lock(run_dir: &Path) -> io::Result<Option<File>> {
    match File::open(run_dir.join(LOCK)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file of the journal as it was found.
enum Found<T> {
    Absent,
    Damaged,
    Whole(T),
}

/// The state when nobody holds the lock. Whatever cannot be read counts as started.
fn read_settled(run_dir: &Path) -> io::Result<State> {
    let begin = read_record::<Begin>(run_dir, BEGIN)?;
    let damaged =
        |begin| State::Unknown(Lost { cause: LossCause::JournalDamaged, program_alive: alive(&begin), begin });
    Ok(match (read_record::<End>(run_dir, END)?, begin) {
        (Found::Whole(end), _) => State::Ended(end),
        (Found::Damaged, Found::Whole(begin)) => damaged(Some(begin)),
        (Found::Damaged, _) | (Found::Absent, Found::Damaged) => damaged(None),
        (Found::Absent, Found::Whole(begin)) => State::Unknown(lost(begin)),
        (Found::Absent, Found::Absent) => match read_record::<super::Intent>(run_dir, INTENT)? {
            Found::Damaged => damaged(None),
            Found::Absent | Found::Whole(_) => State::NotStarted,
        },
    })
}

fn lost(begin: Begin) -> Lost {
    let same_boot = super::tree::boot_id().is_ok_and(|boot_id| boot_id == begin.boot_id);
    let cause = if same_boot { LossCause::SupervisorLost } else { LossCause::Rebooted };
    let begin = Some(begin);
    Lost { cause, program_alive: alive(&begin), begin }
}

fn alive(begin: &Option<Begin>) -> bool {
    begin.as_ref().is_some_and(|begin| {
        super::tree::boot_id().is_ok_and(|boot_id| boot_id == begin.boot_id)
            && super::tree::start_time_ticks(begin.pid) == Some(begin.start_time_ticks)
    })
}

/// Reads the intent; `None` if it is absent or damaged.
///
/// # Errors
/// It exists but cannot be read at all.
pub fn read_intent(run_dir: &Path) -> io::Result<Option<super::Intent>> {
    Ok(match read_record(run_dir, INTENT)? {
        Found::Whole(intent) => Some(intent),
        Found::Absent | Found::Damaged => None,
    })
}

/// Reads BEGIN; `None` if it is absent or damaged.
fn read_begin(run_dir: &Path) -> io::Result<Option<Begin>> {
    Ok(match read_record(run_dir, BEGIN)? {
        Found::Whole(begin) => Some(begin),
        Found::Absent | Found::Damaged => None,
    })
}

/// When the program was started, if that is proven: by the supervisor's word, or by an end that only a started program
/// has. `state` is what is known of the run.
///
/// # Errors
/// The files cannot be read.
pub fn started_at(run_dir: &Path, state: &State) -> io::Result<Option<Timestamp>> {
    if let Found::Whole(Started { started_at }) = read_record(run_dir, STARTED)? {
        return Ok(Some(started_at));
    }
    let State::Ended(End { ending, ended_at, .. }) = state else { return Ok(None) };
    match ending {
        Ending::Exited { .. } | Ending::Signalled { .. } | Ending::TimedOut { .. } => {
            Ok(Some(read_begin(run_dir)?.map_or(*ended_at, |begin| begin.began_at)))
        }
        Ending::CouldNotStart { .. } => Ok(None),
    }
}

/// Removes the control group of a run that is over, if a killed supervisor or a process left behind kept it so far. The
/// kernel refuses while a process is in it; then the next look tries again.
pub(super) fn remove_cgroup(run_dir: &Path) {
    if let Ok(Some(Begin { cgroup: Some(cgroup), .. })) = read_begin(run_dir) {
        let _ = std::fs::remove_dir(cgroup);
    }
}

fn read_record<T: DeserializeOwned>(run_dir: &Path, name: &str) -> io::Result<Found<T>> {
    let file = match File::open(run_dir.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Ok(Found::Damaged);
    }
    Ok(serde_json::from_slice(&bytes).map_or(Found::Damaged, Found::Whole))
}

/// Reads the ticket.
///
/// # Errors
/// It is absent, too large or not a ticket.
pub(super) fn read_ticket(run_dir: &Path) -> io::Result<super::Ticket> {
    match read_record(run_dir, TICKET)? {
        Found::Whole(ticket) => Ok(ticket),
        Found::Absent => Err(io::Error::new(io::ErrorKind::NotFound, "the run has no ticket")),
        Found::Damaged => Err(io::Error::new(io::ErrorKind::InvalidData, "the run's ticket cannot be read")),
    }
}

/// Writes one record so that after any crash it is there whole or not at all, and stays there. Never replaces one.
pub(super) fn write_record(run_dir: &Path, name: &str, record: &impl Serialize) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let mut file = create_private(&run_dir.join(&temporary))?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    publish(run_dir, &file, &temporary, name, RenameFlags::NOREPLACE)
}

/// Sets space aside for END.
pub(super) fn reserve_end(run_dir: &Path) -> io::Result<()> {
    let mut file = create_private(&run_dir.join(END_RESERVED))?;
    file.write_all(&[b' '; END_RESERVE_BYTES])?;
    file.sync_all()
}

/// Writes END into the space set aside for it. May be called again after a failure: the bytes are written anew, for
/// after a failed fsync the kernel takes those it had for stored.
pub(super) fn write_end(run_dir: &Path, end: &End) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(end)?;
    // Blanks after a JSON document mean nothing, and a length that stays the same needs no new space.
    bytes.resize(bytes.len().max(END_RESERVE_BYTES), b' ');
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(run_dir.join(END_RESERVED))?;
    file.write_all(&bytes)?;
    publish(run_dir, &file, END_RESERVED, END, RenameFlags::empty())
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn publish(run_dir: &Path, file: &File, from: &str, to: &str, flags: RenameFlags) -> io::Result<()> {
    file.sync_all()?;
    let dir = File::open(run_dir)?;
    renameat_with(&dir, from, &dir, to, flags)?;
    dir.sync_all()
}
