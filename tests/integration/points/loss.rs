//! The site's database is lost while its distribution points keep what they hold.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{installed, locations};
use crate::world::World;

/// Every file below, with its inode: a file that was copied again has another.
fn inodes(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(inodes(&entry.path()));
        } else {
            found.insert(entry.path(), entry.metadata().unwrap().ino());
        }
    }
    found
}

#[test]
fn a_lost_database_is_rebuilt_from_what_points_report_and_nothing_is_copied_or_numbered_again() {
    let mut world = World::new();
    world.package("tool", 1);
    world.start("site");
    world.join(&["dp"]);
    world.until("version 1 is there", |world| installed(world, "tool", &[("dp", 1), ("main", 1)]));
    for version in 2..=3 {
        world.package("tool", version);
        let kept = [("dp", version - 1), ("dp", version), ("main", version - 1), ("main", version)];
        world.until("version and the one before", |world| {
            let rows = locations(world, "tool");
            kept.iter().all(|(point, version)| rows.contains(&((*point).into(), *version, "Installed".into())))
        });
    }
    let drive = world.path("dp/content/default");
    world.until("version 1 is gone", |_| fs::read_dir(drive.join("tool")).unwrap().count() == 4);
    let before = inodes(&drive);

    world.strike("site");
    for file in ["site.db", "site.db-wal", "site.db-shm"] {
        let _ = fs::remove_file(world.path("site").join(file));
    }
    world.start("site");
    // The previous version too: only the points still knew of it.
    world.until("the ledger is back", |world| {
        installed(world, "tool", &[("dp", 2), ("dp", 3), ("main", 2), ("main", 3)])
    });
    assert_eq!(inodes(&drive), before, "nothing was copied again");
    let package = world.ask("GET", "/apis/waybill.dev/v1alpha1/namespaces/default/packages/tool", None);
    assert_eq!(package["status"]["sourceVersion"], 3);

    world.package("tool", 4);
    world.until("the next number", |world| locations(world, "tool").contains(&("dp".into(), 4, "Installed".into())));
}
