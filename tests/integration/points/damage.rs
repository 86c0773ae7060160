//! Damage on a distribution point: never executed, repaired when a client meets it, else by the scrub, told once.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    thread,
};

use serde_json::json;

use super::{CLUSTER, FLEET, installed, path_of, said, standing};
use crate::world::{HEAD, SILENCE, World};

/// What a point says of damage, and of its repair.
const DAMAGE: u64 = 2354;
const REPAIRED: u64 = 2303;

/// A package on `dp` alone, with three files.
fn lay_out(world: &mut World, client: bool) {
    world.script("tool", 1, "");
    world.write("packages/tool/a.txt", "alpha");
    world.write("packages/tool/b.txt", "beta, and more");
    world.declare("tool");
    distribute(world, "tool");
    world.start("site");
    world.join(&["dp"]);
    if client {
        world.join(&["client"]);
    }
    world.until("it is there", |world| installed(world, "tool", &[("dp", 1)]));
}

/// To `dp` and no other point.
fn distribute(world: &World, name: &str) {
    world.write(
        &format!("{name}.yaml"),
        format!(
            "{HEAD}: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{directory: {{path: packages/{name}}}}}}}\n---\n\
             {HEAD}: Program\nmetadata: {{name: {name}}}\nspec: {{packageRef: {name}, argv: [install.sh]}}\n---\n\
             {HEAD}: Distribution\nmetadata: {{name: {name}}}\nspec: {{package: {name}, distributionPoints: {{names: [dp]}}}}\n"
        ),
    );
}

/// Other bytes in a read-only file, its mode as before.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

/// As a bad disk or a stranger does: the script says something else, one file is short, one is gone, one came.
fn damage(directory: &Path) {
    let script = fs::read_to_string(directory.join("install.sh")).unwrap();
    // Of the same length, so that only its digest tells.
    overwrite(&directory.join("install.sh"), script.replace("tool 1", "evil 1").as_bytes());
    overwrite(&directory.join("b.txt"), b"beta");
    fs::remove_file(directory.join("a.txt")).unwrap();
    fs::write(directory.join("extra.sh"), "#!/bin/sh\n").unwrap();
}

fn is_whole(directory: &Path) -> bool {
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    text("install.sh").contains("tool 1")
        && text("a.txt") == "alpha"
        && text("b.txt") == "beta, and more"
        && !directory.join("extra.sh").exists()
}

/// Asserts that each of these files was told of once, and one repair.
fn told_once(world: &World, files: &[&str]) {
    world.until("the repair is told", |world| !said(world, "dp", &[REPAIRED]).is_empty());
    thread::sleep(SILENCE);
    let damage = said(world, "dp", &[DAMAGE]);
    for file in files {
        let about = damage.iter().filter(|(_, text)| text.contains(file)).count();
        assert_eq!(about, 1, "{file}: {damage:?}");
    }
    assert_eq!(damage.len(), files.len(), "{damage:?}");
    assert_eq!(said(world, "dp", &[REPAIRED]).len(), 1);
}

#[test]
fn damage_that_a_client_meets_is_never_executed_and_repaired_at_once() {
    let mut world = World::new();
    lay_out(&mut world, true);
    let directory = path_of(&world, "tool", 1, "dp");
    damage(&directory);
    world.advertise("tool");
    world.until("the right program runs", |world| standing(world, "tool", "client") == "Succeeded");
    assert!(is_whole(&directory));
    told_once(&world, &["install.sh", "a.txt", "b.txt", "extra.sh"]);
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1)].into(), "nothing else was ever executed");
}

#[test]
fn a_file_that_is_gone_or_short_is_repaired_as_soon_as_somebody_asks_for_it() {
    let mut world = World::new();
    lay_out(&mut world, true);
    let directory = path_of(&world, "tool", 1, "dp");
    // No client gets wrong bytes here: the point itself notices that it cannot serve.
    overwrite(&directory.join("b.txt"), b"beta");
    fs::remove_file(directory.join("a.txt")).unwrap();
    world.advertise("tool");
    world.until("the program runs", |world| standing(world, "tool", "client") == "Succeeded");
    assert!(is_whole(&directory));
    told_once(&world, &["a.txt", "b.txt"]);
}

#[test]
fn damage_that_nobody_meets_is_repaired_by_the_scrub() {
    let mut world = World::new();
    lay_out(&mut world, false);
    let directory = path_of(&world, "tool", 1, "dp");
    damage(&directory);
    thread::sleep(SILENCE);
    assert!(!is_whole(&directory), "nobody has looked yet: the scrub is a day away");
    let scrub = |asked: &str| {
        let body = json!({"metadata": {"annotations": {"waybill.dev/reconcile-at": asked}}});
        world.ask("PATCH", &format!("{CLUSTER}/distributionpoints/dp"), Some(&body));
    };
    scrub("now");
    world.until("it is put right", |_| is_whole(&directory));
    // Two scrubs later it was still told once.
    for asked in ["again", "and again"] {
        scrub(asked);
        thread::sleep(SILENCE);
    }
    told_once(&world, &["install.sh", "a.txt", "b.txt", "extra.sh"]);
}

#[test]
fn versions_of_a_point_share_files_never_with_the_library_and_a_repair_renews_every_link() {
    let mut world = World::new();
    lay_out(&mut world, false);
    world.script("tool", 2, "");
    world.until("both versions", |world| installed(world, "tool", &[("dp", 1), ("dp", 2)]));
    let directories = [1, 2].map(|version| path_of(&world, "tool", version, "dp"));
    let inodes = || directories.clone().map(|directory| fs::metadata(directory.join("b.txt")).unwrap().ino());
    let before = inodes();
    assert_eq!(before[0], before[1], "an unchanged file is one file");
    overwrite(&directories[1].join("b.txt"), b"beta, and MORE");
    assert!(fs::read_to_string(directories[0].join("b.txt")).unwrap().ends_with("MORE"), "they share it");
    let asked = json!({"apiVersion": "fleet.waybill.dev/v1alpha1", "kind": "ContentCheck", "metadata": {},
        "spec": {"package": "tool", "sourceVersion": 1, "distributionPoint": "dp"}});
    world.ask("POST", &format!("{FLEET}/namespaces/default/contentchecks"), Some(&asked));
    let text = |version: usize| fs::read_to_string(directories[version].join("b.txt")).unwrap_or_default();
    world.until("both are put right", |_| text(0) == "beta, and more" && text(1) == "beta, and more");
    let after = inodes();
    assert_eq!(after[0], after[1]);
    assert_ne!(after[0], before[0], "a repaired file is a new one");

    // The built-in point lies on the library's own disk, and shares nothing with it.
    world.package("tool", 3);
    world.until("the built-in point has it", |world| world.published("site/dp", "tool"));
    let library = files(&world.path("site/library"));
    let published = files(&world.path("site/dp/content/default"));
    assert!(!library.is_empty() && !published.is_empty());
    let shared: Vec<_> = published.iter().filter(|file| library.contains(file)).collect();
    assert!(shared.is_empty(), "{shared:?}");
}

/// Device and inode of every file below.
fn files(directory: &Path) -> std::collections::BTreeSet<(u64, u64)> {
    let mut found = std::collections::BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert((meta.dev(), meta.ino()));
        }
    }
    found
}
