//! `waybill validate DIR`: checks a tree of manifests without any server, with the very schemas and rules that the API
//! server applies. Exit code 0: no errors; 1: errors; 2: the directory cannot be read.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    api,
    apiserver::schema::{RULES_NOT_RUN, Schema, Scope},
    gitops::{
        diagnostic::Severity,
        kinds::{Kind, Kinds},
        load::LoadError,
        validate::{Complaint, Report, validate},
    },
};

/// Check manifests without a server.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The directory that holds the manifests, as it would be served.
    pub directory: PathBuf,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people: `file:line:column: message` with the source line.
    #[default]
    Text,
    /// For programs: one JSON object.
    Json,
}

/// Runs the verb; answers the exit code.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<u8> {
    let kinds = Kinds::of(&api::crds());
    let schemas = schemas(&kinds)?;
    let check = |kind: &Kind, object: &Value| {
        schemas.get(&kind.resource.kind).map(|schema| complaints(schema, object)).unwrap_or_default()
    };
    match validate(&args.directory, &kinds, &check) {
        Ok(report) => {
            write_report(args.output, &report, out)?;
            Ok(u8::from(report.count(Severity::Error) > 0))
        }
        Err(error @ LoadError::Root { .. }) => {
            writeln!(out, "{:#}", anyhow::Error::new(error))?;
            Ok(2)
        }
        Err(error) => {
            writeln!(out, "{:#}", anyhow::Error::new(error))?;
            Ok(1)
        }
    }
}

fn schemas(kinds: &Kinds) -> anyhow::Result<BTreeMap<String, Schema>> {
    let compiled = kinds.in_order().into_iter().map(|kind| {
        let schema = Schema::new(&kind.schema)?;
        Ok((kind.resource.kind.clone(), schema))
    });
    compiled.collect()
}

/// What the API server would refuse: unknown fields first, then what the schema and its rules say.
fn complaints(schema: &Schema, object: &Value) -> Vec<Complaint> {
    let mut object = object.clone();
    let unknown = schema.prune(&mut object);
    let mut found: Vec<Complaint> =
        unknown.into_iter().map(|field| Complaint { message: format!("there is no field `{field}`"), field }).collect();
    schema.default(&mut object);
    let faults = schema.validate(&object, None, Scope::Main);
    // A fault that only says that rules could not run repeats the others.
    let faults = faults.into_iter().filter(|fault| !fault.message.ends_with(RULES_NOT_RUN));
    found.extend(faults.map(|fault| {
        // Some say in their message where they are, and are of the whole object otherwise.
        let whole = fault.field == "<nil>";
        let message = if whole { fault.message } else { format!("{}: {}", fault.field, fault.message) };
        Complaint { message, field: if whole { String::new() } else { fault.field } }
    }));
    found
}

fn write_report(output: Output, report: &Report, out: &mut impl Write) -> io::Result<()> {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    match output {
        Output::Text => {
            for diagnostic in &report.diagnostics {
                writeln!(out, "{diagnostic}")?;
            }
            writeln!(out, "{} objects, {errors} errors, {warnings} warnings", report.objects)
        }
        Output::Json => {
            let result = json!({
                "objects": report.objects,
                "errors": errors,
                "warnings": warnings,
                "diagnostics": report.diagnostics,
            });
            writeln!(out, "{result:#}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(text: &str, output: Output) -> (u8, String) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.yaml"), text).unwrap();
        let args = Args { directory: root.path().to_owned(), output };
        let mut out = Vec::new();
        let code = run(&args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_sound_tree_passes() {
        let text = "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {name: x}\nspec: {clients: [a]}\n";
        assert_eq!(validated(text, Output::Text), (0, "1 objects, 0 errors, 0 warnings\n".to_owned()));
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
        let rule = "apiVersion: waybill.dev/v1alpha1\nkind: Advertisement\nmetadata: {name: x}\n\
                    spec: {program: p, collection: c}\n";
        let (code, shown) = validated(rule, Output::Text);
        assert_eq!(code, 1);
        assert!(shown.contains("a.yaml:4:1: spec: Invalid value: an advertisement needs an assignment"), "{shown}");
    }

    #[test]
    fn json_for_programs_and_two_for_a_missing_directory() {
        let (code, shown) = validated("kind: [", Output::Json);
        let result: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((code, &result["warnings"]), (0, &json!(1)));
        assert_eq!(result["diagnostics"][0]["file"], "a.yaml");

        let args = Args { directory: PathBuf::from("/nonexistent/fleet"), output: Output::Text };
        let mut out = Vec::new();
        assert_eq!(run(&args, &mut out).unwrap(), 2);
        assert!(String::from_utf8(out).unwrap().contains("/nonexistent/fleet"));
    }
}
