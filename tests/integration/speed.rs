//! That nothing on the way waits for a clock and that idle processes are small.
//! Asserted by states and counts; how fast it is, `bench/` measures.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use waybill::site::{self, Endpoints, Listen, Options, Served};

use crate::world::{HEAD, unseal};

#[path = "../../bench/fleet.rs"]
mod fleet;

/// Every interval of the site under test: nothing that happens, happens because of one.
const INTERVAL: Duration = Duration::from_secs(12 * 3_600);
/// Longest wait. Shorter than the agent's own least frequent look, a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// A site in this process whose intervals are hours.
struct Site {
    scratch: tempfile::TempDir,
    endpoints: Endpoints,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), site::SiteError>>,
    agent: Option<Child>,
}

impl Site {
    async fn start(prepare: impl FnOnce(&Path)) -> Self {
        waybill::transport::install_crypto();
        let scratch = tempfile::tempdir().unwrap();
        let served = scratch.path().join("fleet");
        fs::create_dir(&served).unwrap();
        prepare(&served);
        git(&served, &["init", "--quiet", "--initial-branch=main"]);
        commit(&served);
        let served = Served::Branch { repository: served, branch: "main".into() };
        let mut options = Options::new(scratch.path().join("state"), served);
        options.listen = Listen::new(([127, 0, 0, 1], 0).into());
        options.look_interval = Some(INTERVAL);
        let (ready, listening) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(site::run(options, ready, shutdown.clone()));
        let endpoints = listening.await.unwrap().endpoints;
        Self { scratch, endpoints, shutdown, task, agent: None }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    fn start_agent(&mut self) {
        let waybill = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
            command.current_dir(self.scratch.path()).stdin(Stdio::null());
            command
        };
        let token = waybill().args(["token", "create", "--role", "client", "--state", "state"]).output().unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        waybill::content::durable::replace(&self.path("client.json"), &token.stdout, 0o600).unwrap();
        fs::write(self.path("agent.json"), r#"{"allowRoot": true}"#).unwrap();
        let log = fs::File::create(self.path("agent.log")).unwrap();
        let words = ["agent", "run", "--join", "client.json", "--state", "client", "--config", "agent.json"];
        self.agent = Some(waybill().args(words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(&self.endpoints.kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds().await {
            let log = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
            assert!(Instant::now() < end, "not in time, so it waits for an interval: {what}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_line(&self, line: &str) {
        let lines = self.path("lines");
        self.until(line, async || fs::read_to_string(&lines).is_ok_and(|text| text.lines().any(|one| one == line)))
            .await;
    }

    async fn stop(mut self) {
        end(&mut self.agent);
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        unseal(self.scratch.path());
    }
}

fn end(process: &mut Option<Child>) {
    let Some(mut child) = process.take() else { return };
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let _ = child.wait();
}

fn git(repository: &Path, words: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    let done = Command::new("git").args(identity).args(words).current_dir(repository).status().unwrap();
    assert!(done.success(), "git {words:?}");
}

fn commit(repository: &Path) {
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message=next"]);
}

fn write_tool(fleet: &Path, version: u32) {
    let lines = fleet.parent().unwrap().join("lines");
    let script = format!("#!/bin/sh\necho tool {version} >> '{}'\n", lines.display());
    waybill::content::durable::replace(&fleet.join("tool/run.sh"), script.as_bytes(), 0o755).unwrap();
    let meta = "metadata: {name: tool}";
    let text = format!(
        "{HEAD}: ClientAgentConfig\nmetadata: {{name: main}}\nspec: {{pollInterval: 24h}}\n---\n\
         {HEAD}: Package\n{meta}\nspec: {{source: {{directory: {{path: tool}}}}}}\n---\n\
         {HEAD}: Program\n{meta}\nspec: {{packageRef: tool, argv: [run.sh]}}\n---\n\
         {HEAD}: Distribution\n{meta}\nspec: {{package: tool, distributionPoints: {{all: {{}}}}}}\n---\n\
         {HEAD}: Collection\n{meta}\nspec: {{query: 'true'}}\n---\n\
         {HEAD}: Collection\nmetadata: {{name: pilots}}\n\
         spec: {{query: 'has(client.labels.ring) && client.labels.ring == \"pilot\"'}}\n---\n\
         {HEAD}: Advertisement\n{meta}\n\
         spec: {{program: tool, collection: tool, assignments: [{{asSoonAsPossible: {{}}}}], rerun: OncePerVersion}}\n"
    );
    fs::write(fleet.join("tool.yaml"), text).unwrap();
}

async fn status(client: &Client, kind: &str, name: &str) -> Value {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    api.get_opt(name).await.unwrap().map(|object| object.data["status"].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_and_changes_of_clients_arrive_by_events_alone() {
    let mut site = Site::start(|fleet| write_tool(fleet, 1)).await;
    site.start_agent();
    site.until_line("tool 1").await;
    for version in 2..=3 {
        write_tool(&site.path("fleet"), version);
        commit(&site.path("fleet"));
        site.until_line(&format!("tool {version}")).await;
    }

    // A label moves a client into a collection and out of it.
    let client = site.client().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.waybill.dev", "v1alpha1", "Client"));
    let clients: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let known = clients.list(&Default::default()).await.unwrap();
    let name = known.items[0].metadata.name.clone().unwrap();
    for (ring, members) in [("pilot", 1), ("broad", 0), ("pilot", 1)] {
        let label = Patch::Merge(json!({"metadata": {"labels": {"ring": ring}}}));
        clients.patch(&name, &PatchParams::default(), &label).await.unwrap();
        site.until(ring, async || status(&client, "Collection", "pilots").await["memberCount"] == members).await;
    }
    site.stop().await;
}

/// Bounds of what a process holds beside the pages of its program, which without optimisation are several times those of a
/// release. `bench/run memory` measures both together.
const SITE_MIB_MAX: u64 = 30;
const AGENT_MIB_MAX: u64 = 5;

/// The C library's allocator keeps an arena beside the first one in a piece of this size, at a multiple of it.
const ARENA_BYTES: u64 = 64 << 20;

/// Arenas beside the first one: the rest of each piece may not be touched yet.
fn further_arenas(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mappings: Vec<(u64, u64, &str)> = maps
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next().unwrap().split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            (address(start), address(end), words.next().unwrap())
        })
        .collect();
    let is_one = |pair: &&[(u64, u64, &str)]| {
        let ((start, end, access), (rest, last, none)) = (pair[0], pair[1]);
        access == "rw-p" && none == "---p" && end == rest && start % ARENA_BYTES == 0 && last == start + ARENA_BYTES
    };
    mappings.windows(2).filter(is_one).count()
}

#[test]
fn threads_share_two_arenas_on_however_many_processors() {
    let fleet = fleet::Fleet::start();
    let (site, agent) = fleet.ids();
    for (who, pid) in [("site", site), ("agent", agent)] {
        assert!(further_arenas(pid) <= 1, "{who}: {} and the first one", further_arenas(pid));
    }
}

#[test]
fn an_idle_site_and_an_agent_after_its_run_are_small() {
    let fleet = fleet::Fleet::start();
    let small = || {
        let (site, agent) = fleet.own_bytes();
        eprintln!("site {} KiB, agent {} KiB", site >> 10, agent >> 10);
        site < SITE_MIB_MAX << 20 && agent < AGENT_MIB_MAX << 20
    };
    let end = Instant::now() + PATIENCE;
    // Threads for blocking work go a while after the work.
    while !small() {
        assert!(Instant::now() < end, "they stay large: {:?} bytes", fleet.own_bytes());
        std::thread::sleep(Duration::from_secs(1));
    }
}
