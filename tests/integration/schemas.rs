//! The JSON Schemas for editors, used as an editor uses them: by a validator that knows nothing of Kubernetes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use waybill::api::GROUP;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A compiled schema.
struct Checked(Schemas, SchemaIndex);

impl Checked {
    fn new(file: &Path) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let index = compiler.compile(file.to_str().unwrap(), &mut schemas).unwrap();
        Self(schemas, index)
    }

    /// Why it is refused; empty if it is not.
    fn refuses(&self, object: &Value) -> String {
        self.0.validate(object, self.1).map_or_else(|error| format!("{error:#}"), |()| String::new())
    }
}

fn all() -> Checked {
    Checked::new(&root().join("schemas/all.json"))
}

fn manifests(directory: &Path, found: &mut Vec<(PathBuf, Value)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            let documents: Vec<Value> = serde_yaml::from_multiple(&fs::read_to_string(&path).unwrap()).unwrap();
            found.extend(documents.into_iter().map(|document| (path.clone(), document)));
        }
    }
}

/// Every object of ours in the examples.
fn examples() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    manifests(&root().join("examples"), &mut found);
    found
        .retain(|(_, object)| object["apiVersion"].as_str().is_some_and(|text| text.starts_with(&format!("{GROUP}/"))));
    assert!(found.len() > 20, "{} objects", found.len());
    found
}

#[test]
fn an_editor_finds_the_examples_right_and_a_slip_in_any_of_them_wrong() {
    let all = all();
    for (path, object) in examples() {
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let own = Checked::new(&root().join(format!("schemas/{GROUP}/{kind}_v1alpha1.json")));
        for schema in [&all, &own] {
            assert_eq!(schema.refuses(&object), "", "{}", path.display());
            for (pointer, what) in [("", "sepc"), ("/metadata", "lables"), ("/spec", "suspned")] {
                let mut slipped = object.clone();
                slipped.pointer_mut(pointer).unwrap()[what] = json!({});
                assert!(schema.refuses(&slipped).contains(what), "{} takes {pointer}/{what}", path.display());
            }
        }
    }
}

#[test]
fn types_limits_and_kinds_are_told() {
    let schema = all();
    let object = |kind: &str, spec: Value| json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let offer = |more: Value| {
        let mut spec = json!({"program": "p", "collection": "c", "userMayStart": true});
        json_patch::merge(&mut spec, &more);
        object("Advertisement", spec)
    };
    assert_eq!(schema.refuses(&offer(json!({}))), "");
    for (wrong, object) in [
        ("a word that is none", offer(json!({"rerun": "Sometimes"}))),
        ("text for yes or no", offer(json!({"suspend": "yes"}))),
        ("nothing where something must be", offer(json!({"program": null}))),
        ("two sources", object("Package", json!({"source": {"none": {}, "directory": {"path": "a"}}}))),
        ("no spec", json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Package", "metadata": {"name": "x"}})),
        ("a kind that is none", object("Packege", json!({}))),
        ("what only the site writes", {
            let mut object = offer(json!({}));
            object["status"] = json!({});
            object
        }),
    ] {
        assert_ne!(schema.refuses(&object), "", "{wrong} is taken: {object}");
    }
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
    assert_eq!(schema.refuses(&foreign), "", "somebody else's");
}

/// Who has the program has the schemas of its version.
#[test]
fn the_program_writes_the_schemas_that_are_committed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    let output = command.args(["crds", "schemas"]).arg(scratch.path().join("made/here")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = String::from_utf8(output.stdout).unwrap();
    assert_eq!(written.lines().count(), waybill::api::crds().len() + 1, "{written}");
    for path in written.lines().map(Path::new) {
        let below = path.strip_prefix(scratch.path().join("made/here")).unwrap();
        assert_eq!(
            fs::read(path).unwrap(),
            fs::read(root().join("schemas").join(below)).unwrap(),
            "{}",
            below.display()
        );
    }
}
