//! The process that becomes the program. The supervisor starts it as a child, writes BEGIN with its process id, and only
//! then sends the order; so BEGIN names the program before the program exists, without any code between fork and exec.
//! If the supervisor dies first, the order never comes and nothing is started.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::FdFlags;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::account::Account;

/// What to become.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Order {
    /// What to execute.
    pub(super) executable: Executable,
    /// The command line, first word included.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// The account.
    pub(super) account: Account,
    /// The run's control group, by its `cgroup.procs`.
    pub(super) cgroup_procs: Option<PathBuf>,
}

/// What the kernel is asked to execute.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Executable {
    /// A program of the machine.
    Path(PathBuf),
    /// The file that the supervisor hashed, open as standard error.
    StandardError {
        /// Whether an interpreter opens the descriptor again after exec, so that exec must not close it.
        interpreted: bool,
    },
}

/// Why the stage process did not become the program.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    /// Nobody, or something else than a supervisor, is at the other end of standard input.
    #[error("no order came on standard input; this verb is for the supervisor only")]
    NoOrder(#[source] io::Error),
    /// A step on the way failed.
    #[error("{step}")]
    Step {
        /// Which.
        step: String,
        /// Why.
        source: io::Error,
    },
}

/// Takes the order from standard input and becomes the program. Returns only if that failed, after having said why to
/// the supervisor.
///
/// # Errors
/// Always one: on success this process is the program.
pub(super) fn become_program() -> Result<(), StageError> {
    // The copy is closed by exec: the supervisor sees the end of the stream and knows that the program runs.
    let supervisor = io::stdin().as_fd().try_clone_to_owned().map_err(StageError::NoOrder)?;
    let mut supervisor = UnixStream::from(supervisor);
    let order = read_order(&supervisor).map_err(StageError::NoOrder)?;
    let Err(error) = follow(&order);
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let _ = supervisor.write_all(format!("{error}: {cause}").as_bytes());
    Err(error)
}

fn read_order(supervisor: &UnixStream) -> io::Result<Order> {
    let mut line = String::new();
    BufReader::new(supervisor).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

fn follow(order: &Order) -> Result<std::convert::Infallible, StageError> {
    let step = |step: &str| {
        let step = step.to_owned();
        move |source: io::Error| StageError::Step { step, source }
    };
    let null = File::open("/dev/null").map_err(step("cannot open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| step("cannot take /dev/null as input")(error.into()))?;
    if let Some(procs) = &order.cgroup_procs {
        fs::write(procs, "0").map_err(step("cannot enter the control group"))?;
    }
    if order.account.switch {
        switch_account(&order.account).map_err(step("cannot become the account of runAs"))?;
    }
    if order.account.uid != 0 {
        let set = rustix::thread::set_no_new_privs(true);
        set.map_err(|error| step("cannot give up gaining privileges")(error.into()))?;
    }
    let name = order.argv.first().map_or("", String::as_str);
    let cannot_execute = || step(&format!("cannot execute \"{name}\""));
    close_on_exec().map_err(step("cannot find open descriptors"))?;
    let (path, _file) = open_executable(&order.executable).map_err(cannot_execute())?;
    let mut program = Command::new(path);
    program.arg0(name).args(order.argv.iter().skip(1)).env_clear().envs(&order.env);
    Err(cannot_execute()(program.exec()))
}

/// Lets exec close whatever came down from the process that started the agent. Our own descriptors are closed by exec
/// anyway.
fn close_on_exec() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if number > 2 {
            #[expect(
                unsafe_code,
                reason = "a descriptor that nobody handed to this program is known by its number only"
            )]
            // SAFETY: the number was just listed as open, and nothing closes descriptors here: the process has one
            // thread, which is in this loop. Only a flag of the descriptor is changed.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

/// The path that names what was hashed, and the descriptor behind it, which must live until exec. Afterwards standard
/// error is where standard output goes.
fn open_executable(executable: &Executable) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    match executable {
        Executable::Path(path) => Ok((path.clone(), None)),
        Executable::StandardError { interpreted } => {
            let file = io::stderr().as_fd().try_clone_to_owned()?;
            if *interpreted {
                rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
            }
            rustix::stdio::dup2_stderr(io::stdout())?;
            Ok((PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), Some(file)))
        }
    }
}

/// Changes groups and ids for good. Linux does this per thread, hence the check: a second thread would stay root.
fn switch_account(account: &Account) -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the stage process has more than one thread"));
    }
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
