//! The expressions of `gitops/flux`, evaluated as Flux does: one after the other, the first that holds decides. Here by the CEL that
//! the product has in it, in every run; by that of the real API server, the one that Flux has too, in `make cluster-test`.

use std::{fs, path::PathBuf};

use cel::{Context, Program, Value};

use super::recorded::{all, kinds};

/// The expressions for a kind, in the order that Flux takes them, and what each says.
pub(crate) struct Expressions {
    pub(crate) kind: String,
    pub(crate) in_order: [(&'static str, String); 3],
}

/// Those of the Kustomization.
pub(crate) fn expressions() -> Vec<Expressions> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("gitops/flux/kustomization.yaml");
    let documents: Vec<serde_json::Value> = serde_yaml::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let kustomization = documents.iter().find(|one| one["kind"] == "Kustomization").unwrap();
    let checks = kustomization["spec"]["healthCheckExprs"].as_array().unwrap();
    let read = |check: &serde_json::Value| {
        assert_eq!(check["apiVersion"], "waybill.dev/v1alpha1");
        let text = |field: &str| check[field].as_str().unwrap().to_owned();
        let in_order = [("InProgress", "inProgress"), ("Failed", "failed"), ("Current", "current")];
        Expressions { kind: text("kind"), in_order: in_order.map(|(says, field)| (says, text(field))) }
    };
    checks.iter().map(read).collect()
}

#[test]
fn flux_sees_every_object_as_it_is() {
    let expressions = expressions();
    for one in all() {
        let object = &one.object;
        let of_kind = expressions.iter().find(|of| object["kind"] == of.kind.as_str()).unwrap();
        let mut context = Context::default();
        for (field, value) in object.as_object().unwrap() {
            context.add_variable(field.as_str(), value).unwrap();
        }
        let holds = |text: &String| match Program::compile(text).unwrap().execute(&context) {
            Ok(Value::Bool(holds)) => holds,
            other => panic!("{text} of {object}: {other:?}"),
        };
        let says = of_kind.in_order.iter().find(|(_, text)| holds(text)).map(|(says, _)| *says);
        assert_eq!(says, Some(one.state.in_flux()), "{:?} {object:#}", one.state);
    }
}

/// With the argument that a kind might be forgotten: a new one fails here.
#[test]
fn flux_has_expressions_for_every_kind() {
    let mut told: Vec<String> = expressions().into_iter().map(|one| one.kind).collect();
    let mut kinds = kinds();
    told.sort();
    kinds.sort();
    assert_eq!(told, kinds);
}
