//! A Rust file that no `mod` line declares is compiled by nobody and rots; this finds it.

use crate::{File, assert_none, rust_files};
use std::collections::BTreeSet;

#[test]
fn every_rust_file_is_compiled() {
    assert_none(orphans(&rust_files()));
}

fn orphans(files: &[File]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&File> = files.iter().filter(|file| is_target(&file.path)).collect();
    while let Some(file) = open.pop() {
        if reached.insert(&file.path) {
            let declared = declared(file);
            open.extend(files.iter().filter(|other| declared.contains(&other.path)));
        }
    }
    let lost = files.iter().filter(|file| !reached.contains(&file.path));
    lost.map(|file| format!("{}: no `mod` line declares it", file.path)).collect()
}

/// Whether cargo starts at this file: the crate's root, a binary, a test binary.
fn is_target(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["tests", _] | ["tests", _, "main.rs"])
}

/// The files that the `mod` lines of `file` may mean.
fn declared(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let below = match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ if is_target(&file.path) => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    let mut declared = Vec::new();
    let mut elsewhere = None;
    for line in file.text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            elsewhere = Some(resolve(folder, path));
        } else if let Some(module) = declared_module(line) {
            match elsewhere.take() {
                Some(path) => declared.push(path),
                None => declared.extend([format!("{below}/{module}.rs"), format!("{below}/{module}/mod.rs")]),
            }
        }
    }
    declared
}

/// The name in `mod name;`, with any visibility before it.
fn declared_module(line: &str) -> Option<&str> {
    let (before, rest) = line.strip_suffix(';')?.split_once("mod ")?;
    let visibility = before.is_empty() || before == "pub " || (before.starts_with("pub(") && before.ends_with(") "));
    (visibility && rest.chars().all(|c| c == '_' || c.is_alphanumeric())).then_some(rest)
}

fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn a_planted_orphan_is_found() {
    let files = [
        File::new("src/lib.rs", "pub mod a;\n// mod lost;\n"),
        File::new("src/a/mod.rs", "pub(crate) mod b;\n#[cfg(test)]\nmod b_tests;"),
        File::new("src/a/b.rs", "mod deep;"),
        File::new("src/a/b/deep.rs", ""),
        File::new("src/a/b_tests.rs", ""),
        File::new("src/lost.rs", ""),
        File::new("src/a/lost.rs", ""),
        File::new("tests/x/main.rs", "#[path = \"../support/s.rs\"]\nmod s;"),
        File::new("tests/support/s.rs", ""),
        File::new("tests/support/lost.rs", ""),
    ];
    let lost: Vec<String> = orphans(&files);
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert!(lost.iter().all(|fault| fault.contains("lost.rs")));
}
