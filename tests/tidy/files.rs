//! Rules for single files: short enough to be read, opening with what they are for, nothing unfinished, no path of somebody's
//! machine.

use crate::{File, assert_none, files, root, rust_files};
use std::path::Path;

/// A file longer than this hides more than one subject.
const LONGEST_FILE_LINES: usize = 400;
/// Longer files that are one regular table, each with its reason.
const LONG_TABLES: &[(&str, &str)] = &[];
/// Where texts live. Folders of builds and of git are not ours.
const TEXTS: &[&str] = &[
    "src",
    "tests",
    "docs",
    "examples",
    "charts",
    "crds",
    "gitops",
    "schemas",
    "image",
    "bench",
    ".ci",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "Makefile",
    "deny.toml",
    "clippy.toml",
];
/// Unfinished places. Written in halves, or this file would find itself.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

#[test]
fn files_are_short_enough_to_be_read() {
    assert_none(rust_files().iter().filter_map(|file| too_long(file, LONG_TABLES)).collect());
}

#[test]
fn every_long_table_is_still_long() {
    let files = rust_files();
    let needless = LONG_TABLES
        .iter()
        .filter(|(path, _)| !files.iter().any(|file| file.path == *path && too_long(file, &[]).is_some()));
    assert_none(needless.map(|(path, _)| format!("{path} is not too long any more")).collect());
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(rust_files().iter().filter_map(without_purpose).collect());
}

#[test]
fn nothing_is_unfinished() {
    assert_none(rust_files().iter().flat_map(unfinished).collect());
}

#[test]
fn no_path_of_a_machine() {
    let here = machine_folders(root());
    assert_none(files(TEXTS).iter().flat_map(|file| machine_paths(file, &here)).collect());
}

fn too_long(file: &File, tables: &[(&str, &str)]) -> Option<String> {
    let lines = file.text.lines().count();
    let listed = tables.iter().any(|(path, _)| *path == file.path);
    (lines > LONGEST_FILE_LINES && !listed)
        .then(|| format!("{}: {lines} lines; find the seam (a table may be listed in tests/tidy/files.rs)", file.path))
}

fn without_purpose(file: &File) -> Option<String> {
    // An empty file has nothing to explain.
    (!file.text.trim().is_empty() && !file.text.starts_with("//! "))
        .then(|| format!("{}: must open with `//! ` and what it is for", file.path))
}

fn unfinished(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            UNFINISHED.iter().filter(move |word| line.contains(**word)).map(move |word| (number, word))
        })
        .map(|(number, word)| format!("{}:{}: {word}", file.path, number + 1))
        .collect()
}

/// Folders that no text may name: the homes of root and of who runs this, and the one this checkout lies in. (`/home/ann` is a
/// good example in a test.)
fn machine_folders(root: &Path) -> Vec<String> {
    let mut folders = vec![format!("/{}/", "root")];
    folders.extend(
        std::env::home_dir().and_then(|home| Some(format!("{}/", home.to_str()?))).filter(|home| home.len() > 2),
    );
    // A checkout in a folder of the system says nothing about a machine.
    let system = ["/", "/tmp", "/src", "/usr/src", "/opt", "/srv", "/var", "/mnt"];
    if let Some(parent) = root.parent().and_then(Path::to_str).filter(|parent| !system.contains(parent)) {
        folders.push(format!("{parent}/"));
    }
    folders.sort();
    folders.dedup();
    folders
}

fn machine_paths(file: &File, folders: &[String]) -> Vec<String> {
    let inside_a_path = |c: char| c.is_alphanumeric() || "/._-}*~".contains(c);
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for folder in folders {
            if line.match_indices(folder.as_str()).any(|(at, _)| !line[..at].ends_with(inside_a_path)) {
                faults.push(format!("{}:{}: names {folder}, a folder of one machine", file.path, number + 1));
            }
        }
    }
    faults
}

#[test]
fn planted_faults_are_found() {
    let long = File::new("src/a.rs", &"x\n".repeat(LONGEST_FILE_LINES + 1));
    assert!(too_long(&long, &[]).is_some() && too_long(&long, &[("src/a.rs", "a table")]).is_none());
    assert!(too_long(&File::new("src/a.rs", &"x\n".repeat(LONGEST_FILE_LINES)), &[]).is_none());

    assert!(without_purpose(&File::new("src/a.rs", "// no\n")).is_some());
    assert!(without_purpose(&File::new("src/a.rs", "//! Yes.\n")).is_none());

    for word in UNFINISHED {
        assert_eq!(unfinished(&File::new("src/a.rs", &format!("a\n  {word}"))), [format!("src/a.rs:2: {word}")]);
    }

    let folders = machine_folders(Path::new("/somewhere/checkout"));
    let faults = |text: &str| machine_paths(&File::new("docs/a.md", text), &folders).len();
    assert_eq!(faults(concat!("see /ro", "ot/fleet")), 1);
    assert_eq!(faults("`/somewhere/else`"), 1);
    assert_eq!(faults("a/somewhere/else, ./root/x"), 0);
}
