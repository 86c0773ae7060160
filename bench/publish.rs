//! From a package's source to a published version whose every byte was verified, the copy in the library included, with the
//! calls that a site and its built-in distribution point make, beside one copy of the tree by `rsync -a` and `sync -f`.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

mod runner;
mod tree;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waybill::content::beneath::Dir;
use waybill::content::{DriveConfig, Library, Publisher, VersionKey};
use waybill::source::directory::{SETTLE, snapshot};

fn main() {
    // Beside the build, not in a temporary folder that may be memory.
    let target = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let scratch = tempfile::tempdir_in(target).unwrap();
    let source = scratch.path().join("source");
    tree::make(&source, SETTLE);
    let ours = || {
        let (library, drive) = (scratch.path().join("library"), scratch.path().join("drive"));
        fs::create_dir(&drive).unwrap();
        let ((), took) = runner::timed(|| {
            let opened = Library::open(&library).unwrap();
            let manifest = snapshot(Dir::open(&source).unwrap(), &opened, None).unwrap().manifest;
            let publisher = Publisher::open(vec![DriveConfig { path: drive.clone(), reserve_bytes: 0 }]).unwrap();
            let key = VersionKey::new("default", "tree", 1, manifest.digest()).unwrap();
            publisher.publish(&key, &manifest, &|entry, offset| opened.open_from(&entry.digest, offset)).unwrap();
        });
        for place in [library, drive] {
            unseal(&place);
            fs::remove_dir_all(place).unwrap();
        }
        took
    };
    let metric =
        runner::Metric::seconds("publish", "rsync", ours, || tree::rsync(&source, &scratch.path().join("copy")));
    runner::report("publish", &[metric]);
}

/// What is published is read-only.
fn unseal(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            unseal(&entry.path());
        }
    }
}
