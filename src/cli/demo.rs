//! `waybill demo`: a site, a second distribution point, a second access point and five clients as real processes on this
//! machine, and a story in three acts. It only starts processes, commits to git and looks; everything else they do.

mod acts;
mod fleet;
mod observe;
mod processes;
mod progress;
mod scratch;
mod tables;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use self::{processes::Processes, scratch::Scratch};
use super::out::{self, Out};

/// Show everything at once: a site, points and five clients on this machine, and software that arrives, changes and goes
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End after the last act instead of staying up; exit code 0 only if every client reached the declared state
    #[arg(long)]
    once: bool,
    /// Directory for everything the demo makes; must be empty or not exist [default: a new one in the temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave that directory when the demo ends
    #[arg(long)]
    keep: bool,
    /// How long one commit may take to reach every client, in seconds; slow machines need more
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

impl Demo {
    /// Plays the demo.
    ///
    /// # Errors
    /// If something declared did not happen in time. The directory with the logs then stays, and is named.
    pub(super) fn run(self, out: &mut Out) -> Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.play(out))
    }

    async fn play(self, out: &mut Out) -> Result<()> {
        crate::transport::install_crypto();
        let scratch = Scratch::make(self.dir)?;
        let mut processes = Processes::new(scratch.path("logs"))?;
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // A terminal that is closed: nobody would ever end the processes.
        let mut hangup = signal(SignalKind::hangup())?;
        let played = tokio::select! {
            played = acts::play(&scratch, &mut processes, out, self.once, Duration::from_secs(self.patience)) => played,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hangup.recv() => Ok(()),
        };
        let stopped = processes.stop().await;
        // Without an audience nothing went wrong that somebody would look into.
        if played.as_ref().is_err_and(out::is_unwritten) {
            if !self.keep {
                scratch.remove()?;
            }
            return played;
        }
        if self.keep || played.is_err() {
            out.say(&format!("Everything the demo made is in {}", scratch.root().display()))?;
        } else {
            scratch.remove()?;
        }
        played.with_context(|| format!("the demo failed; the logs are in {}", scratch.path("logs").display()))?;
        stopped
    }
}
