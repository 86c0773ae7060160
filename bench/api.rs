//! The embedded Kubernetes API beside the real one, which is etcd and kube-apiserver: from start to the first list, five thousand
//! objects created by sixteen callers, and memory before and after. Both have the same definitions and get the same requests by the
//! same client.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

#[allow(dead_code, unused_imports, reason = "shared with the tests; a workload uses a part of it")]
#[path = "../tests/cluster/api_level/mod.rs"]
mod api_level;
mod kubernetes;
#[allow(dead_code, reason = "likewise")]
#[path = "../tests/support/require.rs"]
mod require;
mod runner;

use std::time::{Duration, Instant};

use api_level::{ADMIN, RealApi};
use kube::{Client, api::ListParams};
use kubernetes::{Own, client, create_all, objects, p99, processes, resident_mib, until};
use runner::Metric;

/// By then what a start needed is given back.
const IDLE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

/// What one server took.
struct Figures {
    start_seconds: f64,
    idle_mib: f64,
    write_ms: f64,
    p99_ms: f64,
    loaded_mib: f64,
}

async fn measure(start: Duration, client: &Client, pids: &[u32]) -> Figures {
    tokio::time::sleep(IDLE).await;
    let idle_mib = resident_mib(pids);
    let (all, each) = create_all(client).await;
    let writes = f64::from(u32::try_from(each.len()).unwrap());
    Figures {
        start_seconds: start.as_secs_f64(),
        idle_mib,
        write_ms: all.as_secs_f64() * 1e3 / writes,
        p99_ms: p99(each).as_secs_f64() * 1e3,
        loaded_mib: resident_mib(pids),
    }
}

async fn embedded() -> Figures {
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let scratch = tempfile::tempdir_in(target).unwrap();
    let started = Instant::now();
    let own = Own::start(scratch.path(), &["apiserver", "--state", "state", "--listen", "127.0.0.1:0"]);
    let client = client(&scratch.path().join("state/kubeconfig")).await;
    until("it answers", async || objects(&client, "Package").list(&ListParams::default().limit(1)).await.is_ok()).await;
    measure(started.elapsed(), &client, &[own.id()]).await
}

async fn real() -> Figures {
    let started = Instant::now();
    let api = RealApi::start().expect("bench/run brings it");
    let client = api.client(&ADMIN, "default").await;
    objects(&client, "Package").list(&ListParams::default().limit(1)).await.unwrap();
    measure(started.elapsed(), &client, &processes(&api)).await
}

#[tokio::main]
async fn main() {
    waybill::transport::install_crypto();
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..if runner::quick() { 1 } else { ROUNDS } {
        if round % 2 == 0 {
            ours.push(embedded().await);
            peers.push(real().await);
        } else {
            peers.push(real().await);
            ours.push(embedded().await);
        }
    }
    let metric = |name, unit, of: fn(&Figures) -> f64| Metric {
        name,
        unit,
        peer_name: "etcd and kube-apiserver",
        ours: ours.iter().map(of).collect(),
        peer: peers.iter().map(of).collect(),
    };
    runner::report(
        "api",
        &[
            metric("start to ready", "s", |one| one.start_seconds),
            metric("resident, idle", "MiB", |one| one.idle_mib),
            metric("a write, of sixteen at a time", "ms", |one| one.write_ms),
            metric("99 of 100 writes within", "ms", |one| one.p99_ms),
            metric("resident, loaded", "MiB", |one| one.loaded_mib),
        ],
    );
}
