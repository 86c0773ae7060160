//! The supervisor's loop while the program runs: takes its output, reaps orphans, notices its end, and ends the whole
//! tree when the maximum run time is over. Writes no journal.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, wait};

use super::journal::Ending;
use super::output::Tail;
use super::tree::Tree;

/// How often orphans are reaped and new output is stored: bounds zombies and what a killed supervisor loses.
const TICK: Duration = Duration::from_secs(1);
/// How often the tree is looked at while it is being ended.
const ENDING_TICK: Duration = Duration::from_millis(20);
/// How long KILL is repeated. Only a process stuck in the kernel outlives it, and no longer waiting would help.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Most output taken after the program has ended; what is still coming is from processes it left behind.
const LAST_OUTPUT_BYTES: u64 = 1 << 20;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_runtime: Duration,
    pub(super) term_grace: Duration,
}

/// A program that runs.
pub(super) struct Watch<'a> {
    pub(super) run_dir: &'a Path,
    pub(super) pid: Pid,
    pub(super) output: File,
    pub(super) tail: Tail,
    pub(super) tree: Tree,
    pub(super) limits: Limits,
    /// When output was stored last.
    pub(super) stored_at: Instant,
}

/// Where the ending of the tree stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The program may run until then; `None` means for ever (a run time beyond what the clock can express).
    Running { until: Option<Instant> },
    /// TERM was sent; KILL follows then.
    Terminating { until: Instant },
    /// KILL is repeated until then.
    Killing { until: Instant },
}

impl Watch<'_> {
    /// Watches until the program has ended, or its whole tree after the maximum run time. Processes that a program
    /// leaves behind when it ends by itself are not touched: starting a service is what many packages do.
    ///
    /// # Errors
    /// The kernel refuses what the watch needs; the program may still run then.
    pub(super) fn run(&mut self) -> io::Result<Ending> {
        rustix::io::ioctl_fionbio(&self.output, true)?;
        let process = pidfd_open(self.pid, PidfdFlags::empty())?;
        let mut output_open = true;
        let mut ended: Option<WaitStatus> = None;
        let mut phase = Phase::Running { until: Instant::now().checked_add(self.limits.max_runtime) };
        loop {
            let process = ended.is_none().then_some(&process);
            self.sleep(process, output_open, phase)?;
            output_open = output_open && self.take_output(u64::MAX)?;
            if self.stored_at.elapsed() >= TICK {
                self.store_output();
            }
            ended = reap(self.pid)?.or(ended);
            if let (Phase::Running { .. }, Some(status)) = (phase, ended) {
                self.finish_output()?;
                return Ok(raw_ending(status));
            }
            match self.advance(phase) {
                Ok(next) => phase = next,
                Err(ending) => {
                    // KILL was sent to all of the tree: its dead are reaped by whoever inherits them.
                    self.finish_output()?;
                    return Ok(ending);
                }
            }
        }
    }

    /// The next phase, or the ending once nothing is left to wait for.
    fn advance(&self, phase: Phase) -> Result<Phase, Ending> {
        let now = Instant::now();
        match phase {
            Phase::Running { until: Some(until) } if now >= until => {
                self.tree.terminate();
                Ok(Phase::Terminating { until: now + self.limits.term_grace })
            }
            Phase::Terminating { .. } if self.tree.members().is_empty() => {
                Err(Ending::TimedOut { killed: false, survivors: 0 })
            }
            Phase::Terminating { until } if now >= until => {
                self.tree.kill();
                Ok(Phase::Killing { until: now + KILL_LIMIT })
            }
            Phase::Killing { until } => {
                let survivors = self.tree.members().len();
                if survivors == 0 || now >= until {
                    return Err(Ending::TimedOut { killed: true, survivors });
                }
                self.tree.kill();
                Ok(phase)
            }
            Phase::Running { .. } | Phase::Terminating { .. } => Ok(phase),
        }
    }

    /// Sleeps until there is output, the program ends, or it is time to look again.
    fn sleep(&self, process: Option<&OwnedFd>, output_open: bool, phase: Phase) -> io::Result<()> {
        let timeout = match phase {
            Phase::Running { until: Some(until) } => until.saturating_duration_since(Instant::now()).min(TICK),
            Phase::Running { until: None } => TICK,
            Phase::Terminating { .. } | Phase::Killing { .. } => ENDING_TICK,
        };
        let timeout = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
        let mut events = Vec::with_capacity(2);
        events.extend(process.map(|process| PollFd::new(process, PollFlags::IN)));
        if output_open {
            events.push(PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN));
        }
        match poll(&mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what the pipe holds, at most `limit_bytes` and at most one tick's worth; false once nobody can write to it.
    fn take_output(&mut self, limit_bytes: u64) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let (mut taken_bytes, until) = (0, Instant::now() + TICK);
        while taken_bytes < limit_bytes && Instant::now() < until {
            match self.output.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.tail.push(&buffer[..count]);
                    taken_bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn finish_output(&mut self) -> io::Result<()> {
        self.take_output(LAST_OUTPUT_BYTES)?;
        self.store_output();
        Ok(())
    }

    /// Stores output; on a full disk the run goes on and the next tick tries again.
    fn store_output(&mut self) {
        self.stored_at = Instant::now();
        if let Err(error) = self.tail.store(self.run_dir) {
            tracing::warn!(run_dir = %self.run_dir.display(), %error, "the program's output cannot be stored");
        }
    }
}

/// Reaps every dead child, adopted ones included; the status of `pid` if it was among them.
fn reap(pid: Pid) -> io::Result<Option<WaitStatus>> {
    let mut status = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((reaped, reaped_status))) if reaped == pid => status = Some(reaped_status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(status),
            Err(error) => return Err(error.into()),
        }
    }
}

fn raw_ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, signal) => Ending::Signalled { signal: signal.unwrap_or_default() },
    }
}
