//! Starting an agent process from its arguments: join file, configuration, runtime, signals. Shared by `waybill agent`
//! and the slim agent; prints nothing.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{DEFAULT_STATE, Options, config::LocalConfig, default_socket, run::Launcher};
use crate::wire::enrol::{JOIN_FILE_BYTES_MAX, JoinFile};

/// How long blocking work may go on after the end; a download is continued by the next agent.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// How an agent is run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The join file that `waybill token create` wrote, or - for standard input; needed once, and again if the site deletes this machine
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// Where the agent keeps everything; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// What the machine's owner decides: allowRoot, systemPaths, factsDirectory (JSON) [default: /etc/waybill/agent.json, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket of local users [default: the state directory's name with .sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// How to reach the agent of this machine.
#[derive(Clone, Debug, clap::Args)]
pub struct SocketArgs {
    /// The agent's socket [default: the state directory's name with .sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The agent's state directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
}

impl SocketArgs {
    /// The socket.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| default_socket(&self.state))
    }
}

/// Runs an agent until SIGINT or SIGTERM. `supervise` is how this executable reaches the hidden verb.
///
/// # Errors
/// If it cannot start, or a part of it ends.
pub fn run_until_signalled(args: RunArgs, supervise: &[&str]) -> anyhow::Result<()> {
    let join = args.join.as_deref().map(read_join).transpose()?;
    let options = Options {
        join,
        config: LocalConfig::find(args.config.as_deref())?,
        socket: args.socket.unwrap_or_else(|| default_socket(&args.state)),
        state: args.state,
        launcher: Launcher::this_executable(supervise),
    };
    // One thread: an agent waits, and its memory is what it costs on every client.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            stop.cancel();
        });
        anyhow::Ok(super::run(options, shutdown).await?)
    });
    runtime.shutdown_timeout(STOP_TIMEOUT);
    done
}

/// Reads a join file, which is a secret and therefore never an argument itself.
fn read_join(path: &Path) -> anyhow::Result<JoinFile> {
    let limit = JOIN_FILE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes).context("the join file on standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("the join file {}", path.display()))?;
        file.take(limit).read_to_end(&mut bytes).with_context(|| format!("the join file {}", path.display()))?;
    }
    Ok(JoinFile::decode(&bytes)?)
}
