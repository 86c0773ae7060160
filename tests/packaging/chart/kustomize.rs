//! The base for kustomize is the chart: rendered once, with its default values, and committed, because kustomize renders no charts
//! without a switch that Flux does not have. `UPDATE=1 cargo test --test packaging kustomize` writes it anew.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{Helm, name};

/// First line of what is written here.
const HEADER: &str = "# Generated from charts/waybill by `UPDATE=1 cargo test --test packaging kustomize`.\n";

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gitops/kustomize")
}

/// What the chart renders but for what is Helm's own: its hooks, its tests and its name. In an order of ours, for Helm's is not
/// the same each time.
fn without_helm(objects: Vec<Value>) -> Vec<Value> {
    let is_hook = |object: &Value| !object["metadata"]["annotations"]["helm.sh/hook"].is_null();
    let mut objects: Vec<Value> = objects.into_iter().filter(|object| !is_hook(object)).collect();
    objects.sort_by_key(|object| (object["kind"].to_string(), name(object).to_owned()));
    for object in &mut objects {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = object.pointer_mut(labels) {
                labels.retain(|label, _| label != "helm.sh/chart" && label != "app.kubernetes.io/managed-by");
            }
        }
    }
    objects
}

fn documents(objects: &[Value]) -> String {
    let written = objects.iter().map(|object| serde_yaml::to_string(object).unwrap());
    format!("{HEADER}{}", written.collect::<Vec<_>>().join("---\n"))
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn the_base_for_kustomize_is_what_the_chart_renders() {
    let Some(helm) = Helm::find() else { return };
    let objects = without_helm(helm.render_in("waybill", &["hooks.crds=false", "hooks.release=false"]).unwrap());
    let definitions: Vec<Value> = waybill::api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
    for (file, expected) in [("waybill.yaml", documents(&objects)), ("definitions.yaml", documents(&definitions))] {
        if update() {
            fs::write(base().join(file), &expected).unwrap();
        }
        let committed = fs::read_to_string(base().join(file)).unwrap_or_default();
        assert!(committed == expected, "gitops/kustomize/{file}: UPDATE=1 cargo test --test packaging kustomize");
    }
}

#[test]
fn kustomize_builds_the_base_and_neither_definitions_nor_the_claim_are_pruned() {
    let Some(kubectl) = crate::require::program("kubectl") else { return };
    let output = Command::new(kubectl).arg("kustomize").arg(base()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_yaml::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let kept = objects.iter().filter(|object| {
        let annotations = &object["metadata"]["annotations"];
        annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
            && annotations["argocd.argoproj.io/sync-options"] == "Prune=false"
    });
    let mut expected: BTreeSet<String> = waybill::api::crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
    expected.insert("waybill-state".to_owned());
    assert_eq!(kept.map(|object| name(object).to_owned()).collect::<BTreeSet<_>>(), expected);
    let whole = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
    for object in objects.iter().filter(|object| !whole.contains(&object["kind"].as_str().unwrap())) {
        assert_eq!(object["metadata"]["namespace"], "waybill", "wherever kubectl looks: {object:#}");
    }
    let leftover = serde_json::to_string(&objects).unwrap();
    assert!(!leftover.contains("Helm") && !leftover.contains("helm.sh/chart"), "{leftover}");
}

/// The example of the documentation, over the base of this tree.
#[test]
fn what_is_laid_over_the_base_in_the_documentation_does_what_it_says() {
    let Some(kubectl) = crate::require::program("kubectl") else { return };
    let text = fs::read_to_string(base().join("../../docs/gitops.md")).unwrap();
    let section = text.split_once("## Install with kustomize").unwrap().1;
    let example = section.split("```\n").nth(1).unwrap();
    let address = "https://git.example.com/waybill//gitops/kustomize?ref=main";
    assert!(example.contains(address), "{example}");
    let scratch = tempfile::tempdir().unwrap();
    // What is laid over names a directory by a path that leads out of its own.
    std::os::unix::fs::symlink(base(), scratch.path().join("base")).unwrap();
    fs::create_dir(scratch.path().join("ours")).unwrap();
    fs::write(scratch.path().join("ours/kustomization.yaml"), example.replace(address, "../base")).unwrap();
    let output = Command::new(kubectl).arg("kustomize").arg(scratch.path().join("ours")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_yaml::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let container = &super::only(&objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0];
    // The first one is what invitations and points are told.
    let names = super::texts(&container["args"]).into_iter().filter(|word| word.starts_with("--advertise"));
    assert_eq!(names.collect::<Vec<_>>(), ["--advertise=fleet.example.com"]);
    assert!(container["image"].as_str().unwrap().starts_with("registry.example.com/waybill:"), "{container:#}");
    assert_eq!(super::only(&objects, "Service")["spec"]["type"], "LoadBalancer");
}
