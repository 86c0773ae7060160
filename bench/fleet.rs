//! A scratch site with an agent, as real processes of the release build, for workloads that measure the whole. It serves the
//! branch of a repository; each version of its one package appends a line when it runs.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark that fails says so by ending; no workload uses all of it"
)]

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a file is looked at: much shorter than anything that is measured.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) struct Fleet {
    scratch: tempfile::TempDir,
    site: Option<Child>,
    agent: Option<Child>,
}

impl Fleet {
    /// A site that serves version 0, and an agent that has run it.
    pub(crate) fn start() -> Self {
        let target = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
        let mut fleet = Self { scratch: tempfile::tempdir_in(target).unwrap(), site: None, agent: None };
        fs::create_dir(fleet.path("fleet")).unwrap();
        fleet.git(&["init", "--quiet", "--initial-branch=main"]);
        fleet.write_manifests();
        fleet.write_version(0);
        fleet.commit();
        let port = free_ports();
        let listen = format!("127.0.0.1:{port}");
        let words = ["up", "fleet", "--branch", "main", "--state", "site", "--listen", &listen];
        fleet.site = Some(fleet.spawn(env!("CARGO_BIN_EXE_waybill"), &words, "site.log"));
        let endpoints = fleet.path("site/endpoints.json");
        until("the site listens", || endpoints.exists() && TcpStream::connect(("127.0.0.1", port)).is_ok());
        let token = Command::new(env!("CARGO_BIN_EXE_waybill"))
            .args(["token", "create", "--role", "client", "--state", "site"])
            .current_dir(fleet.scratch.path())
            .output()
            .unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        fs::write(fleet.path("client.json"), token.stdout).unwrap();
        fs::set_permissions(fleet.path("client.json"), Permissions::from_mode(0o600)).unwrap();
        fs::write(fleet.path("agent.json"), r#"{"allowRoot": true}"#).unwrap();
        let words = ["run", "--join", "client.json", "--state", "client", "--config", "agent.json"];
        fleet.agent = Some(fleet.spawn(&agent(), &words, "agent.log"));
        fleet.wait_for_version(0);
        fleet
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    fn spawn(&self, program: &str, words: &[&str], log: &str) -> Child {
        let log = fs::File::create(self.path(log)).unwrap();
        let mut command = Command::new(program);
        command.args(words).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn git(&self, words: &[&str]) {
        let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
        let done = Command::new("git").args(identity).args(words).current_dir(self.path("fleet")).status().unwrap();
        assert!(done.success(), "git {words:?}");
    }

    fn write_manifests(&self) {
        let head = "apiVersion: waybill.dev/v1alpha1\nkind";
        let meta = "metadata: {name: tool}";
        let text = format!(
            "{head}: Package\n{meta}\nspec: {{source: {{directory: {{path: tool}}}}}}\n---\n\
             {head}: Program\n{meta}\nspec: {{packageRef: tool, argv: [run.sh]}}\n---\n\
             {head}: Distribution\n{meta}\nspec: {{package: tool, distributionPoints: {{all: {{}}}}}}\n---\n\
             {head}: Collection\n{meta}\nspec: {{query: 'true'}}\n---\n\
             {head}: Advertisement\n{meta}\n\
             spec: {{program: tool, collection: tool, assignments: [{{asSoonAsPossible: {{}}}}], rerun: OncePerVersion}}\n"
        );
        fs::write(self.path("fleet/tool.yaml"), text).unwrap();
    }

    /// The package's program of this version, which writes it down, and a file that belongs to it.
    pub(crate) fn write_version(&self, version: u32) {
        let folder = self.path("fleet/tool");
        fs::create_dir_all(&folder).unwrap();
        let script = format!("#!/bin/sh\ncat data >> '{}'\n", self.path("lines").display());
        fs::write(folder.join("run.sh"), script).unwrap();
        fs::set_permissions(folder.join("run.sh"), Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("data"), format!("version {version}\n")).unwrap();
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=next"]);
    }

    pub(crate) fn wait_for_version(&self, version: u32) {
        let line = format!("version {version}");
        until(&line, || fs::read_to_string(self.path("lines")).is_ok_and(|text| text.lines().any(|one| one == line)));
    }

    /// Resident memory of the site and of the agent, in bytes.
    pub(crate) fn resident_bytes(&self) -> (u64, u64) {
        self.memory_bytes("Rss:")
    }

    /// What of it is their own, and no page of a file.
    pub(crate) fn own_bytes(&self) -> (u64, u64) {
        self.memory_bytes("Anonymous:")
    }

    /// The processes of site and agent.
    pub(crate) fn ids(&self) -> (u32, u32) {
        let of = |child: &Option<Child>| child.as_ref().unwrap().id();
        (of(&self.site), of(&self.agent))
    }

    fn memory_bytes(&self, what: &str) -> (u64, u64) {
        let (site, agent) = self.ids();
        (memory_bytes(site, what), memory_bytes(agent, what))
    }
}

/// The agent's program: the one that the workload asked for, or that of this build.
#[expect(clippy::disallowed_methods, reason = "bench/run's word to its workloads, not a setting of the product")]
fn agent() -> String {
    std::env::var("WAYBILL_BENCH_AGENT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_waybill-agent").to_owned())
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(LOOK);
    }
}

fn memory_bytes(pid: u32, what: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A port that is free together with its neighbours.
fn free_ports() -> u16 {
    let free = |port: u16| (port - 1..=port + 2).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (0..2_000).map(|step| 28_001 + step * 4).find(|port| free(*port)).unwrap()
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in [&mut self.agent, &mut self.site].into_iter().flatten() {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
        unseal(self.scratch.path());
    }
}

/// Content is read-only; a scratch directory has to go.
fn unseal(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unseal(&entry.path());
        }
    }
}
