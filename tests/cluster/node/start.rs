//! Starts a node, part by part, each when the one before it is ready.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use super::{Node, Process, place::Place, seconds, settings, tools};
use crate::api_level::{AT_THE_END, Authority, FRONT_PROXY, Guardian, ROOT, audit};

/// Longest wait for one part; a busy machine is slow.
const LIMIT: Duration = seconds(120);

/// [`Node`], from a thread outside of any runtime.
pub(super) fn blocking() -> Result<Node, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(start())
}

async fn start() -> Result<Node, String> {
    let path = tools::find()?;
    let directory = tempfile::Builder::new().prefix("waybill-node-").tempdir().map_err(text)?;
    let directory = fs::canonicalize(directory.keep()).map_err(text)?;
    let guardian = Guardian::of(&directory).map_err(text)?;
    files(&directory)?;
    let place = Place::new(&directory, path).await?;
    let mut node = Node { processes: Vec::new(), place, directory, _guardian: guardian };

    node.run("etcd", settings::etcd()).await?;
    node.run("kube-apiserver", settings::kube_apiserver(&node.directory)).await?;
    node.until("kube-apiserver", "ready", |node| node.kubectl(&["get", "--raw=/readyz"]).is_ok()).await?;
    node.run("kube-controller-manager", settings::kube_controller_manager(&node.directory)).await?;
    node.run("kube-scheduler", settings::kube_scheduler()).await?;
    node.run("kube-proxy", settings::kube_proxy()).await?;
    node.run_containerd().await?;
    node.import_pause()?;
    node.run_kubelet().await?;
    // Without it no pod is let in.
    let has_account = |node: &Node| node.kubectl(&["get", "serviceaccount", "default"]).is_ok();
    node.until("kubelet", "given an account for pods", has_account).await?;
    Ok(node)
}

impl Node {
    async fn run_containerd(&mut self) -> Result<(), String> {
        self.run("containerd", vec!["--config=containerd.toml".to_owned()]).await?;
        self.until("containerd", "listening", |node| node.directory.join(settings::SOCKET).exists()).await
    }

    async fn run_kubelet(&mut self) -> Result<(), String> {
        self.run("kubelet", settings::kubelet(&self.directory)).await?;
        let ready = "--template={{range .status.conditions}}{{if eq .type \"Ready\"}}{{.status}}{{end}}{{end}}";
        let is_ready =
            |node: &Node| node.kubectl(&["get", "node", "node", "--output=go-template", ready]) == Ok("True".into());
        self.until("kubelet", "Ready", is_ready).await
    }

    /// As after a loss of power: whatever runs containers has ended without a word, and so have these, which `also` ends; then
    /// it is started again.
    pub(crate) fn restart(&mut self, also: impl FnOnce()) {
        // Of the processes, these were started last; what is killed here is what they wait for.
        for program in ["kubelet", "containerd", "containerd-shim-runc-v2"] {
            let killed = self.kill_all(program);
            assert!(killed > 0, "{program} does not run");
        }
        self.processes.truncate(self.processes.len() - 2);
        also();
        fs::remove_file(self.directory.join(settings::SOCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let started = runtime.block_on(async {
            self.run_containerd().await?;
            self.run_kubelet().await
        });
        started.unwrap_or_else(|error| panic!("the node did not start again: {error}"));
    }

    /// As a machine that is gone for good: its `kubelet` says nothing any more.
    pub(crate) fn fall_silent(&self) {
        assert_eq!(self.kill_all("kubelet"), 1);
    }

    /// Kills the node's processes of this program, and no others of the machine; how many there were.
    fn kill_all(&self, program: &str) -> usize {
        let runs_here = |process: &Path| {
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let name = words.split(|byte| *byte == 0).next().and_then(|word| word.rsplit(|byte| *byte == b'/').next());
            name == Some(program.as_bytes())
                && fs::read_link(process.join("cwd")).is_ok_and(|place| place.starts_with(&self.directory))
        };
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let found = processes.filter(|process| runs_here(process)).filter_map(|process| {
            let id = process.file_name()?.to_str()?.parse().ok()?;
            rustix::process::Pid::from_raw(id)
        });
        found.filter(|pid| rustix::process::kill_process(*pid, rustix::process::Signal::KILL).is_ok()).count()
    }

    async fn run(&mut self, name: &'static str, arguments: Vec<String>) -> Result<(), String> {
        let mut command = self.place.command(name, &self.directory);
        command.args(arguments);
        self.processes.push(Process::run(name, command, &self.directory).map_err(|error| format!("{name}: {error}"))?);
        Ok(())
    }

    /// Waits until the part that was started last is what it shall be.
    async fn until(&mut self, name: &str, what: &str, holds: impl Fn(&Node) -> bool) -> Result<(), String> {
        let mut process = self.processes.pop().ok_or(name)?;
        let waited = process.until(LIMIT, what, async || holds(self)).await;
        self.processes.push(process);
        waited
    }
}

/// All keys, certificates and settings; only root reads them.
fn files(directory: &Path) -> Result<(), String> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(text)?;
    let (authority, proxies) =
        (Authority::new("test API").map_err(text)?, Authority::new("test proxies").map_err(text)?);
    let serving = authority.serving(&settings::NAMES).map_err(text)?;
    let to_kubelet = authority.user(&settings::TO_KUBELET).map_err(text)?;
    let front_proxy = proxies.user(&FRONT_PROXY).map_err(text)?;
    let accounts = rcgen::KeyPair::generate().map_err(text)?;
    fs::create_dir(directory.join("cni")).map_err(text)?;
    let mut files = vec![
        ("ca.crt", authority.certificate_pem.clone()),
        ("front-proxy-ca.crt", proxies.certificate_pem.clone()),
        ("serving.crt", serving.certificate_pem),
        ("serving.key", serving.key_pem),
        ("to-kubelet.crt", to_kubelet.certificate_pem),
        ("to-kubelet.key", to_kubelet.key_pem),
        ("front-proxy.crt", front_proxy.certificate_pem),
        ("front-proxy.key", front_proxy.key_pem),
        ("sa.key", accounts.serialize_pem()),
        ("sa.pub", accounts.public_key_pem()),
        ("audit-policy.json", audit::policy().to_string()),
        ("kubelet.json", settings::kubelet_configuration(directory).to_string()),
        ("cni/10-pods.conflist", settings::network(directory).to_string()),
        ("containerd.toml", settings::containerd(directory)),
        (AT_THE_END, settings::at_the_end()),
        ("kubeconfig", authority.kubeconfig(settings::URL, &ROOT, "default")),
    ];
    for (name, user) in &settings::KUBECONFIGS {
        files.push((name, authority.kubeconfig(settings::URL, user, "default")));
    }
    files.into_iter().try_for_each(|(name, content)| fs::write(directory.join(name), content)).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
