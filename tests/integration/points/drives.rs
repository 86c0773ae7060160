//! Two drives of one point: which one a copy goes to, and what happens when none will do.

use std::fs;

use serde_json::json;

use super::{configure, installed, path_of, said};
use crate::world::{HEAD, World, unseal};

/// No disk has that much: with it, a drive takes nothing.
const ALL: &str = "900Ti";

#[test]
fn each_copy_goes_to_the_drive_with_the_most_room_that_takes_any() {
    let mut world = World::new();
    let drives = ["first", "second"].map(|name| world.path(name));
    drives.iter().for_each(|drive| fs::create_dir(drive).unwrap());
    let configured = |reserves: [&str; 2]| {
        let drive = |of: usize| json!({"path": drives[of].display().to_string(), "reserve": reserves[of]});
        json!({"drives": [drive(0), drive(1)]})
    };
    world.script("tool", 1, "");
    world.write(
        "tool.yaml",
        format!(
            "{HEAD}: Package\nmetadata: {{name: tool}}\nspec: {{source: {{directory: {{path: packages/tool}}}}}}\n---\n\
             {HEAD}: Distribution\nmetadata: {{name: tool}}\nspec: {{package: tool, distributionPoints: {{names: [dp]}}}}\n"
        ),
    );
    world.start("site");
    world.invite("dp");
    // Both lie on one disk, so the reserve decides which has more room. Configured before the point comes.
    let point = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "DistributionPoint", "metadata": {"name": "dp"},
        "spec": configured(["10Gi", "0"])});
    world.ask("POST", &format!("{}/distributionpoints", super::CLUSTER), Some(&point));
    world.start("dp");
    world.until("version 1", |world| installed(world, "tool", &[("dp", 1)]));
    assert!(path_of(&world, "tool", 1, "dp").starts_with(&drives[1]));

    // Left out: nothing new goes there, what is there stays and is served.
    fs::write(drives[1].join("NO_WAYBILL_ON_DRIVE"), "").unwrap();
    world.script("tool", 2, "");
    world.until("version 2", |world| installed(world, "tool", &[("dp", 1), ("dp", 2)]));
    assert!(path_of(&world, "tool", 2, "dp").starts_with(&drives[0]));
    assert!(path_of(&world, "tool", 1, "dp").starts_with(&drives[1]));

    // Neither takes anything: said once, and done by itself as soon as one does.
    configure(&world, "dp", configured([ALL, "0"]));
    world.script("tool", 3, "");
    world.until("it is told", |world| said(world, "dp", &[2328]).len() == 1);
    let (_, text) = said(&world, "dp", &[2328]).remove(0);
    assert!(text.contains("is left out") && text.contains("has 0"), "{text}");
    fs::remove_file(drives[1].join("NO_WAYBILL_ON_DRIVE")).unwrap();
    world.until("version 3", |world| super::locations(world, "tool").contains(&("dp".into(), 3, "Installed".into())));
    assert!(path_of(&world, "tool", 3, "dp").starts_with(&drives[1]));
    assert_eq!(said(&world, "dp", &[2328]).len(), 1);
}

#[test]
fn a_drive_that_is_removed_is_told_once_and_used_again_as_soon_as_it_is_back() {
    let mut world = World::new();
    let drive = world.path("drive");
    fs::create_dir(&drive).unwrap();
    world.script("tool", 1, "");
    for number in 0..30 {
        world.write(&format!("packages/tool/{number}.txt"), format!("{number}"));
    }
    world.declare("tool");
    world.start("site");
    world.invite("dp");
    let point = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "DistributionPoint", "metadata": {"name": "dp"},
        "spec": {"drives": [{"path": drive.display().to_string()}]}});
    world.ask("POST", &format!("{}/distributionpoints", super::CLUSTER), Some(&point));
    world.start("dp");
    world.until("it is there", |world| installed(world, "tool", &[("dp", 1), ("main", 1)]));
    let directory = path_of(&world, "tool", 1, "dp");
    let check = |world: &World| {
        let body = json!({"apiVersion": "fleet.waybill.dev/v1alpha1", "kind": "ContentCheck", "metadata": {"name": "x"},
            "spec": {"package": "tool", "distributionPoint": "dp"}});
        world.ask("POST", &format!("{}/namespaces/default/contentchecks", super::FLEET), Some(&body));
    };

    // Many files at once are one message; the directory itself is writable now, too.
    unseal(&directory);
    for number in 0..30 {
        fs::remove_file(directory.join(format!("{number}.txt"))).unwrap();
    }
    check(&world);
    world.until("it is repaired", |world| said(world, "dp", &[2303]).len() == 1);
    let damage = said(&world, "dp", &[2354]);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert!(damage[0].1.contains("31 files or directories of version 1"), "{damage:?}");

    unseal(&drive);
    fs::remove_dir_all(&drive).unwrap();
    check(&world);
    world.until("it is told", |world| said(world, "dp", &[2328]).len() == 1);
    let state = |world: &World| {
        let site = world.ask("GET", &format!("{}/sites/main", super::CLUSTER), None);
        let systems = site["status"]["systems"].as_array().cloned().unwrap_or_default();
        systems.iter().find(|one| one["system"] == "dp").map(|one| one["state"].clone()).unwrap_or_default()
    };
    world.until("the summary says so", |world| state(world) == "Critical");
    assert_eq!(said(&world, "dp", &[2354]).len(), 1, "nothing is said of its files");

    fs::create_dir(&drive).unwrap();
    world.until("it is there again", |world| {
        installed(world, "tool", &[("dp", 1), ("main", 1)]) && directory.join("29.txt").exists()
    });
    assert_eq!(said(&world, "dp", &[2328]).len(), 1);
}
