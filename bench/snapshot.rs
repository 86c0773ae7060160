//! A package's source read into an empty library, hashed and made durable, beside `rsync -a` and `sync -f` of the same tree.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

mod runner;
mod tree;

use std::fs;
use std::path::Path;

use waybill::content::Library;
use waybill::content::beneath::Dir;
use waybill::source::directory::{SETTLE, snapshot};

fn main() {
    // Beside the build, not in a temporary folder that may be memory.
    let target = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let scratch = tempfile::tempdir_in(target).unwrap();
    let source = scratch.path().join("source");
    tree::make(&source, SETTLE);
    let ours = || {
        let library = scratch.path().join("library");
        let ((), took) = runner::timed(|| {
            let opened = Library::open(&library).unwrap();
            snapshot(Dir::open(&source).unwrap(), &opened, None).unwrap();
        });
        fs::remove_dir_all(library).unwrap();
        took
    };
    let metric =
        runner::Metric::seconds("snapshot", "rsync", ours, || tree::rsync(&source, &scratch.path().join("copy")));
    runner::report("snapshot", &[metric]);
}
