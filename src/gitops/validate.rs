//! A tree of manifests checked without any server: what `waybill validate` and CI run. The schema check and the look at
//! package sources are handed in, so that they are the very ones the server uses. Changes nothing.

use std::path::Path;

use serde::Serialize;
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

/// Which check found something. The names stand in reports that other tools keep and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// A file, a document or its metadata cannot be read as a manifest.
    Manifest,
    /// The API server would refuse the object.
    Schema,
    /// The object contradicts another one, or names one that does not exist.
    Contradiction,
    /// What the package's source holds does not fit.
    Source,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Schema, Self::Contradiction, Self::Source];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Schema => "schema",
            Self::Contradiction => "contradiction",
            Self::Source => "source",
        }
    }

    /// What it asks, for people.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Manifest => "Files are manifests that can be read, each object is declared once",
            Self::Schema => "The API server takes the object: its fields, their limits and rules, its name",
            Self::Contradiction => "Objects fit each other, and what they name exists",
            Self::Source => "Package sources can be distributed, and hold what programs start",
        }
    }
}

/// A problem and the check that found it.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Which check.
    pub rule: Rule,
    /// The problem and its place.
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many objects of our group the tree declares.
    pub objects: usize,
    /// What was found, by file and line.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.diagnostic.severity == severity).count()
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
    let mut schema = Vec::new();
    for loaded in &manifests.objects {
        let Some(kind) = kinds.get(&loaded.key.kind) else { continue };
        let complaints = (checks.schema)(kind, &loaded.object);
        schema
            .extend(complaints.into_iter().map(|found| loaded.diagnose(Severity::Error, &found.field, found.message)));
    }
    let objects = manifests.objects.len() + manifests.faulty.len();
    let nothing = (objects == 0 && manifests.unclear.is_empty()).then(|| {
        let text = "nothing is declared here: no *.yaml or *.yml file holds an object of waybill.dev";
        Diagnostic::of_file(Severity::Warning, ".", text)
    });
    let by_rule = [
        (Rule::Contradiction, contradictions(&manifests, &|_| false)),
        (Rule::Source, content::check(&manifests, checks.source)),
        (Rule::Schema, schema),
        (Rule::Manifest, manifests.diagnostics.into_iter().chain(nothing).collect()),
    ];
    let found = by_rule.into_iter().flat_map(|(rule, found)| found.into_iter().map(move |one| (rule, one)));
    let mut findings: Vec<Finding> = found.map(|(rule, diagnostic)| Finding { rule, diagnostic }).collect();
    findings.sort_by(|a, b| {
        let place = |one: &Finding| (one.diagnostic.line, one.diagnostic.column, one.rule);
        a.diagnostic.file.cmp(&b.diagnostic.file).then_with(|| place(a).cmp(&place(b)))
    });
    Ok(Report { objects, findings })
}
