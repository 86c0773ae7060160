//! The processes of the demo: each is this executable with other words, logs to a file of its own, and is ended by its
//! process id, the last started first.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A process that was asked to end is killed after this time.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when its process ended by itself.
const SHOWN_LINES: usize = 5;

/// Every process that was started and not yet ended.
pub(super) struct Processes {
    executable: PathBuf,
    logs: PathBuf,
    running: Vec<(String, Child)>,
}

impl Processes {
    /// None yet; logs go below `logs`.
    pub(super) fn new(logs: PathBuf) -> Result<Self> {
        let executable = std::env::current_exe().context("cannot find this executable")?;
        Ok(Self { executable, logs, running: Vec::new() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        // Away from the terminal's process group: Ctrl-C reaches the demo, which ends the others in order.
        command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }

    /// Starts one that stays.
    pub(super) fn start(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let log = File::create(self.log(name))?;
        let child = self
            .command(arguments)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.running.push((name.to_owned(), child));
        Ok(())
    }

    /// Runs one to its end; gives what it wrote.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(arguments).output().await?;
        if !output.status.success() {
            bail!("waybill {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Whether all still run.
    ///
    /// # Errors
    /// The first that does not, with the end of its log.
    pub(super) fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(self.logs.join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
                bail!("{name} ended by itself ({status}):\n{}", end.join("\n"));
            }
        }
        Ok(())
    }

    /// Ends all, clients before points before the site.
    ///
    /// # Errors
    /// Names those that had to be killed.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let mut killed = Vec::new();
        while let Some((name, mut child)) = self.running.pop() {
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM);
            }
            if timeout(END_PATIENCE, child.wait()).await.is_err() {
                child.kill().await?;
                killed.push(name);
            }
        }
        if !killed.is_empty() {
            bail!("{} did not end within {} s and were killed", killed.join(", "), END_PATIENCE.as_secs());
        }
        Ok(())
    }
}
