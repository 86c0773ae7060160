//! What only root can show: runAs, allowRoot, cgroups, what other users put in root's way. One binary, run by `make root-test`; in `cargo test` its tests skip,
//! also for root, since they change the machine they run on.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report; clippy knows only functions marked as tests")]

#[cfg(feature = "server")]
mod disk;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../support/require.rs"]
mod require;
mod run;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../integration/run/setting.rs"]
mod setting;
#[cfg(feature = "server")]
mod state;

/// The rest of this binary relies on it: asked for root, nothing may pass by skipping.
#[test]
fn asked_for_root_this_is_root() {
    if require::root() {
        assert_eq!(rustix::process::getuid().as_raw(), 0);
    }
}
