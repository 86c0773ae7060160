//! What every workload shares: it alternates with the peer, takes medians of ratios, prints them and writes the result file.
//! It does not know what is measured.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "a benchmark that fails says so by ending; it prints its table; no workload uses all of this"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds that count; before them comes one that does not.
const ROUNDS: usize = 7;
/// With `--quick`.
const QUICK_ROUNDS: usize = 3;

/// Whether `--quick` was asked for. Cargo's own arguments are left alone.
pub(crate) fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// One figure of a workload, by round.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) peer_name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: Vec<f64>,
    pub(crate) peer: Vec<f64>,
}

impl Metric {
    /// Measures seconds of `ours` and `peer` in turn; which one is first changes with every round.
    pub(crate) fn seconds(
        name: &'static str,
        peer_name: &'static str,
        mut ours: impl FnMut() -> Duration,
        mut peer: impl FnMut() -> Duration,
    ) -> Self {
        let mut metric = Self { name, peer_name, unit: "s", ours: Vec::new(), peer: Vec::new() };
        for round in 0..=if quick() { QUICK_ROUNDS } else { ROUNDS } {
            let (a, b) = if round % 2 == 0 {
                let a = ours();
                (a, peer())
            } else {
                let b = peer();
                (ours(), b)
            };
            if round > 0 {
                metric.ours.push(a.as_secs_f64());
                metric.peer.push(b.as_secs_f64());
            }
        }
        metric
    }

    /// Figures that have no peer, beside the goal for each of them.
    pub(crate) fn against_goal(name: &'static str, unit: &'static str, ours: Vec<f64>, goal: f64) -> Self {
        let peer = vec![goal; ours.len()];
        Self { name, peer_name: "goal", unit, ours, peer }
    }
}

/// Runs `work` and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// Prints the metrics and writes `bench/results/WORKLOAD.json`.
pub(crate) fn report(workload: &str, metrics: &[Metric]) {
    let rows = metrics.iter().map(|metric| {
        let ratios = metric.ours.iter().zip(&metric.peer).map(|(ours, peer)| ours / peer).collect();
        let ratios: Vec<f64> = ratios;
        let (least, most) = (ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max));
        let (ours, peer, ratio) = (median(metric.ours.clone()), median(metric.peer.clone()), median(ratios));
        println!(
            "{:<24} {ours:>9.3} {unit}   {} {peer:>9.3} {unit}   ratio {ratio:.2} ({least:.2} to {most:.2})",
            metric.name, metric.peer_name, unit = metric.unit
        );
        serde_json::json!({"name": metric.name, "ours": ours, "peer": peer, "peer_name": metric.peer_name, "ratio": ratio, "unit": metric.unit})
    });
    let result = serde_json::json!({"workload": workload, "metrics": rows.collect::<Vec<_>>()});
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{workload}.json")), format!("{result:#}\n")).unwrap();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
