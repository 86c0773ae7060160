//! Running programs at most once: the journal of every run, the supervisor process that starts and watches the program,
//! and what an agent does with both after it was itself killed. Says how a run ended, raw; what that means (success
//! codes, retries, reruns) is decided in `plan`.
//!
//! The order of one run: [`start()`] writes the intent and the ticket and starts a supervisor that already holds the
//! run's lock; [`supervisor`] verifies every byte, writes BEGIN durably, lets the stage process become the program,
//! and writes END durably. At any moment of this any process may be killed: [`recover()`] tells from the files and the
//! lock alone what is known.

pub mod journal;
pub mod output;
pub mod start;
pub mod supervisor;
pub mod ticket;

mod account;
mod cgroup;
mod recover;
mod retention;
mod stage;
mod tree;
mod verify;
mod watch;

pub use journal::{Begin, End, Ending, LossCause, Lost, State};
pub use recover::{Recovered, recover};
pub use retention::{prune_outputs, prune_runs};
pub use start::{Launcher, RunHandle, Settled, StartError, begun, name_of, next_attempt, start, under_name};
pub use ticket::{Intent, Ticket};

/// What the hidden verb `supervise` was asked to be.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct SuperviseArgs {
    /// The directory of the run to supervise.
    #[arg(required_unless_present = "exec")]
    pub run_dir: Option<std::path::PathBuf>,
    /// Become the program that the supervisor at the other end of standard input names.
    #[arg(long, conflicts_with = "run_dir")]
    pub exec: bool,
}

/// The hidden verb `supervise`. `verb` is how this executable reaches the verb (`["supervise"]`, or `["agent",
/// "supervise"]` for the server binary), for the stage process is the same executable again.
///
/// Call it before any thread exists: the stage changes its user, which Linux does per thread.
///
/// # Errors
/// The run could not be supervised; nothing was started then, or the journal says what was.
pub fn supervise(args: &SuperviseArgs, verb: &[&str]) -> anyhow::Result<()> {
    crate::telemetry::init(&crate::telemetry::warnings());
    match &args.run_dir {
        Some(run_dir) if !args.exec => Ok(supervisor::supervise(run_dir, verb)?),
        _ => Ok(stage::become_program()?),
    }
}
