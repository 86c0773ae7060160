//! What the workloads on Kubernetes APIs share: the real one, the load that both get, and what processes take. The load is a
//! thousand packages with a program, a distribution, an advertisement and a collection each: five thousand objects.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark that fails says so by ending; no workload uses all of it"
)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::api_level::RealApi;

/// Requests under way at a time, as a busy `kubectl apply` or GitOps tool has them.
const AT_ONCE: usize = 16;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(5);
/// The kinds that the load is made of.
pub(crate) const KINDS: [&str; 5] = ["Package", "Program", "Distribution", "Collection", "Advertisement"];

/// Packages of the load.
pub(crate) fn packages() -> usize {
    if crate::runner::quick() { 100 } else { 1_000 }
}

pub(crate) fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
    Api::default_namespaced_with(client.clone(), &resource)
}

fn object(kind: &str, number: usize) -> DynamicObject {
    let name = format!("p{number}");
    let spec = match kind {
        "Package" => json!({"source": {"directory": {"path": name}}}),
        "Program" => json!({"packageRef": name, "argv": ["run.sh"]}),
        "Distribution" => json!({"package": name, "distributionPoints": {"all": {}}}),
        "Collection" => json!({"query": "true"}),
        _ => json!({"program": name, "collection": name, "userMayStart": true}),
    };
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// Sources of the packages of the load.
pub(crate) fn write_sources(folder: &Path) {
    for number in 0..packages() {
        let folder = folder.join(format!("p{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run.sh"), "#!/bin/sh\ntrue\n").unwrap();
        fs::write(folder.join("data"), format!("{number}\n").repeat(100)).unwrap();
    }
}

/// Creates the load: how long all took, and each request, in order of its end.
pub(crate) async fn create_all(client: &Client) -> (Duration, Vec<Duration>) {
    let started = Instant::now();
    let wanted = KINDS.iter().flat_map(|kind| (0..packages()).map(move |number| (*kind, number)));
    let requests = wanted.map(|(kind, number)| async move {
        let begun = Instant::now();
        objects(client, kind).create(&PostParams::default(), &object(kind, number)).await.unwrap();
        begun.elapsed()
    });
    let took = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
    (started.elapsed(), took)
}

/// The 99th of a hundred.
pub(crate) fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

/// A process of ours; told to end when this is dropped.
pub(crate) struct Own(Child);

impl Own {
    pub(crate) fn start(directory: &Path, words: &[&str]) -> Self {
        let log = fs::File::options().create(true).append(true).open(directory.join("own.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(words).current_dir(directory).stdin(Stdio::null());
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// A client by a kubeconfig, once that is written.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok(read) = Kubeconfig::read_from(kubeconfig) {
            let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
            return Client::try_from(config).unwrap();
        }
        assert!(Instant::now() < end, "{} is not written", kubeconfig.display());
        tokio::time::sleep(LOOK).await;
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The processes of the real API: its server and its store.
pub(crate) fn processes(api: &RealApi) -> Vec<u32> {
    let of_it = |pid: &u32| {
        let works_there = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == api.directory());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        works_there && ["etcd", "kube-apiserver"].contains(&name.trim())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found: Vec<u32> = pids.filter(of_it).collect();
    assert_eq!(found.len(), 2, "etcd and kube-apiserver");
    found
}

/// Resident memory of these, in MiB.
#[expect(clippy::cast_precision_loss, reason = "MiB of a process")]
pub(crate) fn resident_mib(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    pids.iter().map(of).sum::<u64>() as f64 / 1024.0
}

/// Processor time that these have taken, in seconds.
#[expect(clippy::cast_precision_loss, reason = "seconds of a process")]
pub(crate) fn processor_seconds(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name, which may hold anything: user and system time are the 12th and 13th field.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let ticks: u64 = pids.iter().map(of).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Whether an object says of itself that it is ready.
pub(crate) fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    let says = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    conditions.is_some_and(|list| list.iter().any(says))
}
