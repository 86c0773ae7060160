//! State directories are private after a whole run, whatever umask the processes were started with.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::world::World;

/// Directories in which published or cached content lies.
const CONTENT: [&str; 2] = ["content", "cache"];

/// What anybody else could read beneath a directory, itself included, or write in published content: what a package
/// holds is readable for the program's user, and reached only through directories that are closed.
fn open_to_others(path: &Path, forbidden: u32, found: &mut Vec<PathBuf>) {
    // Removed while we look: not open any more.
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_symlink() {
        return;
    }
    if metadata.permissions().mode() & forbidden != 0 {
        found.push(path.to_owned());
    }
    let is_content = path.file_name().is_some_and(|name| CONTENT.iter().any(|one| name == *one));
    let forbidden = if is_content { 0o022 } else { forbidden };
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        open_to_others(&entry.path(), forbidden, found);
    }
}

#[test]
fn state_directories_are_private_after_a_whole_run() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.join(&["cap"]);
    world.start_as("apiserver", &["apiserver", "--state", "apiserver", "--listen", "127.0.0.1:0"]);
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    world.until("the access point has policy", |world| world.path("cap/policy.json").exists());
    world.until("the API is served", |world| world.path("apiserver/viewer.kubeconfig").exists());
    world.package("tool", 2);
    world.until("version 2 runs", |world| world.lines().contains_key("tool 2"));
    let mut found = Vec::new();
    for state in ["site", "dp", "cap", "client", "apiserver"] {
        let path = world.path(state);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700, "{state}");
        open_to_others(&path, 0o077, &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}
