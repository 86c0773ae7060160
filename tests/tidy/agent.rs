//! The slim agent's dependencies: nothing of the server's comes with `--no-default-features`.

use crate::{assert_none, root};
use std::process::Command;

/// Crates that only a server needs; the agent runs on every client and stays small.
const SERVER_ONLY: &[&str] = &[
    "kube",
    "kube-client",
    "kube-core",
    "k8s-openapi",
    "axum",
    "schemars",
    "notify",
    "zstd",
    "cel",
    "serde-saphyr",
    "prometheus-client",
];

#[test]
fn the_agent_knows_nothing_of_kubernetes() {
    assert_none(server_crates(&tree(&["--no-default-features"])));
    // The same look at the server finds them all, or it sees nothing.
    assert_eq!(server_crates(&tree(&[])).len(), SERVER_ONLY.len());
}

/// `cargo tree`, one crate a line, of what is linked into the program.
fn tree(features: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root())
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(features);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn server_crates(tree: &str) -> Vec<String> {
    let linked = |name: &&&str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));
    SERVER_ONLY
        .iter()
        .filter(linked)
        .map(|name| format!("{name} is linked; `cargo tree -e normal -i {name}` shows why"))
        .collect()
}
