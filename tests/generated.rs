//! Committed files that the code generates: the CRDs under `crds/`. They are committed so that a change of the code shows its
//! effect in review, and compared here; `UPDATE=1 cargo test --test generated` writes them.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a tree that cannot be read or written is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn crds_are_what_the_code_generates() {
    let crds = waybill::api::crds();
    let generated = crds.iter().map(|crd| {
        let header = "# Generated from src/api by `UPDATE=1 cargo test --test generated`.\n";
        let name = format!("{}.yaml", crd.spec.names.plural);
        (name, format!("{header}{}", serde_yaml::to_string(crd).unwrap()))
    });
    compare(&root().join("crds"), &generated.collect(), update());
}

#[test]
fn committed_crds_read_back_as_they_are() {
    if update() {
        return; // being written by the other test
    }
    for crd in waybill::api::crds() {
        let text = fs::read_to_string(root().join("crds").join(format!("{}.yaml", crd.spec.names.plural))).unwrap();
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(
            read,
            serde_json::to_value(&crd).unwrap(),
            "{} changes on its way through YAML",
            crd.spec.names.plural
        );
    }
}

/// Holds the files of `folder` against `generated` (file name to content), or writes them. A file too many is a difference.
#[track_caller]
fn compare(folder: &Path, generated: &BTreeMap<String, String>, update: bool) {
    let mut differences = Vec::new();
    for (name, content) in generated {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(content) {
            differences.push(path.clone());
            if update {
                fs::create_dir_all(folder).unwrap();
                fs::write(&path, content).unwrap();
            }
        }
    }
    for path in fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default() {
        let path: PathBuf = path.unwrap().path();
        if !generated.contains_key(path.file_name().unwrap().to_str().unwrap()) {
            differences.push(path.clone());
            if update {
                fs::remove_file(&path).unwrap();
            }
        }
    }
    assert!(
        update || differences.is_empty(),
        "not what the code generates (UPDATE=1 cargo test --test generated): {differences:?}"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn planted_differences_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let generated = BTreeMap::from([("a.yaml".to_owned(), "a: 1\n".to_owned())]);
    let differs = || std::panic::catch_unwind(|| compare(folder.path(), &generated, false)).is_err();
    assert!(differs(), "a missing file");
    compare(folder.path(), &generated, true);
    assert!(!differs());
    fs::write(folder.path().join("a.yaml"), "a: 2\n").unwrap();
    assert!(differs(), "another content");
    compare(folder.path(), &generated, true);
    fs::write(folder.path().join("b.yaml"), "").unwrap();
    assert!(differs(), "a file too many");
    compare(folder.path(), &generated, true);
    assert!(!differs() && !folder.path().join("b.yaml").exists());
}
