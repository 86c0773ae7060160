//! ARCHITECTURE.md's map against the territory: what it names exists, and every module is on it.

use crate::{assert_none, root};
use std::fs;

/// How a path of this repository begins.
const PLACES: &[&str] = &["src/", "tests/", "crds/", "docs/", "examples/", "charts/", "bench/", ".ci/"];

#[test]
fn the_code_map_tells_the_truth() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        eprintln!("SKIPPED: there is no ARCHITECTURE.md yet");
        return;
    };
    let mut modules: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .map(|name| name.into_string().unwrap())
        .collect();
    modules.sort();
    let mut faults = missing(&map, |path| root().join(path).exists());
    faults.extend(unmentioned(&map, &modules));
    assert_none(faults);
}

/// Paths in backquotes that do not exist. A path ends at its first character that is none (`src/plan/*`, `docs/X.md`).
fn missing(map: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let quoted = map.split('`').skip(1).step_by(2);
    let paths = quoted
        .filter(|text| PLACES.iter().any(|place| text.starts_with(place)) && !text.contains(['*', '<', ' ', '…']));
    paths
        .filter(|path| !exists(path))
        .map(|path| format!("ARCHITECTURE.md names `{path}`, which does not exist"))
        .collect()
}

/// Modules of `src` that the map leaves out.
fn unmentioned(map: &str, modules: &[String]) -> Vec<String> {
    let named = |module: &str| map.contains(&format!("src/{module}")) || map.contains(&format!("`{module}`"));
    modules
        .iter()
        .filter(|module| !named(module))
        .map(|module| format!("ARCHITECTURE.md does not mention src/{module}"))
        .collect()
}

#[test]
fn planted_lies_are_found() {
    let map = "`src/a/` and `src/b.rs`, `tests/*` but not src/c";
    assert_eq!(missing(map, |path| path == "src/a/").len(), 1);
    assert_eq!(unmentioned(map, &["a".to_owned(), "d".to_owned()]).len(), 1);
}
