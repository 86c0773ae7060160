//! One server process in the scratch directory, with its log; and waiting for what it shall do. Who ends it is `guardian`.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How much of a log explains a failure.
const TAIL_LINES: usize = 25;
const POLL: Duration = Duration::from_millis(25);

/// A started process.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` inside `directory`; what it says goes to a file there.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        directory: &Path,
    ) -> io::Result<Process> {
        let mut command = Command::new(program);
        // Settings of the machine's own must not decide an outcome: etcd reads ETCD_*.
        command.args(arguments).env_clear();
        Process::run(name, command, directory)
    }

    /// The same for a command that has its arguments and its environment already.
    pub(crate) fn run(name: &'static str, mut command: Command, directory: &Path) -> io::Result<Process> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command.current_dir(directory).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Process { name, child: command.spawn()?, log })
    }

    /// Its id on the machine.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits until `holds`; at most `limit`, and not longer than the process lives.
    pub(crate) async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + limit;
        while !holds().await {
            if let Some(status) = self.ended() {
                return Err(format!("{} ended ({status}) before {what}:\n{}", self.name, self.last_words()));
            }
            if Instant::now() >= end {
                return Err(format!("{}: not {what} within {limit:?}:\n{}", self.name, self.last_words()));
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A server without its store would wait for it for ever: no gentle signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
