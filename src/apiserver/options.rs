//! The query's options of a write: who manages the fields, whether it is a trial, how strictly fields are checked.

use serde_json::json;

use super::{
    failure::{Cause, Failure},
    metadata,
};

/// What happens to fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone)]
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    /// `fieldManager` as given, or empty.
    pub(super) manager: String,
    pub(super) validation: Validation,
    pub(super) force: bool,
}

/// The decoded query.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn new(text: &str) -> Query {
        Query(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter; empty if it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(k, _)| k == name)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// A boolean as the API machinery reads them: present and not `false` or `0` is true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name).to_lowercase().as_str(), "false" | "0")
    }

    /// An integer parameter; absent or empty is `None`.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

/// Reads the options of a write. `kind` is the options' name in messages; `apply` tells a server-side apply.
pub(super) fn read(query: &Query, kind: &str, apply: bool) -> Result<WriteOptions, Failure> {
    let mut causes = vec![];
    let manager = query.get("fieldManager").to_owned();
    if kind == "PatchOptions" {
        if apply && manager.is_empty() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        if !apply && query.has("force") {
            causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
        }
    }
    causes.extend(metadata::field_manager(&manager, "fieldManager"));
    let runs: Vec<&str> = query.all("dryRun").collect();
    causes.extend(dry_run_fault(&runs));
    let validation = match query.get("fieldValidation") {
        "" | "Warn" => Validation::Warn,
        "Ignore" => Validation::Ignore,
        "Strict" => Validation::Strict,
        other => {
            let known = ["", "Ignore", "Strict", "Warn"].map(|s| format!("{s:?}"));
            causes.push(Cause::not_supported("fieldValidation", &json!(other), &known));
            Validation::Warn
        }
    };
    if !causes.is_empty() {
        return Err(Failure::invalid_options(kind, causes));
    }
    Ok(WriteOptions { dry_run: !runs.is_empty(), manager, validation, force: query.flag("force") })
}

/// A dry run is asked for by `All` and nothing else.
pub(super) fn dry_run_fault(runs: &[&str]) -> Option<Cause> {
    let known = ["\"All\"".to_owned()];
    runs.iter().any(|r| *r != "All").then(|| Cause::not_supported("dryRun", &json!(runs), &known))
}
