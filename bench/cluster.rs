//! A site beside the real API server, with a thousand packages, programs, distributions, collections and advertisements that are
//! made at once: until all are ready, what that costs the API server, how often each object is written, and the memory of the
//! site's process; then a restart, which may write nothing. The peer is the same site with the embedded API, or a goal.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that fails says so by ending")]

#[allow(dead_code, unused_imports, reason = "shared with the tests; a workload uses a part of it")]
#[path = "../tests/cluster/api_level/mod.rs"]
mod api_level;
mod kubernetes;
#[allow(dead_code, reason = "likewise")]
#[path = "../tests/support/require.rs"]
mod require;
mod runner;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use api_level::{ADMIN, RealApi};
use futures::StreamExt as _;
use kube::{
    Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use kubernetes::{
    KINDS, Own, client, create_all, is_ready, objects, packages, processes, processor_seconds, resident_mib, until,
    write_sources,
};
use runner::Metric;
use serde_json::json;
use tokio::task::JoinHandle;

/// Nothing is written any more for so long: it is at rest.
const REST: Duration = Duration::from_secs(10);
/// Goals: writes of one object, and MiB of the site's process beside five thousand objects.
const WRITES_MAX: f64 = 6.0;
const SITE_MIB: f64 = 100.0;
const ROUNDS: usize = 3;

/// What watches have told of the objects of the load.
#[derive(Default)]
struct Told {
    versions: BTreeMap<String, BTreeSet<String>>,
    ready: BTreeSet<String>,
    last: Option<Instant>,
}

struct Watched {
    told: Arc<Mutex<Told>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watched {
    fn start(client: &Client) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let follow = |kind: &'static str| {
            let (told, stream) = (told.clone(), watcher(objects(client, kind), watcher::Config::default()));
            tokio::spawn(async move {
                let mut stream = Box::pin(stream.default_backoff().applied_objects());
                while let Some(object) = stream.next().await {
                    // A server that is started again ends its watches; they are taken up again.
                    let Ok(object) = object else { continue };
                    let (name, version) = (format!("{kind} {}", object.name_any()), object.resource_version().unwrap());
                    let mut told = told.lock().unwrap();
                    if is_ready(&object) {
                        told.ready.insert(name.clone());
                    }
                    if told.versions.entry(name).or_default().insert(version) {
                        told.last = Some(Instant::now());
                    }
                }
            })
        };
        Self { tasks: KINDS.map(follow).into(), told }
    }

    async fn until_all_are_ready(&self) {
        until("all are ready", async || self.told.lock().unwrap().ready.len() == KINDS.len() * packages()).await;
    }

    async fn until_at_rest(&self) {
        until("it is at rest", async || self.told.lock().unwrap().last.is_none_or(|last| last.elapsed() > REST)).await;
    }

    /// The most that any object was written.
    fn most_writes(&self) -> usize {
        self.told.lock().unwrap().versions.values().map(BTreeSet::len).max().unwrap_or_default()
    }

    fn writes(&self) -> usize {
        self.told.lock().unwrap().versions.values().map(BTreeSet::len).sum()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What one site took.
struct Figures {
    ready_seconds: f64,
    processor_seconds: f64,
    most_writes: f64,
    site_mib: f64,
}

/// Makes the load and waits; then the site is started once more, and nothing may be written. `servers` answer for the API.
async fn measure(client: &Client, start: impl Fn() -> Own, directory: &Path, servers: Option<Vec<u32>>) -> Figures {
    let site = start();
    until_it_serves(&site, directory).await;
    let granted = json!({"spec": {"namespaces": [{"name": "*"}]}});
    let resource = kube::core::GroupVersionKind::gvk("waybill.dev", "v1alpha1", "Site");
    let sites: kube::Api<kube::api::DynamicObject> =
        kube::Api::all_with(client.clone(), &kube::api::ApiResource::from_gvk(&resource));
    let params = PatchParams::default();
    until("the site is there", async || sites.patch("main", &params, &Patch::Merge(&granted)).await.is_ok()).await;

    let watched = Watched::start(client);
    let pids = servers.unwrap_or_else(|| vec![site.id()]);
    let (before, started) = (processor_seconds(&pids), Instant::now());
    create_all(client).await;
    watched.until_all_are_ready().await;
    let ready_seconds = started.elapsed().as_secs_f64();
    watched.until_at_rest().await;
    let figures = Figures {
        ready_seconds,
        processor_seconds: processor_seconds(&pids) - before,
        most_writes: f64::from(u32::try_from(watched.most_writes()).unwrap()),
        site_mib: resident_mib(&[site.id()]),
    };
    let written = watched.writes();
    drop(site);
    let again = start();
    until_it_serves(&again, directory).await;
    tokio::time::sleep(REST).await;
    watched.until_at_rest().await;
    assert_eq!(watched.writes() - written, 0, "a restart writes nothing");
    figures
}

/// Waits until this process is the one that listens. Ports of the last start are taken again.
async fn until_it_serves(site: &Own, directory: &Path) {
    let is_it = || {
        let text = fs::read(directory.join("state/endpoints.json")).ok()?;
        Some(serde_json::from_slice::<serde_json::Value>(&text).ok()?["pid"] == site.id())
    };
    until("the site listens", async || is_it() == Some(true)).await;
}

fn scratch() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let scratch = tempfile::tempdir_in(target).unwrap();
    write_sources(&scratch.path().join("sources"));
    scratch
}

async fn beside_the_real_one() -> Figures {
    let api = RealApi::start().expect("bench/run brings it");
    let (scratch, kubeconfig) = (scratch(), api.kubeconfig_file(&ADMIN, "default"));
    let client = api.client(&ADMIN, "default").await;
    let words = ["site", "--state", "state", "--listen", "127.0.0.1:0", "--source-root", "sources", "--kubeconfig"];
    let words = [&words[..], &[kubeconfig.to_str().unwrap()]].concat();
    let figures = measure(&client, || Own::start(scratch.path(), &words), scratch.path(), Some(processes(&api))).await;
    unseal(scratch.path());
    figures
}

async fn embedded() -> Figures {
    let scratch = scratch();
    // Relative sources lie beneath what is served, which declares nothing here.
    let words = ["up", "sources", "--state", "state", "--listen", "127.0.0.1:0"];
    let start = || Own::start(scratch.path(), &words);
    let first = start();
    let client = client(&scratch.path().join("state/kubeconfig")).await;
    until("it answers", async || client.apiserver_version().await.is_ok()).await;
    drop(first);
    let figures = measure(&client, start, scratch.path(), None).await;
    unseal(scratch.path());
    figures
}

/// Content is read-only; a scratch directory has to go.
fn unseal(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unseal(&entry.path());
        }
    }
}

#[tokio::main]
async fn main() {
    waybill::transport::install_crypto();
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..if runner::quick() { 1 } else { ROUNDS } {
        ours.push(beside_the_real_one().await);
        peers.push(embedded().await);
    }
    let beside = |name, unit, of: fn(&Figures) -> f64| Metric {
        name,
        unit,
        peer_name: "embedded API",
        ours: ours.iter().map(of).collect(),
        peer: peers.iter().map(of).collect(),
    };
    let figures = |of: fn(&Figures) -> f64| ours.iter().map(of).collect();
    runner::report(
        "cluster",
        &[
            beside("made to ready", "s", |one| one.ready_seconds),
            beside("processor of the API", "s", |one| one.processor_seconds),
            Metric::against_goal("writes of an object, most", "", figures(|one| one.most_writes), WRITES_MAX),
            Metric::against_goal("resident, site alone", "MiB", figures(|one| one.site_mib), SITE_MIB),
        ],
    );
}
