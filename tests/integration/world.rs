//! A small site of real processes in a scratch directory: `site`, `dp…`, `cap…` and clients, each started, killed and
//! started again by its name. Every program appends one line, written through to disk, each time it starts: that is the
//! truth.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing must happen before it counts as not happening.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// The beginning of every manifest.
pub(crate) const HEAD: &str = "apiVersion: waybill.dev/v1alpha1\nkind";

/// A scratch directory with a served directory and the processes of a small site.
pub(crate) struct World {
    scratch: tempfile::TempDir,
    port: u16,
    processes: BTreeMap<String, Child>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        waybill::transport::install_crypto();
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("agent.json"), r#"{"allowRoot": true}"#).unwrap();
        fs::create_dir(scratch.path().join("fleet")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { scratch, port: free_ports(), processes: BTreeMap::new(), runtime }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    /// Where requests of the test itself run.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// The site's port for devices.
    pub(crate) fn device_port(&self) -> u16 {
        self.port
    }

    /// Where devices reach the site.
    pub(crate) fn site_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Writes a file of the served directory, by a rename, so that nobody sees half of it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path("fleet").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = self.path("fresh");
        fs::write(&fresh, &content).unwrap();
        let mode = if content.as_ref().starts_with(b"#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&fresh, Permissions::from_mode(mode)).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    pub(crate) fn take_out(&self, path: &str) {
        fs::remove_file(self.path("fleet").join(path)).unwrap();
    }

    /// A package whose program notes its version, for every point.
    pub(crate) fn package(&self, name: &str, version: u64) {
        self.script(name, version, "sleep 0.3");
        self.declare(name);
    }

    /// The program of a package: it notes its version, then does this.
    pub(crate) fn script(&self, name: &str, version: u64, then: &str) {
        let lines = self.path("lines");
        self.write(
            &format!("packages/{name}/install.sh"),
            format!("#!/bin/sh\necho {name} {version} >> '{0}' && sync '{0}'\n{then}\n", lines.display()),
        );
    }

    /// The objects of a package: itself, its program, its distribution to every point.
    pub(crate) fn declare(&self, name: &str) {
        self.write(
            &format!("{name}.yaml"),
            format!(
                "{HEAD}: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{directory: {{path: packages/{name}}}}}}}\n---\n\
                 {HEAD}: Program\nmetadata: {{name: {name}}}\nspec: {{packageRef: {name}, argv: [install.sh]}}\n---\n\
                 {HEAD}: Distribution\nmetadata: {{name: {name}}}\nspec: {{package: {name}, distributionPoints: {{all: {{}}}}}}\n"
            ),
        );
    }

    /// Offers the program to everybody, once for every version.
    pub(crate) fn advertise(&self, name: &str) {
        self.offer(name, "");
    }

    /// Offers it with more of a spec.
    pub(crate) fn offer(&self, name: &str, more: &str) {
        self.write(
            &format!("{name}-offer.yaml"),
            format!(
                "{HEAD}: Advertisement\nmetadata: {{name: {name}}}\n\
                 spec: {{program: {name}, collection: everybody, assignments: [{{asSoonAsPossible: {{}}}}], rerun: OncePerVersion{more}}}\n"
            ),
        );
        self.write(
            "everybody.yaml",
            format!("{HEAD}: Collection\nmetadata: {{name: everybody}}\nspec: {{query: 'true'}}\n"),
        );
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        // The worst umask there is: what must be private must not depend on it.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_waybill")]);
        command.args(words).current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    /// Starts a process that stays, and a site until it listens.
    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, &[]);
    }

    /// As [`World::start`], with more words on its command line.
    pub(crate) fn start_with(&mut self, name: &str, more: &[&str]) {
        self.launch_with(name, more);
        if name == "site" {
            let pid = self.processes[name].id();
            // What it writes once it listens; an earlier process may have left the same file.
            self.until("the site is up", |world| {
                let text = fs::read(world.path("site/endpoints.json")).unwrap_or_default();
                serde_json::from_slice::<Value>(&text).is_ok_and(|endpoints| endpoints["pid"] == pid)
            });
        }
    }

    /// Starts a process that stays; its log is appended to. What it is follows from its name.
    pub(crate) fn launch(&mut self, name: &str) {
        self.launch_with(name, &[]);
    }

    fn launch_with(&mut self, name: &str, more: &[&str]) {
        let (listen, join) = (format!("127.0.0.1:{}", self.port), format!("{name}.json"));
        let words: &[&str] = match role(name) {
            "site" => &["up", "fleet", "--state", name, "--listen", &listen],
            "client" => &["agent", "run", "--join", &join, "--state", name, "--config", "agent.json"],
            role => &[role, "--join", &join, "--state", name],
        };
        self.start_as(name, &[words, more].concat());
    }

    /// As [`World::start`], by another command line, and without waiting for anything.
    pub(crate) fn start_as(&mut self, name: &str, words: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let child = self.command(words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        assert!(self.processes.insert(name.to_owned(), child).is_none(), "{name} runs already");
    }

    /// Where a site is started: the port for devices; enrolment is on the next one.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process of this name.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.processes[name].id()
    }

    /// Kills it without a word.
    pub(crate) fn strike(&mut self, name: &str) {
        let mut child = self.processes.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills it without a word, and starts it again.
    pub(crate) fn kill(&mut self, name: &str) {
        self.strike(name);
        self.start(name);
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self, name: &str) -> Option<ExitStatus> {
        self.processes.get_mut(name).and_then(|child| child.try_wait().unwrap())
    }

    /// Ends it as an administrator does, and waits for its end.
    pub(crate) fn stop(&mut self, name: &str) {
        let mut child = self.processes.remove(name).unwrap();
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = child.wait();
    }

    /// Writes a join file for a process of this name.
    pub(crate) fn invite(&self, name: &str) {
        let mut words = vec!["token", "create", "--role", role(name), "--state", "site"];
        if role(name) != "client" {
            words.extend(["--name", name]);
        }
        let output = self.command(&words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = self.path(&format!("{name}.json"));
        fs::write(&file, output.stdout).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }

    /// Invites and starts each.
    pub(crate) fn join(&mut self, names: &[&str]) {
        for name in names {
            self.invite(name);
            self.start(name);
        }
    }

    /// A site with another distribution point and a client.
    pub(crate) fn up(&mut self) {
        self.start("site");
        self.join(&["dp", "client"]);
    }

    /// Asks the Kubernetes API as its administrator; null for what does not exist, or when nobody answers.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        match self.answer(method, path, body) {
            Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
            // It is being started or killed: whoever waits asks again.
            Err(kube::Error::HyperError(_) | kube::Error::Service(_)) => Value::Null,
            other => other.unwrap(),
        }
    }

    /// Whether the Kubernetes API says that there is no such object.
    pub(crate) fn is_gone(&self, path: &str) -> bool {
        matches!(self.answer("GET", path, None), Err(kube::Error::Api(status)) if status.code == 404)
    }

    fn answer(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let kubeconfig = Kubeconfig::read_from(self.path("site/kubeconfig")).unwrap();
        let type_ = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap());
        let request = http::Request::builder().method(method).uri(path).header("content-type", type_).body(bytes);
        self.runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            kube::Client::try_from(config).unwrap().request::<Value>(request.unwrap()).await
        })
    }

    /// The rows or objects of a list, an object each.
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        self.ask("GET", path, None)["items"].as_array().cloned().unwrap_or_default()
    }

    /// How often each line was written.
    pub(crate) fn lines(&self) -> BTreeMap<String, u32> {
        let text = fs::read_to_string(self.path("lines")).unwrap_or_default();
        let mut counted = BTreeMap::new();
        for line in text.lines() {
            *counted.entry(line.to_owned()).or_default() += 1;
        }
        counted
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not in time: {what}; lines: {:?}\n{}", self.lines(), self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of every process's log.
    pub(crate) fn logs(&self) -> String {
        let tail = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let name = path.file_stem().unwrap_or_default().display();
            format!("---- {name}\n{}\n", lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        let files = fs::read_dir(self.scratch.path()).unwrap().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).map(tail).collect()
    }

    /// Whether a version of the package lies on a drive of `state`.
    pub(crate) fn published(&self, state: &str, package: &str) -> bool {
        holds(&self.path(state), Path::new("default").join(package).as_path(), 6)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Clients before points before the site.
        let mut names: Vec<String> = self.processes.keys().cloned().collect();
        names.sort_by_key(|name| ["client", "cap", "dp", "site"].iter().position(|one| *one == role(name)));
        for name in names {
            self.stop(&name);
        }
        unseal(self.scratch.path());
    }
}

/// What a process of this name is.
fn role(name: &str) -> &'static str {
    ["site", "dp", "cap"].into_iter().find(|role| name.split('-').next() == Some(role)).unwrap_or("client")
}

/// A port that is free together with its neighbours, below those that the kernel gives to anybody, and another one at
/// every call of this process.
pub(crate) fn free_ports() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 1_000).unwrap();
    let free = |port: u16| (port - 1..=port + 2).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let next = || 20_000 + (seed + CALLS.fetch_add(1, Ordering::Relaxed)) % 2_000 * 4 + 1;
    (0..2_000).map(|_| next()).find(|port| free(*port)).unwrap()
}

fn holds(directory: &Path, wanted: &Path, depth: u32) -> bool {
    if fs::read_dir(directory.join(wanted)).is_ok_and(|mut entries| entries.next().is_some()) {
        return true;
    }
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    depth > 0 && below.filter(|entry| entry.path().is_dir()).any(|entry| holds(&entry.path(), wanted, depth - 1))
}

/// Makes read-only directories writable, so that a scratch directory can be removed.
pub(crate) fn unseal(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unseal(&entry.path());
        }
    }
}
