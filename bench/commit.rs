//! From `git commit` returning to the line that the program of the new version writes, in an agent of its own process: manifest
//! and content read, stored, published on the built-in distribution point, offered, fetched, verified, run. The peer is
//! the goal of two seconds.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

mod fleet;
mod runner;

use std::time::Duration;

use fleet::Fleet;

/// Commits that count.
const ROUNDS: u32 = 10;
/// With `--quick`.
const QUICK_ROUNDS: u32 = 3;
/// The goal.
const GOAL_SECONDS: f64 = 2.0;
/// People do not commit at the very moment when the last commit has gone through.
const PAUSE: Duration = Duration::from_secs(2);

fn main() {
    let fleet = Fleet::start();
    let round = |version: u32| {
        std::thread::sleep(PAUSE);
        fleet.write_version(version);
        fleet.commit();
        let ((), took) = runner::timed(|| fleet.wait_for_version(version));
        took.as_secs_f64()
    };
    let seconds: Vec<f64> = (1..=if runner::quick() { QUICK_ROUNDS } else { ROUNDS }).map(round).collect();
    runner::report("commit", &[runner::Metric::against_goal("commit to line", "s", seconds, GOAL_SECONDS)]);
}
