//! The repository with environments of `examples/`: its workflow finds what is wrong in it, and each environment, applied by
//! kubectl, brings its own version to its own machines.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    kinds::{CLUSTER, until_ready},
    readme::shell,
    require,
    world::World,
};

const ENVIRONMENTS: [&str; 2] = ["test", "production"];

/// A copy of the example, with its sources beneath `sources`.
fn copy(to: &Path, sources: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/environments");
    assert!(Command::new("cp").arg("-r").arg(example.join(".")).arg(to).status().unwrap().success());
    for file in ["base/greeter.yaml", "test/kustomization.yaml", "production/kustomization.yaml"] {
        edit(&to.join(file), "/sources/", &format!("{}/", sources.display()));
    }
}

fn edit(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{}: {text}", file.display());
    fs::write(file, text.replace(old, new)).unwrap();
}

/// What the steps of the workflow that run waybill print, and whether one failed, as the forge's runner sees it.
fn workflow(directory: &Path) -> (bool, String) {
    let text = fs::read_to_string(directory.join(".github/workflows/validate.yaml")).unwrap();
    let workflow: Value = serde_yaml::from_str(&text).unwrap();
    let steps = workflow["jobs"]["validate"]["steps"].as_array().unwrap();
    let scripts: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    let scripts: Vec<&str> = scripts.into_iter().filter(|script| script.contains("waybill validate")).collect();
    assert_eq!(scripts.len(), 2, "{text}");
    let (mut passed, mut printed) = (true, String::new());
    for script in scripts {
        let output = shell(&format!("set -e\n{script}"), directory).output().unwrap();
        passed &= output.status.success();
        printed.push_str(&String::from_utf8_lossy(&output.stdout));
        printed.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (passed, printed)
}

#[test]
fn the_workflow_passes_and_finds_what_is_wrong_at_its_line() {
    if require::program("kubectl").is_none() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    copy(scratch.path(), Path::new("/sources"));
    let (passed, printed) = workflow(scratch.path());
    assert!(passed, "{printed}");
    assert_eq!(printed.matches("5 objects, 0 errors, 0 warnings").count(), 3, "base and two environments: {printed}");

    edit(&scratch.path().join("base/greeter.yaml"), "maxRuntime", "maxRuntme");
    let (passed, printed) = workflow(scratch.path());
    let expected =
        "::error file=base/greeter.yaml,line=18,col=3,title=waybill schema::there is no field `spec.maxRuntme`";
    assert!(!passed && printed.contains(expected), "{printed}");
    edit(&scratch.path().join("base/greeter.yaml"), "maxRuntme", "maxRuntime");

    // A patch of one environment: nothing of it shows in the files as they are.
    edit(&scratch.path().join("production/kustomization.yaml"), "\"stable\"", "");
    let (passed, printed) = workflow(scratch.path());
    assert!(!passed && printed.contains("collection_machines.yaml:7:3: the query does not parse"), "{printed}");
}

/// A version of the software: a program that says where it ran.
fn version(world: &World, sources: &Path, version: &str) {
    let directory = sources.join("packages/greeter").join(version);
    fs::create_dir_all(&directory).unwrap();
    let lines = world.path("lines");
    let script = format!("#!/bin/sh\necho \"$PWD {version}\" >> '{0}' && sync '{0}'\n", lines.display());
    fs::write(directory.join("install.sh"), script).unwrap();
    fs::set_permissions(directory.join("install.sh"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// A machine with these labels.
fn join(world: &mut World, name: &str, labels: &[&str]) {
    let mut words = vec!["token", "create", "--role", "client", "--state", "site"];
    labels.iter().for_each(|label| words.extend(["--label", label]));
    let output = world.command(&words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = world.path(&format!("{name}.json"));
    fs::write(&file, output.stdout).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    world.start(name);
}

fn kubectl(program: &PathBuf, world: &World, repository: &Path, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(words)
        .env("KUBECONFIG", world.path("site/kubeconfig"))
        .env("HOME", world.path(""))
        .current_dir(repository);
    let output = command.output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {said}{error}");
    said.into_owned()
}

/// The versions that ran, each as often as it did.
fn ran(world: &World) -> Vec<String> {
    let lines = world.lines();
    let each =
        lines.iter().flat_map(|(line, times)| vec![line.rsplit(' ').next().unwrap().to_owned(); *times as usize]);
    let mut versions: Vec<String> = each.collect();
    versions.sort();
    versions
}

#[test]
fn each_environment_brings_its_version_to_its_machines_and_a_commit_promotes_it() {
    let Some(program) = require::program("kubectl") else { return };
    let mut world = World::new();
    let (repository, sources) = (world.path("repository"), world.path("sources"));
    fs::create_dir_all(&repository).unwrap();
    copy(&repository, &sources);
    version(&world, &sources, "1.0");
    version(&world, &sources, "1.1");
    // The fleet's owner declares the site where it is served; in a cluster `kubectl apply -k site` does.
    world.write("site.yaml", fs::read(repository.join("site/site.yaml")).unwrap());
    world.start_with("site", &["--source-root", sources.to_str().unwrap()]);
    join(&mut world, "client-1", &["environment=test"]);
    join(&mut world, "client-2", &["environment=production", "ring=stable"]);
    join(&mut world, "client-3", &["environment=production", "ring=late"]);

    for environment in ENVIRONMENTS {
        let said = kubectl(&program, &world, &repository, &["apply", "-k", environment]);
        assert!(said.contains(&format!("namespace/fleet-{environment} created")), "{said}");
        assert!(
            kubectl(&program, &world, &repository, &["apply", "-k", environment])
                .lines()
                .all(|line| line.ends_with("unchanged"))
        );
        let offer = format!("{CLUSTER}/namespaces/fleet-{environment}/advertisements/greeter");
        until_ready(&world, &offer, "Succeeded");
    }
    world.until("both run their version", |world| ran(world) == ["1.0", "1.1"]);
    let targeted = |world: &World, environment: &str| {
        let offer = format!("{CLUSTER}/namespaces/fleet-{environment}/advertisements/greeter");
        world.ask("GET", &offer, None)["status"]["clients"]["targeted"].clone()
    };
    assert_eq!([targeted(&world, "test"), targeted(&world, "production")], [1, 1], "one has not the ring");

    edit(&repository.join("production/kustomization.yaml"), "greeter/1.0", "greeter/1.1");
    let said = kubectl(&program, &world, &repository, &["apply", "-k", "production"]);
    assert!(said.contains("package.waybill.dev/greeter configured"), "{said}");
    world.until("production has it too", |world| ran(world) == ["1.0", "1.1", "1.1"]);
}

/// Every environment is taken by the API server, strictly, without being applied.
#[test]
fn the_server_takes_every_environment() {
    let Some(program) = require::program("kubectl") else { return };
    let mut world = World::new();
    world.start("site");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/environments");
    for environment in ENVIRONMENTS {
        let namespace = format!("fleet-{environment}");
        kubectl(&program, &world, &repository, &["create", "namespace", &namespace]);
    }
    for directory in ["test", "production", "site"] {
        let words = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", directory];
        let mut command = words.to_vec();
        // The site of this server is somebody's already; the namespaces were made here.
        command.push("--force-conflicts");
        let said = kubectl(&program, &world, &repository, &command);
        let count = if directory == "site" { 1 } else { 6 };
        assert_eq!(said.matches("serverside-applied (server dry run)").count(), count, "{said}");
    }
}
