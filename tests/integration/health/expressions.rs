//! The expressions of `gitops/flux`, as Flux reads them.

use std::{fs, path::PathBuf};

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
