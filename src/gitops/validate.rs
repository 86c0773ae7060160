//! A tree of manifests checked without any server: what `waybill validate` and CI run. The schema check and the look at
//! package sources are handed in, so that they are the very ones the server uses. Changes nothing.

use std::path::Path;

use serde_json::Value;

use super::{
    content::{self, Look},
    contradictions::contradictions,
    diagnostic::{Diagnostic, Severity},
    kinds::{Kind, Kinds},
    load::{LoadError, load},
};

/// One complaint of a schema about an object: the field path and a sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The field, as in `spec.argv[0]`; empty for the object as a whole.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many objects of our group the tree declares.
    pub objects: usize,
    /// What was found, by file and line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// How many diagnostics are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

/// What only others can tell.
pub struct Checks<'a> {
    /// What the API server would say of an object.
    pub schema: &'a dyn Fn(&Kind, &Value) -> Vec<Complaint>,
    /// What the server would find in a source directory, as a package names it.
    pub source: &'a dyn Fn(&str) -> Look,
}

/// Checks a directory: its files, each object against the schema and rules of its kind, objects against each other, and
/// packages against what lies in their sources.
pub fn validate(root: &Path, kinds: &Kinds, checks: &Checks<'_>) -> Result<Report, LoadError> {
    let manifests = load(root, kinds)?;
    let mut diagnostics = manifests.diagnostics.clone();
    for loaded in &manifests.objects {
        let Some(kind) = kinds.get(&loaded.key.kind) else { continue };
        let complaints = (checks.schema)(kind, &loaded.object);
        diagnostics
            .extend(complaints.into_iter().map(|found| loaded.diagnose(Severity::Error, &found.field, found.message)));
    }
    diagnostics.extend(contradictions(&manifests, &|_| false));
    diagnostics.extend(content::check(&manifests, checks.source));
    let objects = manifests.objects.len() + manifests.faulty.len();
    if objects == 0 && manifests.unclear.is_empty() {
        let text = "nothing is declared here: no *.yaml or *.yml file holds an object of waybill.dev";
        diagnostics.push(Diagnostic::of_file(Severity::Warning, ".", text));
    }
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    Ok(Report { objects, diagnostics })
}
