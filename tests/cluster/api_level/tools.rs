//! The programs of the API level: found in `PATH`, where `make cluster-test` puts those built from their pins or those of
//! `KUBEBUILDER_ASSETS`, and refused if they are of another version than the pins say.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::require;

/// What the level is made of.
pub(super) struct Tools {
    pub(super) etcd: PathBuf,
    pub(super) kube_apiserver: PathBuf,
    /// Whoever brings programs of his own may lack it.
    pub(super) kube_controller_manager: Option<PathBuf>,
}

impl Tools {
    /// Finds all, and checks that they are those that the tests were written against.
    pub(super) fn find() -> Result<Tools, String> {
        let missing =
            |name: &str| format!("{name} is not in PATH: run `make cluster-test`, which builds what is missing");
        let etcd = require::program("etcd").ok_or_else(|| missing("etcd"))?;
        let kube_apiserver = require::program("kube-apiserver").ok_or_else(|| missing("kube-apiserver"))?;
        let kubectl = require::program("kubectl").ok_or_else(|| missing("kubectl"))?;
        let kube_controller_manager = require::program("kube-controller-manager");
        let kubernetes = pinned("kube-apiserver", "k8s.io/kubernetes")?;
        check(&etcd, &["--version"], &pinned("etcd", "go.etcd.io/etcd/server/v3")?)?;
        check(&kube_apiserver, &["--version"], &kubernetes)?;
        check(&kubectl, &["version", "--client"], &kubernetes)?;
        if let Some(program) = &kube_controller_manager {
            check(program, &["--version"], &kubernetes)?;
        }
        Ok(Tools { etcd, kube_apiserver, kube_controller_manager })
    }
}

/// The version of `module` that the pin of `tool` names, without its `v`.
fn pinned(tool: &str, module: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/tools").join(tool).join("go.mod");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    version_in(&text, module).ok_or_else(|| format!("{} requires no {module}", path.display()))
}

fn version_in(go_mod: &str, module: &str) -> Option<String> {
    let required = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    let version = required.filter_map(|line| line.strip_prefix(module)?.strip_prefix(" v")).next()?;
    version.split_whitespace().next().map(str::to_owned)
}

fn check(program: &Path, arguments: &[&str], version: &str) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match says(&said, version) {
        true => Ok(()),
        false => Err(format!("{} is not of version {version}, which the tests are for: {said}", program.display())),
    }
}

/// Whether a word of the text is that version.
fn says(text: &str, version: &str) -> bool {
    text.split_whitespace().any(|word| word.trim_start_matches('v') == version)
}

#[test]
fn another_version_is_noticed() {
    assert!(says("Kubernetes v1.36.3\n", "1.36.3") && says("etcd Version: 3.6.8\nGit SHA: x", "3.6.8"));
    assert!(!says("Kubernetes v1.36.30", "1.36.3") && !says("Kubernetes v1.35.3", "1.36.3") && !says("", "1.36.3"));
    let go_mod = "tool a/b\n\nrequire a/b v1.2.3 // indirect\nrequire (\n\ta/bc v2.0.0\n\td v3.0.0 // indirect\n)\n";
    assert_eq!(version_in(go_mod, "a/b").as_deref(), Some("1.2.3"));
    assert_eq!(version_in(go_mod, "d").as_deref(), Some("3.0.0"));
    assert_eq!(version_in(go_mod, "e"), None);
}
