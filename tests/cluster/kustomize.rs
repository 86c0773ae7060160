//! The base for kustomize on the real API server: whatever is in it is taken, strictly, and applying it again changes nothing.

use std::process::Command;

use crate::{
    api_level::{ADMIN, RealApi},
    require,
};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gitops/kustomize");

#[test]
fn the_base_for_kustomize_is_taken_as_it_is_and_applied_again_changes_nothing() {
    let Some(api) = RealApi::start() else { return };
    let Some(program) = require::program("kubectl") else { return };
    let kubectl = |words: &[&str]| {
        let mut command = Command::new(&program);
        let output =
            command.args(words).arg("--kubeconfig").arg(api.kubeconfig_file(&ADMIN, "default")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let apply = || kubectl(&["apply", "--server-side", "--validate=strict", "-k", BASE]);
    // Definitions get new versions while they are taken up; a generation counts what was declared.
    let generations = || {
        let each = "{.kind}/{.metadata.name} {.metadata.generation} {.metadata.uid}{\"\\n\"}";
        kubectl(&["get", "-k", BASE, &format!("--output=jsonpath={{range .items[*]}}{each}{{end}}")])
    };
    let said = apply();
    for expected in ["namespace/waybill", "sites.waybill.dev", "statefulset.apps/waybill", "networkpolicy"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let before = generations();
    assert!(kubectl(&["get", "statefulset", "waybill", "--namespace=waybill", "--output=name"]).contains("waybill"));
    apply();
    assert_eq!(generations(), before);
}
