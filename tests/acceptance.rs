//! docs/acceptance.md against the suite: the document is in order, every test it names exists, and, where `.ci/run` hands over
//! the logs of the suite, ran and passed. Whether a test proves its promise is for a reviewer to say.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what cannot be read is a failed test; a skip must be heard"
)]

#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "support/require.rs"]
mod require;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/acceptance.md";
const NOT_PROVEN: &str = "## Not proven yet\n";
/// The log of the suite as `.ci/run` writes it, and those of `make root-test` and `make cluster-test`, each with the one binary
/// that counts there: in the ordinary run its tests skip.
const LOGS: [(&str, Option<&str>); 3] =
    [("test.log", None), ("root-test.log", Some("root::")), ("cluster-test.log", Some("cluster::"))];

/// One row: a promise and what proves it.
#[derive(Debug, PartialEq)]
struct Promise {
    id: String,
    text: String,
    tests: Vec<String>,
}

#[test]
fn the_document_is_in_order() {
    let path = root().join(DOCUMENT);
    let document = fs::read_to_string(&path).unwrap();
    let promises = promises(&document).unwrap();
    let written = with_open_list(&document, &promises);
    if update() {
        fs::write(&path, &written).unwrap();
    } else {
        assert!(
            written == document,
            "the list at the end of {DOCUMENT} is not current: UPDATE=1 cargo test --test acceptance"
        );
    }
    let functions = functions();
    for name in promises.iter().flat_map(|promise| &promise.tests) {
        let function = name.rsplit("::").next().unwrap();
        assert!(functions.contains(function), "{DOCUMENT} names `{name}`, but no file has a function {function}");
    }
}

#[test]
fn every_named_test_ran() {
    let Some(logs) = logs() else { return };
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap();
    let ran: BTreeSet<String> = LOGS.iter().flat_map(|(name, only)| passed(&read(name), *only)).collect();
    assert!(!ran.is_empty(), "no test passed according to {}", logs.display());
    let promises = promises(&fs::read_to_string(root().join(DOCUMENT)).unwrap()).unwrap();
    let missing = not_run(&promises, &ran);
    assert!(missing.is_empty(), "named in {DOCUMENT}, but did not run and pass:\n  {}", missing.join("\n  "));
    let proven = promises.iter().filter(|promise| !promise.tests.is_empty()).count();
    println!("{proven} of {} promises proven by tests that ran", promises.len());
}

#[test]
fn required_and_missing_is_a_failure() {
    let run = |required: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "looks_for_a_program_that_nobody_has", "--nocapture"]);
        command.env("WAYBILL_REQUIRE", required).output().unwrap()
    };
    let skipped = run("");
    assert!(skipped.status.success());
    assert!(String::from_utf8_lossy(&skipped.stderr).contains("SKIPPED: no-such-program"));
    assert!(!run("kubectl,no-such-program").status.success());
}

/// The subject of [`required_and_missing_is_a_failure`], which runs it in a process of its own.
#[test]
fn looks_for_a_program_that_nobody_has() {
    assert!(require::program("no-such-program").is_none());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// The folder of logs that `.ci/run` names; outside it the comparison skips.
#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn logs() -> Option<PathBuf> {
    let logs = std::env::var_os("WAYBILL_TEST_LOGS").map(PathBuf::from);
    assert!(
        logs.is_some() || !require::is_required("test-logs"),
        "WAYBILL_REQUIRE names test-logs, but WAYBILL_TEST_LOGS does not"
    );
    if logs.is_none() {
        eprintln!("SKIPPED: WAYBILL_TEST_LOGS names no logs of the suite; .ci/run does");
    }
    logs
}

/// The rows of every table of the document. Ids count from 1 within their section, so that no row can get lost unseen.
fn promises(document: &str) -> Result<Vec<Promise>, String> {
    let mut found: Vec<Promise> = Vec::new();
    let (mut section, mut row) = (0, 0);
    for line in document.lines() {
        if line.starts_with("## ") && !NOT_PROVEN.starts_with(line) {
            (section, row) = (section + 1, 0);
            if !line.starts_with(&format!("## {section}. ")) {
                return Err(format!("expected section {section}: {line}"));
            }
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|rest| rest.strip_suffix('|')) else { continue };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if cells[..] == ["|", "promise", "proven by"] || cells.first() == Some(&"") || line.starts_with("| |") {
            continue;
        }
        row += 1;
        let (id, text, proof) = match cells[..] {
            [id, text, proof] => (id, text, proof),
            [id, text] => (id, text, ""),
            _ => return Err(format!("expected `| id | promise | tests |`: {line}")),
        };
        if id != format!("{section}.{row}") {
            return Err(format!("expected row {section}.{row}: {line}"));
        }
        let text = text.trim_end_matches('|').trim().to_owned();
        found.push(Promise {
            id: id.to_owned(),
            text,
            tests: names(proof).ok_or(format!("expected `test`, `test`: {line}"))?,
        });
    }
    Ok(found)
}

/// `` `a`, `b` `` as names; `None` for anything else.
fn names(cell: &str) -> Option<Vec<String>> {
    let parts = cell.trim_matches('|').split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| part.strip_prefix('`')?.strip_suffix('`').filter(|name| name.contains("::")).map(str::to_owned))
        .collect()
}

/// The document with its last section saying which promises have no proof.
fn with_open_list(document: &str, promises: &[Promise]) -> String {
    let head = document.split(NOT_PROVEN).next().unwrap_or_default();
    let open: Vec<&Promise> = promises.iter().filter(|promise| promise.tests.is_empty()).collect();
    let mut written = format!("{head}{NOT_PROVEN}\n{} of {} promises.\n\n", open.len(), promises.len());
    for promise in open {
        written.push_str(&format!("- {} {}\n", promise.id, promise.text));
    }
    written
}

/// Every function name of the tree's Rust files.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open = vec![root().join("src"), root().join("tests")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after_fn = text.split("fn ").skip(1);
            names.extend(
                after_fn.map(|rest| rest.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect::<String>()),
            );
        }
    }
    names
}

/// The tests that passed according to what `cargo test` printed, with the binary's name before those of test binaries: those of
/// one binary, or of all that have no run of their own.
fn passed(log: &str, only: Option<&str>) -> Vec<String> {
    let counts = |binary: &str| match only {
        Some(only) => binary == only,
        None => LOGS.iter().all(|(_, own)| *own != Some(binary)),
    };
    let mut found = Vec::new();
    let mut binary = String::new();
    for line in log.lines().map(str::trim) {
        if let Some(target) = line.strip_prefix("Running ") {
            let target = target.trim_start_matches("unittests ").split(' ').next().unwrap_or_default();
            let target = target.trim_end_matches("/main.rs").trim_end_matches(".rs");
            binary = match target.rsplit('/').next().unwrap_or_default() {
                "lib" => String::new(),
                name => format!("{name}::"),
            };
        } else if let Some(at) = line.find("test ")
            && let Some(name) = line[at + "test ".len()..].strip_suffix(" ... ok")
            && counts(&binary)
        {
            found.push(format!("{binary}{name}"));
        }
    }
    found
}

fn not_run(promises: &[Promise], ran: &BTreeSet<String>) -> Vec<String> {
    let named = promises.iter().flat_map(|promise| promise.tests.iter().map(move |test| (promise, test)));
    // This very comparison cannot be in the log it reads; that it runs now is enough.
    let itself = "acceptance::every_named_test_ran";
    named
        .filter(|(_, test)| !ran.contains(*test) && *test != itself)
        .map(|(promise, test)| format!("{} `{test}`", promise.id))
        .collect()
}

#[test]
fn a_test_that_did_not_run_is_found() {
    let document =
        "## 1. A\n| | promise | proven by |\n|---|---|---|\n| 1.1 | x | `a::b`, `root::c::d` |\n| 1.2 | y | |\n";
    let promises = promises(document).unwrap();
    assert_eq!(promises[0].tests, ["a::b", "root::c::d"]);
    assert_eq!(promises[1], Promise { id: "1.2".to_owned(), text: "y".to_owned(), tests: Vec::new() });

    let log = "   Running unittests src/lib.rs (target/x)\ntest a::b ... ok\ntest a::c ... FAILED\n   Running tests/root/main.rs (y)\ntest c::d ... ok\n";
    let ordinary: BTreeSet<String> = passed(log, None).into_iter().collect();
    assert_eq!(not_run(&promises, &ordinary), ["1.1 `root::c::d`"]);
    let both: BTreeSet<String> = ordinary.into_iter().chain(passed(log, Some("root::"))).collect();
    assert!(not_run(&promises, &both).is_empty());
    let failed = [Promise { id: "1.1".to_owned(), text: String::new(), tests: vec!["a::c".to_owned()] }];
    assert_eq!(not_run(&failed, &both), ["1.1 `a::c`"]);
}

#[test]
fn a_broken_document_is_found() {
    assert!(promises("## 1. A\n| 1.2 | x | |\n").is_err());
    assert!(promises("## 2. A\n").is_err());
    assert!(promises("## 1. A\n| 1.1 | x | some tests |\n").is_err());
    let open = "## 1. A\n| 1.1 | x | |\n";
    assert!(
        with_open_list(open, &promises(open).unwrap()).ends_with("## Not proven yet\n\n1 of 1 promises.\n\n- 1.1 x\n")
    );
}
