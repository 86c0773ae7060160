//! The manifests of `examples/`: each directory is one that `waybill up` could serve, without an error or a warning, and
//! every kind has its smallest example.

use std::{fs, path::Path, process::Command};

use waybill::agent::config::LocalConfig;

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn every_example_is_valid() {
    let mut checked = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let directory = entry.unwrap().path();
        // Environments are no directory to be served, and have their own tests.
        if !directory.is_dir() || directory.ends_with("environments") {
            continue;
        }
        let waybill = Path::new(env!("CARGO_BIN_EXE_waybill"));
        let output = Command::new(waybill).args(["validate", "--output", "json"]).arg(&directory).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{}: {report:#}", directory.display());
        if directory.ends_with("deb") {
            // The one file that whoever tries it brings, as its manifest says.
            assert_eq!(report["warnings"], 1, "{report:#}");
            assert!(report["diagnostics"].to_string().contains("`nano.deb` is not in the source"), "{report:#}");
        } else {
            assert_eq!(report["warnings"], 0, "{}: {report:#}", directory.display());
        }
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

#[test]
fn the_debian_example_is_whole_once_its_file_is_there() {
    let scratch = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(examples().join("deb/.")).arg(scratch.path()).status().unwrap();
    assert!(copied.success());
    fs::write(scratch.path().join("packages/nano/nano.deb"), "a package").unwrap();
    let waybill = Path::new(env!("CARGO_BIN_EXE_waybill"));
    let output = Command::new(waybill).arg("validate").arg(scratch.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5 objects, 0 errors, 0 warnings\n");
}

/// What the page about the agent shows is read as it is meant.
#[test]
fn the_agents_page_shows_its_configuration() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agent.md")).unwrap();
    let block = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: LocalConfig = serde_json::from_str(block).unwrap();
    assert_eq!(shown, LocalConfig::default(), "the page shows the defaults");
    let members: serde_json::Value = serde_json::to_value(&shown).unwrap();
    for member in members.as_object().unwrap().keys() {
        assert!(page.contains(&format!("| `{member}` |")), "{member} is not described");
    }
}
