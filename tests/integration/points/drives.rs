//! Two drives of one point: which one a copy goes to, and what happens when none will do.

use std::fs;

use serde_json::json;

use super::{configure, installed, path_of, said};
use crate::world::{HEAD, World};

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
