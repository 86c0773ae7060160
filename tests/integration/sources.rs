//! How often package sources are read: each reading hashes every file, so the site counts them, and a source is read when it
//! is new, changed or asked for, and not because something else was.

use std::{fs, net::SocketAddr, path::Path, process::Command, thread};

use serde_json::Value;

use crate::{
    hostile::probe::get_plain,
    world::{HEAD, SILENCE, World},
};

const DECLARED: &str = "/apis/waybill.dev/v1alpha1/namespaces/default";

/// How often the running site has read a source.
fn reads(world: &World) -> u64 {
    let endpoints: Value = serde_json::from_slice(&fs::read(world.path("site/endpoints.json")).unwrap()).unwrap();
    let address: SocketAddr =
        endpoints["healthUrl"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let metrics = get_plain(address, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("waybill_source_reads_total "));
    line.unwrap().parse().unwrap()
}

/// Waits until the package has this version, which its point holds, and nothing goes on.
fn settled(world: &World, package: &str, version: u64) {
    world.until(&format!("{package} has version {version}"), |world| {
        let status = &world.ask("GET", &format!("{DECLARED}/packages/{package}"), None)["status"];
        status["sourceVersion"] == version && status["distribution"]["installed"] == 1
    });
    thread::sleep(SILENCE);
}

#[test]
fn a_source_in_a_directory_is_read_once_when_it_is_new_and_once_when_it_changes() {
    let mut world = World::new();
    world.package("one", 1);
    world.package("two", 1);
    world.start("site");
    settled(&world, "one", 1);
    settled(&world, "two", 1);
    assert_eq!(reads(&world), 2, "{}", world.logs());
    world.script("one", 2, "");
    settled(&world, "one", 2);
    assert_eq!(reads(&world), 3, "{}", world.logs());
    world.package("three", 1);
    settled(&world, "three", 1);
    assert_eq!(reads(&world), 4, "{}", world.logs());
    // Other objects, and the package's own, change nothing about its files.
    world.advertise("one");
    world.until("it is offered", |world| world.ask("GET", &format!("{DECLARED}/advertisements/one"), None).is_object());
    thread::sleep(SILENCE);
    assert_eq!(reads(&world), 4, "{}", world.logs());
}

#[test]
fn a_source_that_is_refused_is_read_again_when_it_changes_and_not_because_something_else_did() {
    let mut world = World::new();
    world.package("one", 1);
    std::os::unix::fs::symlink("/etc/passwd", world.path("fleet/packages/one/link")).unwrap();
    world.package("two", 1);
    world.start("site");
    settled(&world, "two", 1);
    let stalled = |world: &World| {
        let status = &world.ask("GET", &format!("{DECLARED}/packages/one"), None)["status"];
        status["conditions"].to_string().contains("SourceRefused")
    };
    world.until("it says why", stalled);
    assert_eq!(reads(&world), 2, "{}", world.logs());
    // What nudges every package: a new revision, another point, its own program.
    world.advertise("one");
    world.join(&["dp"]);
    let program = format!("{DECLARED}/programs/one");
    world.ask("PATCH", &program, Some(&serde_json::json!({"metadata": {"labels": {"a": "b"}}})));
    world.until("the point holds the other one", |world| {
        world.ask("GET", &format!("{DECLARED}/packages/two"), None)["status"]["distribution"]["installed"] == 2
    });
    thread::sleep(SILENCE);
    assert!(stalled(&world));
    assert_eq!(reads(&world), 2, "{}", world.logs());
    // Asked for, and mended.
    let package = format!("{DECLARED}/packages/one");
    let asked = serde_json::json!({"metadata": {"annotations": {"waybill.dev/reconcile-at": "now"}}});
    world.ask("PATCH", &package, Some(&asked));
    world.until("it is read again", |world| reads(world) == 3);
    fs::remove_file(world.path("fleet/packages/one/link")).unwrap();
    world.until("it is mended", |world| world.ask("GET", &package, None)["status"]["sourceVersion"] == 1);
}

fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message=c"]);
    git(&["rev-parse", "HEAD"])
}

#[test]
fn a_commit_makes_those_sources_be_read_that_it_touches() {
    let mut world = World::new();
    world.package("one", 1);
    world.package("two", 1);
    commit(&world.path("fleet"));
    let listen = format!("127.0.0.1:{}", world.port());
    world.start_as("site", &["up", "fleet", "--branch", "main", "--state", "site", "--listen", &listen]);
    world.until("the site is up", |world| world.path("site/endpoints.json").exists());
    settled(&world, "one", 1);
    settled(&world, "two", 1);
    assert_eq!(reads(&world), 2, "{}", world.logs());
    world.script("one", 2, "");
    commit(&world.path("fleet"));
    settled(&world, "one", 2);
    assert_eq!(reads(&world), 3, "{}", world.logs());
    // Manifests alone.
    world.write("pilots.yaml", format!("{HEAD}: Collection\nmetadata: {{name: pilots}}\nspec: {{query: 'false'}}\n"));
    let head = commit(&world.path("fleet"));
    world.until("the commit is applied", |world| {
        let site = world.ask("GET", "/apis/waybill.dev/v1alpha1/sites/main", None);
        site["status"]["sync"]["revision"].to_string().contains(&head)
    });
    thread::sleep(SILENCE);
    assert_eq!(reads(&world), 3, "{}", world.logs());
    // A source that moves is the same software.
    fs::rename(world.path("fleet/packages/two"), world.path("fleet/packages/moved")).unwrap();
    let manifest = fs::read_to_string(world.path("fleet/two.yaml")).unwrap();
    world.write("two.yaml", manifest.replace("packages/two", "packages/moved"));
    let head = commit(&world.path("fleet"));
    world.until("the commit is applied", |world| {
        let site = world.ask("GET", "/apis/waybill.dev/v1alpha1/sites/main", None);
        site["status"]["sync"]["revision"].to_string().contains(&head)
    });
    settled(&world, "two", 1);
    assert_eq!(reads(&world), 3, "{}", world.logs());
}
