//! The manifests of `examples/`: each directory is one that `waybill up` could serve, without an error or a warning, and
//! every kind has its smallest example.

use std::{fs, path::Path, process::Command};

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn every_example_is_valid() {
    let mut checked = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        let waybill = Path::new(env!("CARGO_BIN_EXE_waybill"));
        let output = Command::new(waybill).args(["validate", "--output", "json"]).arg(&directory).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{}: {report:#}", directory.display());
        assert_eq!(report["warnings"], 0, "{}: {report:#}", directory.display());
        assert!(report["objects"].as_u64().unwrap() > 0, "{} declares nothing", directory.display());
        checked += 1;
    }
    assert!(checked >= 3, "examples went missing");
}

#[test]
fn every_kind_has_a_minimal_example() {
    let mut shown: Vec<String> = fs::read_dir(examples().join("kinds"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let object: serde_json::Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            object["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    shown.sort();
    let mut kinds: Vec<String> = waybill::api::crds().iter().map(|crd| crd.spec.names.kind.clone()).collect();
    kinds.sort();
    assert_eq!(shown, kinds);
}
