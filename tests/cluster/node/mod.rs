//! The node level of the real Kubernetes: the API level's programs and kubelet, containerd, runc and CNI, in namespaces of their
//! own on this machine, as root. Pods really run, and agents live on a network beside it. Nothing of it is left afterwards.

mod images;
mod install;
mod place;
mod settings;
mod smoke;
mod start;
mod tools;
mod volumes;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::api_level::{Guardian, Process};
use place::Place;

const POLL: Duration = Duration::from_millis(250);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A running cluster of one node. It ends, with everything in its directory, when this is dropped or the process ends, however
/// that comes about.
pub(crate) struct Node {
    // Fields are dropped in order: the parts, the namespaces with everything else in them, then the directory.
    processes: Vec<Process>,
    place: Place,
    directory: PathBuf,
    _guardian: Guardian,
}

impl Node {
    /// A node of the calling test's own; `None`, after saying so, where nobody asked for one.
    ///
    /// # Panics
    /// If it was asked for and does not start.
    pub(crate) fn start() -> Option<Node> {
        crate::require::node().then(|| {
            // A runtime of its own: whoever asks may be inside one.
            let started = std::thread::spawn(start::blocking).join().unwrap();
            started.unwrap_or_else(|error| panic!("the node did not start: {error}"))
        })
    }

    /// Its scratch directory, for files and processes that shall go with it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A program of the path, in the node's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.place.command(program, &self.directory)
    }

    /// A program on the agents' side of the network.
    pub(crate) fn agents_command(&self, program: &Path, directory: &Path) -> Command {
        self.place.agents_command(program, directory)
    }

    /// What kubectl prints, or says against it.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command("kubectl");
        command.arg("--kubeconfig").arg(self.directory.join("kubeconfig")).args(arguments);
        succeed(command)
    }

    /// Applies manifests.
    #[track_caller]
    pub(crate) fn apply(&self, name: &str, manifests: &str) {
        let file = self.directory.join(format!("{name}.yaml"));
        std::fs::write(&file, manifests).unwrap();
        self.kubectl(&["apply", "--server-side", "--filename", file.to_str().unwrap()]).unwrap();
    }

    /// What helm prints, the words of hooks among it, or says against it.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        // It passes on what hooks say on its other output.
        let mut command = self.command("sh");
        command
            .args(["-c", "exec helm \"$@\" 2>&1", "helm"])
            .args(arguments)
            .arg("--kubeconfig")
            .arg(self.directory.join("kubeconfig"));
        succeed(command)
    }

    /// Waits until `found` finds something.
    ///
    /// # Panics
    /// After `limit`, with what was tried last.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, limit: Duration, mut found: impl FnMut(&Node) -> Result<T, String>) -> T {
        let end = Instant::now() + limit;
        loop {
            match found(self) {
                Ok(found) => return found,
                Err(error) if Instant::now() >= end => panic!("not {what} within {limit:?}: {error}"),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

/// Runs a command to its end; what it printed, or all that it said if it failed.
pub(crate) fn succeed(mut command: Command) -> Result<String, String> {
    // Without the environment, which would drown the rest.
    let shown = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(printed),
        false => Err(format!("{shown}: {printed}{}", String::from_utf8_lossy(&output.stderr))),
    }
}
