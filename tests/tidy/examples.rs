//! The manifests of `examples/` and `crds/` are YAML, and none is empty. Whether they are good manifests is said by
//! `waybill validate`, which the suite runs over them.

use crate::{File, assert_none, files};

#[test]
fn examples_are_yaml() {
    let manifests = files(&["examples", "crds"]).into_iter().filter(|file| file.path.ends_with(".yaml"));
    assert_none(manifests.filter_map(|file| unreadable(&file)).collect());
}

fn unreadable(file: &File) -> Option<String> {
    match serde_yaml::from_multiple::<serde_json::Value>(&file.text) {
        Ok(documents) if documents.is_empty() => Some(format!("{}: holds nothing", file.path)),
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error}", file.path)),
    }
}

#[test]
fn a_planted_fault_is_found() {
    assert!(unreadable(&File::new("examples/a.yaml", "a: [1")).is_some());
    assert!(unreadable(&File::new("examples/a.yaml", "")).is_some());
    assert!(unreadable(&File::new("examples/a.yaml", "a: 1\n---\nb: 2\n")).is_none());
}
