//! The arrows between layers (ARCHITECTURE.md), read from the paths that the code names. Tests are free: a test of git sync may
//! well start the real API server.

use crate::rust_text::{code_only, paths, without_tests};
use crate::{File, assert_none, files};

/// Leaves that anyone may use and that use nothing of the crate.
const LEAVES: &[&str] = &["allocator", "clock", "telemetry", "metrics"];
/// What each module may use, besides the leaves and itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("content", &["model"]),
    // A decision's facts and results are the messages themselves; a message may carry a hash or a signed envelope.
    ("plan", &["wire", "content", "model"]),
    ("wire", &["trust", "content", "model"]),
    ("trust", &["content", "model"]),
    ("api", BELOW_API),
    ("db", BELOW_API),
    ("transport", BELOW_API),
    // Not `api` nor `db`: the slim agent is built without them.
    ("agent", &["transport", "plan", "wire", "trust", "content", "model"]),
    ("apiserver", BELOW_SHELLS),
    ("gitops", BELOW_SHELLS),
    ("source", BELOW_SHELLS),
    ("controller", BELOW_SHELLS),
    ("cap", BELOW_SHELLS),
    ("dp", BELOW_SHELLS),
    ("console", BELOW_SHELLS),
    ("site", ASSEMBLED_BY_SITE),
    ("cli", EVERYTHING),
];
const BELOW_API: &[&str] = &["plan", "wire", "trust", "content", "model"];
const BELOW_SHELLS: &[&str] = &["api", "db", "transport", "plan", "wire", "trust", "content", "model"];
const ASSEMBLED_BY_SITE: &[&str] = &[
    "apiserver",
    "gitops",
    "source",
    "controller",
    "cap",
    "dp",
    "console",
    "api",
    "db",
    "transport",
    "plan",
    "wire",
    "trust",
    "content",
    "model",
];
const EVERYTHING: &[&str] = &[
    "site",
    "agent",
    "apiserver",
    "gitops",
    "source",
    "controller",
    "cap",
    "dp",
    "console",
    "api",
    "db",
    "transport",
    "plan",
    "wire",
    "trust",
    "content",
    "model",
];
/// Arrows against the table, for one file each: (file, module, reason).
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Modules whose code computes and does nothing else, and what would be doing.
const PURE: &[&str] = &["plan", "model", "wire"];
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "tokio",
    "kube",
    "reqwest",
    "rusqlite",
    "rustix",
    "hyper",
    "hyper_util",
    "axum",
    "tempfile",
    "notify",
    "crate::clock",
];

#[test]
fn layers_use_only_what_is_below_them() {
    assert_none(files(&["src"]).iter().flat_map(|file| against_the_arrows(file, EXCEPTIONS)).collect());
}

#[test]
fn decisions_and_messages_do_nothing() {
    assert_none(files(&["src"]).iter().flat_map(effects_in_pure_code).collect());
}

#[test]
fn every_exception_is_still_needed() {
    let files = files(&["src"]);
    let unused = EXCEPTIONS.iter().filter(|(path, module, _)| {
        let file = files.iter().find(|file| file.path == *path);
        !file.is_some_and(|file| {
            against_the_arrows(file, &[]).iter().any(|fault| fault.contains(&format!("crate::{module}")))
        })
    });
    assert_none(unused.map(|(path, module, _)| format!("{path} does not use crate::{module} any more")).collect());
}

/// The module of `src` that a file belongs to; none for the crate's root and the binaries.
fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    match inside.split_once('/') {
        Some(("bin", _)) => None,
        Some((module, _)) => Some(module),
        None => inside.strip_suffix(".rs").filter(|name| !["lib", "main"].contains(name)),
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// What the file's code names, tests left out, with paths through `super` resolved where they leave the module.
fn named(file: &File) -> Vec<(usize, String)> {
    if !file.path.ends_with(".rs") || is_test(&file.path) {
        return Vec::new();
    }
    let depth = file.path.trim_end_matches("/mod.rs").matches('/').count();
    let mut named = paths(without_tests(&code_only(&file.text)));
    for (_, path) in &mut named {
        let supers = path.split("::").take_while(|segment| *segment == "super").count();
        if supers > 0 && supers >= depth {
            *path = format!("crate::{}", &path[supers * "super::".len()..]);
        }
    }
    named
}

fn against_the_arrows(file: &File, exceptions: &[(&str, &str, &str)]) -> Vec<String> {
    let Some(own) = module(&file.path) else { return Vec::new() };
    let may_use = match ARROWS.iter().find(|(module, _)| *module == own) {
        Some((_, may_use)) => *may_use,
        None if LEAVES.contains(&own) => &[],
        None => return vec![format!("{}: module {own} has no layer; give it one in tests/tidy/layers.rs", file.path)],
    };
    let known = |used: &str| ARROWS.iter().any(|(module, _)| *module == used) || LEAVES.contains(&used);
    let mut faults = Vec::new();
    for (line, path) in named(file) {
        let Some(used) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else { continue };
        let allowed = used == own
            || may_use.contains(&used)
            || (LEAVES.contains(&used) && !LEAVES.contains(&own))
            || exceptions.iter().any(|(path, module, _)| *path == file.path && *module == used);
        if known(used) && !allowed {
            faults.push(format!("{}:{line}: {own} must not use crate::{used}", file.path));
        }
    }
    faults
}

fn effects_in_pure_code(file: &File) -> Vec<String> {
    let pure = module(&file.path).is_some_and(|module| PURE.contains(&module));
    let is_effect =
        |path: &str| EFFECTS.iter().any(|effect| path == *effect || path.starts_with(&format!("{effect}::")));
    let named = if pure { named(file) } else { Vec::new() };
    named
        .into_iter()
        .filter(|(_, path)| is_effect(path))
        .map(|(line, path)| format!("{}:{line}: {path} does something; this layer only computes", file.path))
        .collect()
}

#[test]
fn planted_arrows_are_found() {
    let faults = |path: &str, text: &str| against_the_arrows(&File::new(path, text), &[]).len();
    assert_eq!(faults("src/plan/offer.rs", "use crate::{api::package, model};"), 1);
    assert_eq!(faults("src/gitops/sync.rs", "fn a() { crate::apiserver::start() }"), 1);
    assert_eq!(faults("src/gitops/mod.rs", "use super::apiserver::start;"), 1);
    assert_eq!(faults("src/agent/run.rs", "use crate::db;\nuse super::super::site::x;"), 2);
    assert_eq!(faults("src/site/mod.rs", "use crate::cli::up;"), 1);
    assert_eq!(faults("src/clock.rs", "use crate::model::id;"), 1);
    assert_eq!(faults("src/novelty/mod.rs", ""), 1);

    assert_eq!(faults("src/site/mod.rs", "use crate::{apiserver, clock, db};"), 0);
    assert_eq!(
        faults("src/gitops/sync.rs", "//! crate::apiserver\n#[cfg(test)]\nmod tests { use crate::apiserver; }"),
        0
    );
    assert_eq!(faults("src/gitops/sync_tests.rs", "use crate::apiserver;"), 0);
    assert_eq!(faults("src/main.rs", "use waybill::cli;"), 0);
    let allowed = [("src/plan/a.rs", "api", "a reason")];
    assert!(against_the_arrows(&File::new("src/plan/a.rs", "use crate::api::b;"), &allowed).is_empty());
}

#[test]
fn planted_effects_are_found() {
    let faults = |path: &str, text: &str| effects_in_pure_code(&File::new(path, text)).len();
    assert_eq!(faults("src/plan/a.rs", "use std::{fs, mem};"), 1);
    assert_eq!(faults("src/wire/a.rs", "async fn a() { tokio::time::sleep(b).await }"), 1);
    assert_eq!(faults("src/model/a.rs", "fn a() { crate::clock::now() }"), 1);
    assert_eq!(faults("src/wire/a.rs", "use std::net::{IpAddr, TcpStream};"), 1);
    assert_eq!(faults("src/wire/a.rs", "use std::net::IpAddr;"), 0);
    assert_eq!(faults("src/agent/a.rs", "use std::fs;"), 0);
}
