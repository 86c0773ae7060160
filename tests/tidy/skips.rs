//! What tests may skip for, `.ci/run` requires: a test that no machine ever runs proves nothing.

use crate::{File, assert_none, files};

#[test]
fn ci_requires_whatever_a_test_may_skip_for() {
    let scripts = files(&[".ci/run", "Makefile"]);
    let script: String = scripts.iter().map(|file| file.text.as_str()).collect();
    assert_none(files(&["src", "tests"]).iter().flat_map(|file| optional(file, &script)).collect());
}

/// The names that `file` asks `tests/support/require.rs` for and that no `WAYBILL_REQUIRE=` of `script` has.
fn optional(file: &File, script: &str) -> Vec<String> {
    let lists = script.split("WAYBILL_REQUIRE=").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let required: Vec<&str> = lists.flat_map(|list| list.split(',')).collect();
    let asked = ["program", "missing"].iter().flat_map(|function| {
        let call = format!("require::{function}(\"");
        let names = file.text.split(call.as_str()).skip(1).filter_map(|rest| rest.split('"').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    // The name that the test of the skipping itself asks for.
    let optional = asked.filter(|name| name != "no-such-program" && !required.contains(&name.as_str()));
    optional
        .map(|name| format!("{}: skips without {name}; WAYBILL_REQUIRE in .ci/run must name it", file.path))
        .collect()
}

#[test]
fn a_planted_way_out_is_found() {
    let file =
        File::new("tests/a.rs", "if require::program(\"podman\").is_none() {}\nrequire::missing(\"userns\", \"\");");
    assert_eq!(optional(&file, "WAYBILL_REQUIRE=kubectl,userns cargo test").len(), 1);
    assert!(optional(&file, "WAYBILL_REQUIRE=podman x\nWAYBILL_REQUIRE=userns y").is_empty());
}
