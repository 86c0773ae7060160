//! The programs of a node: those of the API level and more from their pins, found in `PATH`; and of the machine, runc, the CNI
//! plugins and iptables, which are no Go modules that one could pin here.

use crate::require;

/// Built from pins.
const PINNED: [&str; 10] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "helm",
];
/// Of the machine.
const MACHINES: [&str; 6] = ["runc", "iptables", "ip", "nsenter", "unshare", "cc"];
/// Where Debian keeps the CNI plugins.
pub(super) const CNI: &str = "/usr/lib/cni";

/// Looks for all of them; the path they are in.
pub(super) fn find() -> Result<String, String> {
    let missing: Vec<&str> =
        PINNED.iter().chain(&MACHINES).copied().filter(|name| require::program(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(format!(
            "not in PATH: {}; run `make cluster-test`, which builds or names what is missing",
            missing.join(", ")
        ));
    }
    for plugin in ["bridge", "host-local", "loopback"] {
        if !std::path::Path::new(CNI).join(plugin).exists() {
            return Err(format!("{CNI}/{plugin} is missing: install containernetworking-plugins"));
        }
    }
    Ok(path())
}

#[expect(clippy::disallowed_methods, reason = "the programs that the node starts look others up as a shell does")]
fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}
