//! A tree like unpacked software for workloads that copy one: many small files, some large ones, nothing twice.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by ending")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::runner;

/// Bytes of the tree: 1 GiB, with `--quick` 64 MiB.
const TREE_BYTES: u64 = 1 << 30;
const QUICK_TREE_BYTES: u64 = 64 << 20;
/// Sizes that the files take in turn; together 5.3 MiB in nine files.
const FILE_BYTES: [u64; 9] = [700, 2 << 10, 4 << 10, 9 << 10, 20 << 10, 60 << 10, 200 << 10, 1 << 20, 4 << 20];

/// Writes the tree, and returns when it is on the disk and no longer young: waiting for that is no part of the work.
pub(crate) fn make(folder: &Path, settle: Duration) {
    fill(folder, if runner::quick() { QUICK_TREE_BYTES } else { TREE_BYTES });
    run(Command::new("sync").arg("-f").arg(folder));
    std::thread::sleep(settle + Duration::from_secs(1));
}

/// What the tree is copied with for comparison: `rsync -a` and `sync -f`.
pub(crate) fn rsync(source: &Path, copy: &Path) -> Duration {
    let ((), took) = runner::timed(|| {
        run(Command::new("rsync").arg("-a").arg(format!("{}/", source.display())).arg(copy));
        run(Command::new("sync").arg("-f").arg(copy));
    });
    fs::remove_dir_all(copy).unwrap();
    took
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
