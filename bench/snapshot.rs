//! A package's source read into an empty library, hashed and made durable, beside `rsync -a` and `sync -f` of the same tree.
//! The tree is like unpacked software: many small files, some large ones, nothing twice.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

mod runner;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use waybill::content::Library;
use waybill::content::beneath::Dir;
use waybill::source::directory::{SETTLE, snapshot};

/// Bytes of the tree: 1 GiB, with `--quick` 64 MiB.
const TREE_BYTES: u64 = 1 << 30;
const QUICK_TREE_BYTES: u64 = 64 << 20;
/// Sizes that the files take in turn; together 5.3 MiB in nine files.
const FILE_BYTES: [u64; 9] = [700, 2 << 10, 4 << 10, 9 << 10, 20 << 10, 60 << 10, 200 << 10, 1 << 20, 4 << 20];

fn main() {
    // Beside the build, not in a temporary folder that may be memory.
    let target = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let scratch = tempfile::tempdir_in(target).unwrap();
    let source = scratch.path().join("source");
    fill(&source, if runner::quick() { QUICK_TREE_BYTES } else { TREE_BYTES });
    // A tree that has just been written is waited for; that is no part of the work.
    std::thread::sleep(SETTLE + Duration::from_secs(1));
    let metric = runner::Metric::seconds(
        "snapshot",
        "rsync",
        || {
            let library = scratch.path().join("library");
            let ((), took) = runner::timed(|| {
                let opened = Library::open(&library).unwrap();
                snapshot(Dir::open(&source).unwrap(), &opened, None).unwrap();
            });
            fs::remove_dir_all(library).unwrap();
            took
        },
        || {
            let copy = scratch.path().join("copy");
            let ((), took) = runner::timed(|| {
                run(Command::new("rsync").arg("-a").arg(format!("{}/", source.display())).arg(&copy));
                run(Command::new("sync").arg("-f").arg(&copy));
            });
            fs::remove_dir_all(copy).unwrap();
            took
        },
    );
    runner::report("snapshot", &[metric]);
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed");
}

/// Writes files until `bytes` are reached, each with bytes of its own that do not compress.
fn fill(folder: &Path, bytes: u64) {
    let (mut written, mut number, mut state) = (0, 0_usize, 0x9e37_79b9_7f4a_7c15_u64);
    while written < bytes {
        let size = FILE_BYTES[number % FILE_BYTES.len()];
        let inside = folder.join(format!("usr/lib/part{}", number / 64));
        fs::create_dir_all(&inside).unwrap();
        let mut file = File::create(inside.join(format!("file{number}"))).unwrap();
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            // xorshift: fast, repeatable, and never the same block twice
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        content.truncate(usize::try_from(size).unwrap());
        file.write_all(&content).unwrap();
        (written, number) = (written + size, number + 1);
    }
}
