//! `waybill validate DIR`: checks a tree of manifests without any server, with the very schemas and rules that the API
//! server applies. Exit code 0: no errors; 1: errors, or with `--strict` warnings; 2: the directory cannot be read. How the
//! result is written is the business of the files beneath.

mod github;
mod report;
mod sarif;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

use super::out::tell;
use crate::{
    api,
    apiserver::{
        metadata::{self, NameRule},
        schema::{Schema, Scope},
    },
    gitops::{
        complaints,
        content::Look,
        diagnostic::Severity,
        kinds::{Kind, Kinds},
        load::LoadError,
        validate::{Checks, Complaint, validate},
    },
    source::{Guarded, SnapshotError, listing, open_directory},
};

/// Check manifests without a server.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Exit code 0: no errors. 1: errors, or with --strict warnings. 2: no such directory")]
pub struct Args {
    /// The directory that holds the manifests, as it would be served.
    pub directory: PathBuf,
    /// Directory that package sources may lie beneath, besides this one, as for `waybill up`; may be given several times. One
    /// that does not exist here exists where the site runs: sources beneath it are not looked at, without a warning.
    #[arg(long, value_name = "DIR")]
    pub source_root: Vec<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Warnings fail as errors do.
    #[arg(long)]
    pub strict: bool,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people: `file:line:column: message` with the source line.
    #[default]
    Text,
    /// For programs: one JSON object.
    Json,
    /// For code scanning: a SARIF 2.1.0 log.
    Sarif,
    /// For a step of GitHub Actions: an annotation at each line.
    Github,
}

/// Runs the verb; answers the exit code.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<u8> {
    let kinds = Kinds::of(&api::crds());
    let schemas = schemas(&kinds)?;
    let sources = Sources::new(args);
    let schema = |kind: &Kind, object: &Value| {
        schemas.get(&kind.resource.kind).map(|schema| complained(schema, kind, object)).unwrap_or_default()
    };
    match validate(&args.directory, &kinds, &Checks { schema: &schema, source: &|path| sources.look(path) }) {
        Ok(report) => {
            report::write(args, &report, out)?;
            let failed = report.count(Severity::Error) + if args.strict { report.count(Severity::Warning) } else { 0 };
            Ok(u8::from(failed > 0))
        }
        Err(error) => {
            let (code, text) = unreadable(error);
            tell(&format!("waybill: {text}"));
            Ok(code)
        }
    }
}

/// The exit code for a tree that could not be read as a whole, and what is said of it.
fn unreadable(error: LoadError) -> (u8, String) {
    match error {
        LoadError::Root { path, source } => {
            (2, format!("{path} cannot be read; name the directory that holds the manifests: {source}"))
        }
        error => (1, format!("{:#}", anyhow::Error::new(error))),
    }
}

fn schemas(kinds: &Kinds) -> anyhow::Result<BTreeMap<String, Schema>> {
    let compiled = kinds.in_order().into_iter().map(|kind| {
        let schema = Schema::new(&kind.schema)?;
        Ok((kind.resource.kind.clone(), schema))
    });
    compiled.collect()
}

/// Where package sources may lie.
struct Sources {
    base: PathBuf,
    roots: Vec<PathBuf>,
    /// Roots of the machine where the site runs, which is not this one.
    elsewhere: Vec<PathBuf>,
}

impl Sources {
    /// A directory of manifests that does not exist is complained of elsewhere.
    fn new(args: &Args) -> Self {
        let base = args.directory.canonicalize().unwrap_or_else(|_| args.directory.clone());
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            args.source_root.iter().map(|root| root.canonicalize().map_err(|_| root.clone())).partition(Result::is_ok);
        let roots = here.into_iter().filter_map(Result::ok).collect();
        Self { base, roots, elsewhere: elsewhere.into_iter().filter_map(Result::err).collect() }
    }

    /// The root of another machine that the source lies beneath, by its words.
    fn of_elsewhere(&self, path: &str) -> Option<&PathBuf> {
        let upwards = Path::new(path).components().any(|part| part == Component::ParentDir);
        self.elsewhere.iter().find(|root| !upwards && Path::new(path).starts_with(root))
    }

    /// What the server finds when it reads this source.
    fn look(&self, path: &str) -> Look {
        let found = open_directory(path, &self.base, &self.roots, &Guarded::system()).and_then(listing);
        match found {
            Ok(files) => Look::Files(files),
            Err(SnapshotError::NotPermitted { .. }) if let Some(root) = self.of_elsewhere(path) => {
                Look::Elsewhere(format!("`{path}` is not looked at: {} does not exist on this machine", root.display()))
            }
            Err(SnapshotError::NotPermitted { .. }) if path.starts_with('/') => Look::Unknown(format!(
                "`{path}` lies beneath no source root and is not looked at: give its root with --source-root, here and \
                 to `waybill up`"
            )),
            Err(error) => Look::Refused(error.sentence()),
        }
    }
}

/// What the API server would refuse: unknown fields first, then what the schema, its rules and those of names say.
fn complained(schema: &Schema, kind: &Kind, object: &Value) -> Vec<Complaint> {
    let mut object = object.clone();
    let unknown = schema.prune(&mut object);
    let mut found: Vec<Complaint> =
        unknown.into_iter().map(|field| Complaint { message: format!("there is no field `{field}`"), field }).collect();
    schema.default(&mut object);
    let mut faults = schema.validate(&object, None, Scope::Main);
    faults.extend(metadata::validate(&object, NameRule::Subdomain, kind.namespaced));
    let causes = faults.into_iter().map(|fault| (fault.field, fault.message)).collect();
    let told = complaints::in_words(&kind.schema, &object, causes);
    found.extend(told.into_iter().map(|(field, message)| Complaint { field, message }));
    found
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::json;

    use super::*;

    fn args(directory: PathBuf, output: Output) -> Args {
        Args { directory, source_root: Vec::new(), output, strict: false }
    }

    fn validated(text: &str, output: Output) -> (u8, String) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.yaml"), text).unwrap();
        let args = args(root.path().to_owned(), output);
        let mut out = Vec::new();
        let code = run(&args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_sound_tree_passes() {
        let text = "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {name: x}\nspec: {clients: [a]}\n";
        assert_eq!(validated(text, Output::Text), (0, "1 object, 0 errors, 0 warnings\n".to_owned()));
    }

    #[test]
    fn unknown_fields_schema_faults_and_broken_rules_have_their_place() {
        let text = "\
apiVersion: waybill.dev/v1alpha1
kind: Advertisement
metadata: {name: x}
spec:
  program: p
  collecton: c
  assignments:
    - at: yesterday
";
        let (code, shown) = validated(text, Output::Text);
        assert_eq!(code, 1);
        for expected in [
            "a.yaml:6:3: there is no field `spec.collecton`\n 6 |   collecton: c\n   |   ^\n",
            "a.yaml:4:1: spec.collection: Required value",
            "a.yaml:8:7: spec.assignments[0].at: Invalid value",
        ] {
            assert!(shown.contains(expected), "{shown}");
        }
        let both = "apiVersion: waybill.dev/v1alpha1\nkind: Distribution\nmetadata: {name: x}\nspec:\n  package: p\n  \
                    distributionPoints:\n    all: {}\n    names: [a]\n";
        let (_, shown) = validated(both, Output::Text);
        let expected =
            "a.yaml:7:5: `spec.distributionPoints` has `names` and `all`, which exclude each other: keep one\n";
        assert!(shown.contains(expected), "{shown}");
        let rule = "apiVersion: waybill.dev/v1alpha1\nkind: Advertisement\nmetadata: {name: x}\n\
                    spec: {program: p, collection: c}\n";
        let (code, shown) = validated(rule, Output::Text);
        assert_eq!(code, 1);
        assert!(shown.contains("a.yaml:4:1: spec: Invalid value: an advertisement needs an assignment"), "{shown}");
    }

    #[test]
    fn names_are_those_that_the_server_takes() {
        let text =
            "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {name: Bad_Name}\nspec: {clients: [a]}\n";
        let (code, shown) = validated(text, Output::Text);
        assert_eq!(code, 1);
        assert!(
            shown.contains("a.yaml:3:12: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123"),
            "{shown}"
        );
    }

    #[test]
    fn a_query_that_selects_nobody_a_time_without_offset_and_nothing_at_all_are_said() {
        let collection = |query: &str| {
            format!(
                "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {{name: x}}\nspec: {{query: '{query}'}}\n"
            )
        };
        for query in ["1 + 1", "client.os"] {
            let (code, shown) = validated(&collection(query), Output::Text);
            assert_eq!(code, 1);
            assert!(shown.contains("a.yaml:4:8: the query gives "), "{shown}");
        }
        let text = "apiVersion: waybill.dev/v1alpha1\nkind: Advertisement\nmetadata: {name: x}\n\
                    spec: {program: p, collection: c, userMayStart: true, start: \"2026-05-01T10:00:00\"}\n";
        assert!(validated(text, Output::Text).1.contains("with its offset, as 2026-05-01T10:00:00Z"));
        let slipped = collection("true").replace("waybill.dev", "waybil.dev");
        let (code, shown) = validated(&slipped, Output::Text);
        assert!(code == 1 && shown.contains("a.yaml:1:1: there is no group `waybil.dev`: write"), "{shown}");
        let (code, shown) = validated("# nothing yet\n", Output::Text);
        assert_eq!(code, 0);
        assert!(shown.starts_with(".: warning: nothing is declared here"), "{shown}");
    }

    /// As the server says it when it reads the source.
    #[test]
    fn sources_are_looked_at_as_the_server_does() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("packages/good")).unwrap();
        std::fs::write(root.path().join("packages/good/install.sh"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("good", root.path().join("packages/link")).unwrap();
        std::fs::create_dir(root.path().join("packages/links")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("packages/links/passwd")).unwrap();
        let outside = elsewhere.path().to_str().unwrap();
        let checked = |path: &str, source_root: Vec<PathBuf>| {
            let text = format!(
                "apiVersion: waybill.dev/v1alpha1\nkind: Package\nmetadata: {{name: x}}\nspec: {{source: {{directory: {{path: {path}}}}}}}\n---\n\
                 apiVersion: waybill.dev/v1alpha1\nkind: Program\nmetadata: {{name: x}}\nspec: {{packageRef: x, argv: [install.sh]}}\n"
            );
            std::fs::write(root.path().join("a.yaml"), text).unwrap();
            let args = Args { source_root, ..args(root.path().to_owned(), Output::Text) };
            let mut out = Vec::new();
            let code = run(&args, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        };
        for (path, code, expected) in [
            ("packages/none", 1, "a.yaml:4:29: the source "),
            ("packages/none", 1, "does not exist"),
            ("packages/link", 1, "is a symbolic link or is reached through one"),
            ("packages/links", 1, "\"passwd\" (a symbolic link; put the file itself there)"),
            ("packages/../../x", 1, "is beneath no source root"),
            ("packages/good", 1, "a.yaml:9:30: `install.sh` is not executable"),
            (outside, 0, "warning: `/"),
        ] {
            let (found, shown) = checked(path, Vec::new());
            assert!(found == code && shown.contains(expected), "{path}: {found} {shown}");
        }
        let of_the_cluster = vec![PathBuf::from("/nonexistent/sources")];
        let (code, shown) = checked("/nonexistent/sources/greeter-1.0", of_the_cluster.clone());
        assert!(
            code == 0 && shown.contains("4:29: note: `/nonexistent/sources/greeter-1.0` is not looked at"),
            "{shown}"
        );
        assert!(!shown.contains("give its root with --source-root"), "{shown}");
        let (_, shown) = checked("/nonexistent/sources/../x", of_the_cluster);
        assert!(!shown.contains("note: "), "{shown}");
        let (code, shown) = checked(outside, vec![elsewhere.path().to_owned()]);
        assert!(code == 1 && shown.contains("`install.sh` is not in the source of package `x`"), "{shown}");
    }

    #[test]
    fn a_warning_fails_where_that_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let warned = args(root.path().to_owned(), Output::Text);
        for (strict, code) in [(false, 0), (true, 1)] {
            let mut out = Vec::new();
            assert_eq!(run(&Args { strict, ..warned.clone() }, &mut out).unwrap(), code);
            assert!(String::from_utf8_lossy(&out).ends_with("0 objects, 0 errors, 1 warning\n"));
        }
    }

    #[test]
    fn json_for_programs_and_two_for_a_missing_directory() {
        let (code, shown) = validated("kind: [", Output::Json);
        let result: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((code, &result["warnings"]), (0, &json!(1)));
        let first = &result["diagnostics"][0];
        assert_eq!((&first["file"], &first["rule"]), (&json!("a.yaml"), &json!("manifest")));

        let directory = PathBuf::from("/nonexistent/fleet");
        let args = args(directory, Output::Text);
        let mut out = Vec::new();
        assert_eq!((run(&args, &mut out).unwrap(), out), (2, Vec::new()), "the result is for programs, too");
        let error = LoadError::Root { path: "fleet".to_owned(), source: io::ErrorKind::NotADirectory.into() };
        let (code, told) = unreadable(error);
        assert!(code == 2 && told.starts_with("fleet cannot be read; name the directory"), "{told}");
    }
}
