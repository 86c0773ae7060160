//! What a test may need beyond the machine every newcomer has: a program, or root. Without it a test says so and skips;
//! named in `WAYBILL_REQUIRE` (comma-separated), it must be there, and the test fails instead. `.ci/run` names all.

#![allow(unreachable_pub, clippy::print_stderr, reason = "a module of several test binaries; a skip must be heard")]

use std::path::PathBuf;

/// Whether `WAYBILL_REQUIRE` names `what`.
#[expect(clippy::disallowed_methods, reason = "the test run's own switch, not a setting of the product")]
pub fn is_required(what: &str) -> bool {
    std::env::var("WAYBILL_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == what))
}

/// The program `name` of `PATH`; `None` after saying aloud that the calling test skips.
///
/// # Panics
/// If `WAYBILL_REQUIRE` names it and it is missing.
#[expect(clippy::disallowed_methods, reason = "looks a program up as a shell does")]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        missing(name, "put it in PATH, or build the pinned one with tests/cluster/tools/build");
    }
    found
}

/// Whether the tests that change the machine as root are wanted and may: only `make root-test` asks for them.
///
/// # Panics
/// If `WAYBILL_REQUIRE` names `root` and the process is not root.
pub fn root() -> bool {
    if !is_required("root") {
        eprintln!("SKIPPED: needs root and says so; run `make root-test`");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "WAYBILL_REQUIRE names root, but this process is not root");
    true
}

/// Whether the tests against the real Kubernetes are wanted: only `make cluster-test` asks for them, which also brings the
/// programs that they need.
pub fn cluster() -> bool {
    let wanted = is_required("cluster");
    if !wanted {
        eprintln!("SKIPPED: needs the real Kubernetes API; run `make cluster-test`, which builds it");
    }
    wanted
}

/// Whether the tests that run a whole node of Kubernetes on this machine are wanted and may: only `make cluster-test` asks for
/// them.
///
/// # Panics
/// If `WAYBILL_REQUIRE` names `node` and the process is not root.
pub fn node() -> bool {
    if !is_required("node") {
        eprintln!("SKIPPED: needs root and a node of Kubernetes; run `make cluster-test`, which builds it");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "WAYBILL_REQUIRE names node, but this process is not root");
    true
}

/// Says aloud that the calling test skips for want of `what`.
///
/// # Panics
/// If `WAYBILL_REQUIRE` names it.
pub fn missing(what: &str, remedy: &str) {
    assert!(!is_required(what), "WAYBILL_REQUIRE names {what}, but it is missing: {remedy}");
    eprintln!("SKIPPED: {what} is missing ({remedy}); name it in WAYBILL_REQUIRE to make this a failure");
}
