//! A site installed by the chart, with claims of the node's own, a namespace for its objects, and a user who may write them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{Node, seconds},
    image,
};
use crate::{api_level::Process, node::succeed};

/// Where agents reach the site: an address of the Services' range.
const ADDRESS: &str = "10.78.0.77";
/// Namespace and name of the release.
pub(super) const RELEASE: &str = "waybill";
/// Longest wait for the pod, an agent, or what follows from either.
pub(super) const PATIENCE: Duration = seconds(150);
/// Where the project's files lie.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Who brings software in, and who hands out invitations; neither is an administrator. The first may be the second at the site.
const PEOPLE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: packagers, namespace: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waybill-packager}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployers, namespace: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waybill-deployer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waybill-view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: connect, namespace: waybill}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: waybill-connect}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: be-owner, namespace: web}
rules: [{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [owner], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: be-owner, namespace: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: be-owner}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: owner, namespace: web}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: owners}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waybill-approver}
subjects: [{kind: ServiceAccount, name: owner, namespace: web}]
"#;

/// Claim of the software, and the namespace it and the site are in, which enforces what the chart promises of its pods.
const CLAIM: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: waybill
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: packages, namespace: waybill}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
"#;

/// A node with the site on it.
pub(super) struct Site {
    pub(super) node: Node,
    /// Where packages lie, as the site's pod sees them beneath `/sources/packages`.
    pub(super) sources: PathBuf,
    agents: Vec<Process>,
}

impl Drop for Site {
    fn drop(&mut self) {
        // Before the network that they are on.
        self.agents.clear();
    }
}

impl Site {
    /// `None`, after saying so, where nobody asked for a node.
    pub(super) fn install() -> Option<Site> {
        Self::install_as(&[], |_, _| {})
    }

    /// As [`Site::install`], with further values.
    pub(super) fn install_with(values: &[&str]) -> Option<Site> {
        Self::install_as(values, |_, _| {})
    }

    /// As [`Site::install`], with the volume of its state made ready by `prepare`.
    pub(super) fn install_on(prepare: impl FnOnce(&Node, &Path)) -> Option<Site> {
        Self::install_as(&[], prepare)
    }

    fn install_as(values: &[&str], prepare: impl FnOnce(&Node, &Path)) -> Option<Site> {
        let node = Node::start()?;
        node.import(&image()).unwrap();
        node.apply("claim", CLAIM);
        let sources = node.volume("packages", RELEASE, "packages");
        prepare(&node, &node.volume("state", RELEASE, "waybill-state"));
        let site = Site { node, sources, agents: Vec::new() };
        site.helm("install", values).unwrap();
        site.node.apply("people", PEOPLE);
        let granted = r#"--patch={"spec":{"namespaces":[{"name":"web","maxClients":1}]}}"#;
        let words = ["patch", "site", "main", "--type=merge", "--as=system:serviceaccount:web:owner", granted];
        site.node.wait("granted", PATIENCE, |node| node.kubectl(&words));
        Some(site)
    }

    /// `helm install` or `upgrade` with the test's values and these, until everything is ready.
    pub(super) fn helm(&self, verb: &str, more: &[&str]) -> Result<String, String> {
        let chart = Path::new(ROOT).join("charts/waybill");
        let address = format!("service.clusterIP={ADDRESS}");
        let advertise = format!("site.advertise[0]={ADDRESS}");
        let mut words = vec![verb, RELEASE, chart.to_str().unwrap(), "--namespace", RELEASE];
        words.extend(["--set", &address, "--set", &advertise, "--set", "persistence.storageClass="]);
        words.extend(["--set-json", r#"sources=[{"name":"packages","claim":"packages"}]"#, "--wait", "--timeout=150s"]);
        words.extend(more);
        self.node.helm(&words).map_err(|error| format!("{error}\n{}", self.last_words()))
    }

    /// What the pod and its node had to say, for whoever reads a failure.
    fn last_words(&self) -> String {
        let ask = |words: &[&str]| self.node.kubectl(words).unwrap_or_else(|error| error);
        let state = ask(&["get", "pods", "--namespace", RELEASE, "--output=wide"]);
        let events = ask(&["events", "--namespace", RELEASE]);
        let log = ask(&["logs", "waybill-0", "--namespace", RELEASE, "--tail=30"]);
        let before = ask(&["logs", "waybill-0", "--namespace", RELEASE, "--tail=30", "--previous"]);
        [state, events, log, before].join("\n")
    }

    /// Applies manifests as the user who may.
    pub(super) fn declare(&self, name: &str, manifests: &str) {
        let file = self.node.directory().join(format!("{name}.yaml"));
        fs::write(&file, manifests).unwrap();
        let words = ["apply", "--server-side", "--as=ann", "--namespace=web", "--filename", file.to_str().unwrap()];
        self.node.wait("declared", PATIENCE, |node| node.kubectl(&words));
    }

    /// An object, or why there is none.
    pub(super) fn get(&self, kind: &str, name: &str, namespace: &str) -> Result<Value, String> {
        super::json(&self.node.kubectl(&["get", kind, name, "--namespace", namespace, "--output=json"])?)
    }

    /// The site's container: (its id, how often it was started again, whether it is ready).
    pub(super) fn container(&self) -> Result<(String, u64, bool), String> {
        let pod = self.get("pod", "waybill-0", RELEASE)?;
        let status = &pod["status"]["containerStatuses"][0];
        let id = status["containerID"].as_str().ok_or("no container")?.to_owned();
        Ok((id, status["restartCount"].as_u64().unwrap_or_default(), status["ready"] == true))
    }

    /// kubectl's plugin as the person who may be the fleet's owner at the site: through a port of the pod, which the API server
    /// forwards, with a token that was made for the site.
    pub(super) fn plugin(&self, words: &[&str]) -> Result<String, String> {
        let directory = self.node.directory();
        let own = directory.join("ann.kubeconfig");
        if !own.exists() {
            let mut config = super::json(&fs::read_to_string(directory.join("kubeconfig")).unwrap()).unwrap();
            config["users"][0]["user"]["as"] = json!("ann");
            fs::write(&own, config.to_string()).unwrap();
        }
        let mut command = self.node.command(&self.plugin_file());
        command.args(words).arg("--kubeconfig").arg(own).args(["--service-account", "web/owner"]).stdin(Stdio::null());
        succeed(command)
    }

    /// The plugin under the name by which kubectl finds it.
    fn plugin_file(&self) -> String {
        let file = self.node.directory().join("kubectl-waybill");
        if !file.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_waybill"), &file).unwrap();
        }
        file.into_os_string().into_string().unwrap()
    }

    /// `kubectl waybill release --all` as an administrator, on a network that reaches the API server and nothing else.
    pub(super) fn release_by_plugin(&self, more: &[&str]) -> Result<String, String> {
        let mut command = self.node.command(&self.plugin_file());
        let cluster = ["--statefulset=waybill/waybill", "--kubeconfig"];
        command.args(["release", "--all"]).args(more).args(cluster).arg(self.node.directory().join("kubeconfig"));
        succeed(command)
    }

    /// A machine of the fleet on the agents' side of the network, as root that may be root.
    pub(super) fn join(&mut self) {
        let invite = ["token", "create", "--role", "client", "--expires", "1h"];
        let join_file = self.node.wait("invited", PATIENCE, |_| self.plugin(&invite));
        let directory = self.node.directory();
        for (name, content) in [("join.json", join_file), ("agent.json", r#"{"allowRoot": true}"#.into())] {
            fs::write(directory.join(name), content).unwrap();
        }
        self.agents.push(self.start_agent());
    }

    fn start_agent(&self) -> Process {
        let directory = self.node.directory();
        let mut agent = self.node.agents_command(Path::new(env!("CARGO_BIN_EXE_waybill")), directory);
        agent.args(["agent", "run", "--join", "join.json", "--config", "agent.json", "--state", "agent"]);
        Process::run("agent", agent, directory).unwrap()
    }

    /// A program that notes each of its starts and ends in a file, and takes `seconds` in between, offered to everybody.
    pub(super) fn offer_script(&self, name: &str, seconds: u32) {
        let notes = self.notes();
        let directory = self.sources.join(name);
        fs::create_dir_all(&directory).unwrap();
        let script = format!(
            "#!/bin/sh\necho '{name} starts' >>'{0}'\nsleep {seconds}\necho '{name} ends' >>'{0}'\n",
            notes.display()
        );
        fs::write(directory.join("run.sh"), script).unwrap();
        fs::set_permissions(directory.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        self.offer(name, r#"["run.sh"]"#);
    }

    /// Package, program, distribution, collection and advertisement of what lies in the folder of this name.
    pub(super) fn offer(&self, name: &str, argv: &str) {
        self.declare(
            name,
            &format!(
                r#"
apiVersion: waybill.dev/v1alpha1
kind: Package
metadata: {{name: {name}}}
spec: {{source: {{directory: {{path: /sources/packages/{name}}}}}}}
---
apiVersion: waybill.dev/v1alpha1
kind: Program
metadata: {{name: {name}}}
spec: {{packageRef: {name}, argv: {argv}}}
---
apiVersion: waybill.dev/v1alpha1
kind: Distribution
metadata: {{name: {name}}}
spec: {{package: {name}, distributionPoints: {{all: {{}}}}}}
---
apiVersion: waybill.dev/v1alpha1
kind: Collection
metadata: {{name: everybody}}
spec: {{query: "true"}}
---
apiVersion: waybill.dev/v1alpha1
kind: Advertisement
metadata: {{name: {name}}}
spec: {{program: {name}, collection: everybody, assignments: [{{asSoonAsPossible: {{}}}}]}}
"#
            ),
        );
    }

    /// Where programs write what they did.
    fn notes(&self) -> PathBuf {
        self.node.directory().join("notes")
    }

    /// What programs wrote, line by line.
    pub(super) fn noted(&self) -> Vec<String> {
        fs::read_to_string(self.notes()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until a program wrote this line.
    #[track_caller]
    pub(super) fn wait_for_note(&self, line: &str) {
        self.node.wait(line, PATIENCE, |_| {
            let noted = self.noted();
            if noted.iter().any(|noted| noted == line) { Ok(()) } else { Err(format!("{noted:?}")) }
        });
    }

    /// Waits until the advertisement's status says that its one client succeeded.
    #[track_caller]
    pub(super) fn wait_for_success(&self, name: &str) {
        self.node.wait("succeeded", PATIENCE, |_| {
            let advertisement = self.get("advertisement", name, "web")?;
            let succeeded = advertisement["status"]["clients"]["succeeded"] == 1;
            if succeeded { Ok(()) } else { Err(advertisement["status"].to_string()) }
        });
    }

    /// Kills the site's process without a word, as a machine's failing memory would.
    pub(super) fn kill(&self) {
        Self::killer(self.node.directory())();
    }

    /// What does that for the node with this directory.
    pub(super) fn killer(directory: &Path) -> impl FnOnce() + use<> {
        let directory = directory.to_str().unwrap().to_owned();
        move || Self::kill_in(&directory)
    }

    fn kill_in(directory: &str) {
        let mut killed = 0;
        for entry in fs::read_dir("/proc").unwrap() {
            let process = entry.unwrap().path();
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            if words.starts_with(b"/waybill\0site\0") && mounts.contains(directory) {
                let pid = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
                rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid).unwrap(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
                killed += 1;
            }
        }
        assert_eq!(killed, 1);
    }

    /// A free name for a directory next to the notes.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let path = self.node.directory().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// `waybill` on the node's network, as an administrator's laptop would run it.
    pub(super) fn waybill(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.node.command(env!("CARGO_BIN_EXE_waybill"));
        command.args(words).arg("--kubeconfig").arg(self.node.directory().join("kubeconfig")).stdin(Stdio::null());
        succeed(command)
    }
}
