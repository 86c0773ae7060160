//! A SARIF 2.1.0 log, which code scanning of GitHub and others read: rules, and a result for each finding. Names files as URIs
//! from the top of the repository.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

use serde_json::{Value, json};

use super::report::in_repository;
use crate::gitops::{
    diagnostic::Severity,
    validate::{Finding, Report, Rule},
};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The log. A note asks nobody for anything, and is no result: a forge would keep an alert for it.
pub(super) fn log(report: &Report, directory: &Path) -> Value {
    let rules = Rule::ALL.map(|rule| {
        json!({
            "id": rule.name(),
            "shortDescription": { "text": rule.explanation() },
            "defaultConfiguration": { "level": "error" },
        })
    });
    let results: Vec<Value> = report.findings.iter().filter_map(|finding| result(finding, directory)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "waybill", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            // Columns here are characters; the standard's own default is another.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, directory: &Path) -> Option<Value> {
    let one = &finding.diagnostic;
    let level = match one.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => return None,
    };
    Some(json!({
        "ruleId": finding.rule.name(),
        "level": level,
        "message": { "text": one.message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&in_repository(directory, &one.file)) },
            // A place that has no line is the whole file; a forge takes no result without one.
            "region": { "startLine": one.line.max(1), "startColumn": one.column.max(1) },
        } }],
    }))
}

/// A path as a URI reference: whatever is not plain is written by its bytes.
fn uri(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "" });
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(*byte)),
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitops::diagnostic::{Diagnostic, Place};

    #[test]
    fn a_log_has_what_code_scanning_asks_for() {
        let place = Place { line: 6, column: 3 };
        let found = [
            Diagnostic::placed(Severity::Error, "a b.yaml", place, "there is no field `spec.sorce`"),
            Diagnostic::of_file(Severity::Warning, ".", "nothing is declared here"),
            Diagnostic::of_file(Severity::Note, "c.yaml", "somebody else's"),
        ];
        let findings = found.into_iter().map(|diagnostic| Finding { rule: Rule::Schema, diagnostic }).collect();
        let log = log(&Report { objects: 1, findings }, Path::new("fleet"));
        assert_eq!((&log["version"], &log["$schema"]), (&json!("2.1.0"), &json!(SCHEMA)));
        let run = &log["runs"][0];
        let rules: Vec<&Value> =
            run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| &rule["id"]).collect();
        assert_eq!(rules, ["manifest", "schema", "contradiction", "source"]);
        assert_eq!(
            run["results"],
            json!([
                {
                    "ruleId": "schema",
                    "level": "error",
                    "message": { "text": "there is no field `spec.sorce`" },
                    "locations": [{ "physicalLocation": {
                        "artifactLocation": { "uri": "fleet/a%20b.yaml" },
                        "region": { "startLine": 6, "startColumn": 3 },
                    } }],
                },
                {
                    "ruleId": "schema",
                    "level": "warning",
                    "message": { "text": "nothing is declared here" },
                    "locations": [{ "physicalLocation": {
                        "artifactLocation": { "uri": "fleet" },
                        "region": { "startLine": 1, "startColumn": 1 },
                    } }],
                },
            ])
        );
    }

    #[test]
    fn a_path_from_the_root_is_a_file_uri() {
        assert_eq!(uri(Path::new("/repo/ä#.yaml")), "file:///repo/%C3%A4%23.yaml");
        assert_eq!(uri(Path::new("a/b.yaml")), "a/b.yaml");
    }
}
