//! The repository's own rules as tests: which layer may use which, no file that nobody compiles, no file too long to read, no
//! file that does not say what it is for, no unfinished places, a code map that tells the truth. Each rule is a function from
//! text to faults, and each has a test that plants a fault: a check that cannot fail is worth nothing.

#![allow(clippy::unwrap_used, reason = "a repository that cannot be read is a failed test")]

mod agent;
#[cfg(feature = "server")]
mod examples;
mod files;
mod layers;
mod map;
mod orphans;
mod rust_text;
mod skips;

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the repository.
#[derive(Debug, Clone)]
struct File {
    /// The path from the repository's root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file below `folders` (a folder or file each, from the root), in order. Binary files are left out.
fn files(folders: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
    found
}

fn collect(path: &Path, found: &mut Vec<File>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            collect(&entry, found);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        found.push(File { path, text });
    }
}

/// Every Rust file of the repository.
fn rust_files() -> Vec<File> {
    files(&["src", "tests"]).into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Fails with every fault on a line of its own.
#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} fault(s):\n  {}", faults.len(), faults.join("\n  "));
}
