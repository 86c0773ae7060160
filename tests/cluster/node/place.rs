//! Namespaces of a node's own: network, mounts and processes. Whatever runs in them, containers included, ends when the first
//! process does, and that ends with the one that holds them here.

use std::{path::Path, process::Command};

use super::{Process, seconds};

/// The namespaces, held by a process.
pub(super) struct Place {
    holder: Process,
    path: String,
}

impl Place {
    /// Makes them and lays the network; programs are looked for in `path`.
    pub(super) async fn new(directory: &Path, path: String) -> Result<Place, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/node/inside.sh");
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        command.arg(script).arg(directory).env_clear().env("PATH", &path);
        let holder = Process::run("namespaces", command, directory).map_err(|error| format!("unshare: {error}"))?;
        let mut place = Place { holder, path };
        place.holder.until(seconds(20), "the network", async || directory.join("network").exists()).await?;
        Ok(place)
    }

    /// A program inside, in the node's network, with `directory` as its own.
    pub(super) fn command(&self, program: &str, directory: &Path) -> Command {
        let holder = self.holder.id();
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={holder}")).args(["--net", "--mount"]);
        command.arg(format!("--pid=/proc/{holder}/ns/pid_for_children"));
        command.arg(format!("--wdns={}", directory.display())).arg(program);
        command.env_clear().env("PATH", &self.path).env("HOME", directory).current_dir(directory);
        command
    }

    /// A program on the agents' side.
    pub(super) fn agents_command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = self.command("nsenter", directory);
        command.arg("--net=/run/netns/agents").arg(program);
        command
    }
}
