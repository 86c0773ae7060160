//! Addresses, users, settings and arguments of everything that makes up the node. What is not named is what the programs do by
//! themselves.

use std::path::Path;

use serde_json::{Value, json};

use super::tools::CNI;
use crate::api_level::{CONTROLLER_MANAGER, User, arguments};

/// The node's own address, and the API server's.
const ADDRESS: &str = "10.77.0.1";
/// The API server for everything in the node's network.
pub(super) const URL: &str = "https://10.77.0.1:6443";
/// Names in the API server's certificate; the last address is the first of the Services' range, `kubernetes.default`.
pub(super) const NAMES: [&str; 4] = [ADDRESS, "127.0.0.1", "kubernetes.default.svc", "10.78.0.1"];
const SERVICES: &str = "10.78.0.0/24";
const PODS: &str = "10.79.0.0/24";
const ETCD: u16 = 2379;
const ETCD_PEER: u16 = 2380;
/// The sandbox of pods.
pub(super) const PAUSE: &str = "localhost/pause:1";
/// containerd's socket, in the node's directory.
pub(super) const SOCKET: &str = "containerd.sock";

const SCHEDULER: User = User { name: "system:kube-scheduler", group: None };
const PROXY: User = User { name: "system:kube-proxy", group: None };
const KUBELET: User = User { name: "system:node:node", group: Some("system:nodes") };
/// As whom the API server calls the kubelet, for logs and exec.
pub(super) const TO_KUBELET: User = User { name: "kube-apiserver-kubelet-client", group: Some("system:masters") };

/// Whoever has a kubeconfig, with its file's name.
pub(super) const KUBECONFIGS: [(&str, User); 4] = [
    ("controller-manager.kubeconfig", CONTROLLER_MANAGER),
    ("scheduler.kubeconfig", SCHEDULER),
    ("proxy.kubeconfig", PROXY),
    ("kubelet.kubeconfig", KUBELET),
];

pub(super) fn etcd() -> Vec<String> {
    arguments::etcd(ETCD, ETCD_PEER)
}

/// As on the API level, and what nodes and pods need besides.
pub(super) fn kube_apiserver(directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut arguments = arguments::kube_apiserver(directory, 6443, &format!("http://127.0.0.1:{ETCD}"));
    // What the API level sets for a server without a network of its own; `Node` is added to its authorizers.
    let replaced = ["--bind-address=", "--endpoint-reconciler-type=", "--service-cluster-ip-range="];
    arguments.retain(|argument| !replaced.iter().any(|start| argument.starts_with(start)));
    arguments.extend([
        "--authorization-mode=Node".into(),
        format!("--advertise-address={ADDRESS}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--kubelet-client-certificate={}", file("to-kubelet.crt")),
        format!("--kubelet-client-key={}", file("to-kubelet.key")),
    ]);
    arguments
}

/// All controllers, each under its own ServiceAccount.
pub(super) fn kube_controller_manager(directory: &Path) -> Vec<String> {
    let mut arguments = arguments::kube_controller_manager(directory);
    arguments.retain(|argument| !argument.starts_with("--controllers="));
    arguments.push(format!("--root-ca-file={}", directory.join("ca.crt").display()));
    arguments
}

pub(super) fn kube_scheduler() -> Vec<String> {
    ["--kubeconfig=scheduler.kubeconfig", "--leader-elect=false", "--secure-port=0"].map(String::from).into()
}

/// Leaves the machine's limits for connections alone.
pub(super) fn kube_proxy() -> Vec<String> {
    let arguments = [
        "--kubeconfig=proxy.kubeconfig",
        "--hostname-override=node",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",
    ];
    let mut arguments: Vec<String> = arguments.map(String::from).into();
    arguments.push(format!("--cluster-cidr={PODS}"));
    arguments
}

pub(super) fn kubelet(directory: &Path) -> Vec<String> {
    vec![
        "--config=kubelet.json".into(),
        "--kubeconfig=kubelet.kubeconfig".into(),
        format!("--root-dir={}", directory.join("kubelet").display()),
        format!("--cert-dir={}", directory.join("kubelet-pki").display()),
        "--hostname-override=node".into(),
        format!("--node-ip={ADDRESS}"),
    ]
}

/// A node that shares its machine: it reserves nothing, evicts nobody, and also starts where cgroups are of version 1 or there is
/// swap.
pub(super) fn kubelet_configuration(directory: &Path) -> Value {
    let file = |name: &str| directory.join(name).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": file("ca.crt")}},
        "cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": [], "failCgroupV1": false,
        "failSwapOn": false, "evictionHard": {}, "localStorageCapacityIsolation": false, "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", file(SOCKET)),
        "podLogsDir": file("pods"), "volumePluginDir": file("volume-plugins"),
    })
}

/// Pods on one bridge, with the node as their way out.
pub(super) fn network(directory: &Path) -> Value {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
        "ipam": {"type": "host-local", "dataDir": directory.join("addresses"), "subnet": PODS, "routes": [{"dst": "0.0.0.0/0"}]},
    }]})
}

/// `restrict_oom_score_adj`: in a virtual machine's sandbox the right to lower it may be missing, and runc would die without a
/// word.
pub(super) fn containerd(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 3
root = "{directory}/containerd"
state = "{directory}/{TASKS}"
[grpc]
  address = "{directory}/{SOCKET}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{CNI}"]
  conf_dir = "{directory}/cni"
"#
    )
}

/// containerd's state; below it lies a folder for each container that was not removed.
const TASKS: &str = "containers";

/// What the kernel keeps of containers that were killed with their namespace: empty cgroups.
pub(super) fn at_the_end() -> String {
    format!(
        r#"cd "$1/{TASKS}/io.containerd.runtime.v2.task/k8s.io" 2>/dev/null || exit 0
for container in *; do
  for cgroup in /sys/fs/cgroup/k8s.io/"$container" /sys/fs/cgroup/*/k8s.io/"$container"; do
    if [ -d "$cgroup" ]; then find "$cgroup" -depth -type d -exec rmdir {{}} +; fi
  done
done
rmdir /sys/fs/cgroup/k8s.io /sys/fs/cgroup/*/k8s.io 2>/dev/null
exit 0
"#
    )
}
