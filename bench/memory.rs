//! Resident memory of a site that is idle and of an agent that has joined, fetched, verified and run one program and reported
//! it. The peers are the goals.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

mod fleet;
mod runner;

use std::time::Duration;

use fleet::Fleet;

/// Goals in MiB.
const SITE_MIB: f64 = 60.0;
const AGENT_MIB: f64 = 10.0;
/// By then threads for blocking work have ended.
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    let (mut sites, mut agents) = (Vec::new(), Vec::new());
    for _ in 0..if runner::quick() { 1 } else { 3 } {
        let fleet = Fleet::start();
        std::thread::sleep(IDLE);
        let (site, agent) = fleet.resident_bytes();
        sites.push(mib(site));
        agents.push(mib(agent));
    }
    let metrics = [
        runner::Metric::against_goal("idle site", "MiB", sites, SITE_MIB),
        runner::Metric::against_goal("agent after one run", "MiB", agents, AGENT_MIB),
    ];
    runner::report("memory", &metrics);
}

#[expect(clippy::cast_precision_loss, reason = "MiB of a process")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
