//! Instances of a site server as processes in the directory of a real API server, and what they share: sources, objects, a machine,
//! and a switch between the machine and them.

use std::{
    fs::{self, File, Permissions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    LEASE, rights,
    switch::{Switch, free_port, pass_on},
};
use crate::{
    api_level::{ADMIN, RealApi},
    chart::SITE,
};

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Where machines believe that the site is.
const ADVERTISED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What instances share.
pub(crate) struct Place {
    pub(super) directory: PathBuf,
    kubeconfig: PathBuf,
    pub(super) client: Client,
    pub(super) runtime: Runtime,
    port: u16,
    switch: Arc<Mutex<Switch>>,
    /// Where the objects are that a test declares.
    namespace: &'static str,
    /// How long a Lease lasts here without a renewal.
    lease: Duration,
    pub(super) refusals_are_meant: bool,
}

impl Place {
    pub(crate) fn new(api: &RealApi) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(api.client(&ADMIN, "default"));
        let (switch, port) = (Arc::default(), free_port());
        // Devices, and joining on the next port.
        for port in [port, port + 1] {
            pass_on(TcpListener::bind((ADVERTISED, port)).unwrap(), &switch);
        }
        runtime.block_on(rights::give(&client));
        let kubeconfig = api.kubeconfig_file(&SITE, "default");
        let directory = api.directory().to_owned();
        fs::create_dir_all(directory.join("sources/tool")).unwrap();
        let (namespace, lease, refusals_are_meant) = ("default", LEASE, false);
        Self { directory, kubeconfig, client, runtime, port, switch, namespace, lease, refusals_are_meant }
    }

    /// Instances reach the API server by this kubeconfig.
    pub(crate) fn through(mut self, kubeconfig: PathBuf) -> Self {
        self.kubeconfig = kubeconfig;
        self
    }

    /// Leases last so long.
    pub(crate) fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// What a test declares is in this namespace.
    pub(crate) fn within(mut self, namespace: &'static str) -> Self {
        self.namespace = namespace;
        self
    }

    /// Runs what a test asks the API server itself.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The file that programs write lines to.
    pub(crate) fn lines_file(&self) -> PathBuf {
        self.directory.join("lines")
    }

    /// What the process of this name has said so far.
    pub(crate) fn log(&self, name: &str) -> String {
        read(self, name)
    }

    /// The package's files: a program that notes its version, through to the disk.
    pub(crate) fn source(&self, version: u32) {
        let (lines, fresh) = (self.lines_file(), self.directory.join("fresh"));
        fs::write(&fresh, format!("#!/bin/sh\necho ran {version} >> '{0}' && sync '{0}'\n", lines.display())).unwrap();
        fs::set_permissions(&fresh, Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, self.directory.join("sources/tool/run.sh")).unwrap();
    }

    /// The package and what offers it to everybody, once a version, as the site lets its namespace do.
    pub(crate) fn declare(&self) {
        self.apply("Site", "main", &json!({"namespaces": [{"name": self.namespace}]}));
        self.offer();
    }

    /// As [`Place::declare`], without what the site lets the namespace do.
    pub(crate) fn offer(&self) {
        for (kind, spec) in [
            ("Package", json!({"source": {"directory": {"path": "tool"}}})),
            ("Program", json!({"packageRef": "tool", "argv": ["run.sh"]})),
            ("Distribution", json!({"package": "tool", "distributionPoints": {"all": {}}})),
            ("Collection", json!({"query": "true"})),
            (
                "Advertisement",
                json!({"program": "tool", "collection": "tool", "assignments": [{"asSoonAsPossible": {}}],
                    "rerun": "OncePerVersion"}),
            ),
        ] {
            self.apply(kind, "tool", &spec);
        }
    }

    /// Applies one object.
    pub(crate) fn apply(&self, kind: &str, name: &str, spec: &Value) {
        let object =
            json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        self.runtime.block_on(self.objects(kind).patch(name, &params, &Patch::Apply(&object))).unwrap();
    }

    /// Does this beside the test.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// A client of the API server itself, in the runtime of this place.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn objects(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
        match kind {
            "Site" | "DistributionPoint" | "ClientAgentConfig" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), self.namespace, &resource),
        }
    }

    /// The site's object as the API server has it.
    pub(crate) fn site(&self) -> Value {
        serde_json::to_value(self.runtime.block_on(self.objects("Site").get("main")).unwrap()).unwrap()
    }

    /// How many clients have succeeded, as the advertisement says.
    pub(crate) fn succeeded(&self) -> i64 {
        let object = self.runtime.block_on(self.objects("Advertisement").get("tool")).unwrap();
        object.data["status"]["clients"]["succeeded"].as_i64().unwrap_or_default()
    }

    /// A copy of an instance's volume.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let done = Command::new("cp").arg("-a").args([from, to]).current_dir(&self.directory).status().unwrap();
        assert!(done.success());
    }

    /// The first instance, which serves and which machines reach.
    pub(crate) fn serve(&self) -> Instance<'_> {
        let mut site = Instance::start(self, "first", &[]);
        site.until_it_serves();
        self.switch_to(&site);
        site
    }

    /// Machines reach this instance from now on; what they had with another one is cut.
    pub(crate) fn switch_to(&self, instance: &Instance<'_>) {
        let mut switch = self.switch.lock().unwrap();
        switch.to = Some(instance.address);
        for connection in switch.through.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// What a verb prints on the machine.
    pub(crate) fn verb(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        let output = command.args(words).current_dir(&self.directory).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The present state of an object that a test declared, or was made for it.
    pub(crate) fn object(&self, kind: &str, name: &str) -> Value {
        let object = self.runtime.block_on(self.objects(kind).get_opt(name)).unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    /// Versions of the package that the point of this state holds: the built-in one of a volume, or another one.
    pub(crate) fn held(&self, state: &str) -> usize {
        let state = self.directory.join(state);
        let own = if state.join("dp").exists() { state.join("dp") } else { state };
        let folder = own.join("content").join(self.namespace).join("tool");
        let is_version = |name: &str| name.starts_with(|letter: char| letter.is_ascii_digit());
        let names =
            fs::read_dir(folder).into_iter().flatten().map_while(Result::ok).filter(|entry| entry.path().is_dir());
        names.filter(|entry| is_version(&entry.file_name().to_string_lossy())).count()
    }

    /// Waits until the program's lines are these, in this order and no others.
    pub(crate) fn until_lines(&self, expected: &[&str]) {
        let lines = || fs::read_to_string(self.lines_file()).unwrap_or_default();
        self.until(&format!("{expected:?}"), || lines().lines().eq(expected.iter().copied()));
    }

    /// The end of every process's log, for whoever reads a failure.
    fn last_words(&self) -> String {
        let files = fs::read_dir(&self.directory).unwrap().flatten().map(|entry| entry.path());
        let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let tail = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let name = path.file_stem().unwrap_or_default().display();
            format!("---- {name}\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        logs.filter(|path| !path.ends_with("audit.log")).map(tail).collect()
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "not in time: {what}\n{}", self.last_words());
            thread::sleep(LOOK);
        }
    }
}

/// One instance of the site, with a volume of its name.
pub(crate) struct Instance<'a> {
    place: &'a Place,
    volume: &'static str,
    address: IpAddr,
    child: Child,
    log_begins: usize,
}

impl<'a> Instance<'a> {
    pub(crate) fn start(place: &'a Place, volume: &'static str, more: &[&str]) -> Self {
        Self::start_through(place, &place.kubeconfig, volume, more)
    }

    /// One that reaches the API server by another kubeconfig than others do, for instance in another namespace.
    pub(super) fn start_through(place: &'a Place, kubeconfig: &Path, volume: &'static str, more: &[&str]) -> Self {
        // Each has an address of its own, as pods have, and all the same ports.
        let last = if volume == "first" { 2 } else { 3 };
        let address = Ipv4Addr::new(127, 0, 0, last);
        let (listen, lease) =
            (SocketAddr::new(address.into(), place.port).to_string(), format!("{}s", place.lease.as_secs()));
        let (api, health) = (format!("{address}:{}", place.port - 1), format!("{address}:{}", place.port + 2));
        let mut words = vec!["site", "--kubeconfig", kubeconfig.to_str().unwrap(), "--state", volume];
        words.extend(["--listen", &listen, "--api-listen", &api, "--health-listen", &health]);
        words.extend(["--advertise", "127.0.0.1", "--source-root", "sources", "--lease", &lease]);
        words.extend(more);
        let log_begins = read(place, volume).len();
        Self { place, volume, address: address.into(), child: spawn(place, volume, &words), log_begins }
    }

    /// Waits until it has the Lease and listens.
    pub(crate) fn until_it_serves(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.endpoints()["pid"] != self.child.id() {
            assert!(self.child.try_wait().unwrap().is_none() && Instant::now() < end, "{}", self.log());
            thread::sleep(LOOK);
        }
    }

    /// Where it listens, as it wrote down; nothing before.
    pub(crate) fn endpoints(&self) -> Value {
        let text = fs::read(self.place.directory.join(self.volume).join("endpoints.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Code and text of a page of its health; `None` while nobody answers.
    pub(crate) fn asked(&self, page: &str) -> Option<(u16, String)> {
        let mut connection = TcpStream::connect((self.address, self.place.port + 2)).ok()?;
        write!(connection, "GET /{page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on: {}", self.log());
            thread::sleep(LOOK);
        }
    }

    /// What it has said since this start.
    pub(crate) fn log(&self) -> String {
        read(self.place, self.volume)[self.log_begins..].to_owned()
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(place: &Place, name: &str) -> String {
    fs::read_to_string(place.directory.join(format!("{name}.log"))).unwrap_or_default()
}

pub(super) fn spawn(place: &Place, name: &str, words: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(place.directory.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(words).current_dir(&place.directory).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
