//! From an edited file to a program that ran on a client, and away again, with real processes: a site, a distribution point
//! and an agent. Every program appends one line, written through to disk, each time it starts: that is the truth.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing must happen before it counts as not happening.
const SILENCE: Duration = Duration::from_secs(3);
/// Versions of the package in the kill test.
const ROUNDS: u64 = 4;

/// A scratch directory with a served directory and the processes of a small site.
struct World {
    scratch: tempfile::TempDir,
    port: u16,
    processes: BTreeMap<&'static str, Child>,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("agent.json"), r#"{"allowRoot": true}"#).unwrap();
        Self { scratch, port: free_ports(), processes: BTreeMap::new() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path("fleet").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn take_out(&self, path: &str) {
        fs::remove_file(self.path("fleet").join(path)).unwrap();
    }

    /// A package whose program notes its version, for everybody.
    fn package(&self, name: &str, version: u64) {
        let lines = self.path("lines");
        self.write(
            &format!("packages/{name}/install.sh"),
            &format!("#!/bin/sh\necho {name} {version} >> '{0}' && sync '{0}'\nsleep 0.3\n", lines.display()),
        );
        let head = "apiVersion: waybill.dev/v1alpha1\nkind";
        self.write(
            &format!("{name}.yaml"),
            &format!(
                "{head}: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{directory: {{path: packages/{name}}}}}}}\n---\n\
                 {head}: Program\nmetadata: {{name: {name}}}\nspec: {{packageRef: {name}, argv: [install.sh]}}\n---\n\
                 {head}: Distribution\nmetadata: {{name: {name}}}\nspec: {{package: {name}, distributionPoints: {{all: {{}}}}}}\n"
            ),
        );
    }

    fn advertise(&self, name: &str) {
        let head = "apiVersion: waybill.dev/v1alpha1\nkind";
        self.write(
            &format!("{name}-offer.yaml"),
            &format!(
                "{head}: Advertisement\nmetadata: {{name: {name}}}\n\
                 spec: {{program: {name}, collection: everybody, assignments: [{{asSoonAsPossible: {{}}}}], rerun: OncePerVersion}}\n"
            ),
        );
        self.write(
            "everybody.yaml",
            &format!("{head}: Collection\nmetadata: {{name: everybody}}\nspec: {{query: 'true'}}\n"),
        );
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(words).current_dir(self.scratch.path()).stdin(Stdio::null());
        command
    }

    /// Starts a process that stays; its log is appended to.
    fn start(&mut self, name: &'static str) {
        let listen = format!("127.0.0.1:{}", self.port);
        let words: &[&str] = match name {
            "site" => &["up", "fleet", "--state", "site", "--listen", &listen],
            "dp" => &["dp", "--join", "dp.json", "--state", "dp", "--listen", "127.0.0.1:0"],
            _ => &["agent", "run", "--join", "client.json", "--state", "client", "--config", "agent.json"],
        };
        let log = fs::File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let child = self.command(words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.processes.insert(name, child);
        if name == "site" {
            let port = self.port;
            self.until("the site listens", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    /// Kills it without a word, and starts it again.
    fn kill(&mut self, name: &'static str) {
        let mut child = self.processes.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.start(name);
    }

    /// A site with another distribution point and a client.
    fn up(&mut self) {
        self.start("site");
        for role in ["dp", "client"] {
            let output = self.command(&["token", "create", "--role", role, "--state", "site"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let file = self.path(&format!("{role}.json"));
            fs::write(&file, output.stdout).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        self.start("dp");
        self.start("client");
    }

    /// How often each line was written.
    fn lines(&self) -> BTreeMap<String, u32> {
        let text = fs::read_to_string(self.path("lines")).unwrap_or_default();
        let mut counted = BTreeMap::new();
        for line in text.lines() {
            *counted.entry(line.to_owned()).or_default() += 1;
        }
        counted
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not in time: {what}; lines: {:?}\n{}", self.lines(), self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let tail = |name: &&str| {
            let text = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("---- {name}\n{}\n", lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        ["site", "dp", "client"].iter().map(tail).collect()
    }

    /// Whether a version of the package lies on a drive of `state`.
    fn published(&self, state: &str, package: &str) -> bool {
        holds(&self.path(state), Path::new("default").join(package).as_path(), 6)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in ["client", "dp", "site"] {
            let Some(mut child) = self.processes.remove(name) else { continue };
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
        unseal(self.scratch.path());
    }
}

/// A port that is free together with its neighbours, below those that the kernel gives to anybody.
fn free_ports() -> u16 {
    let seed = u16::try_from(waybill::clock::now_unix_ms().rem_euclid(2_000)).unwrap();
    let free = |port: u16| (port - 1..=port + 2).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (0..2_000).map(|step| 20_000 + (seed + step) % 2_000 * 4 + 1).find(|port| free(*port)).unwrap()
}

fn holds(directory: &Path, wanted: &Path, depth: u32) -> bool {
    if fs::read_dir(directory.join(wanted)).is_ok_and(|mut entries| entries.next().is_some()) {
        return true;
    }
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    depth > 0 && below.filter(|entry| entry.path().is_dir()).any(|entry| holds(&entry.path(), wanted, depth - 1))
}

/// Makes read-only directories writable, so that a scratch directory can be removed.
pub(super) fn unseal(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unseal(&entry.path());
        }
    }
}

#[test]
fn a_file_becomes_a_program_that_ran_once_per_version_until_it_is_withdrawn_and_removed() {
    let mut world = World::new();
    world.package("tool", 1);
    world.package("other", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    world.until("both points hold it", |world| world.published("site", "tool") && world.published("dp", "tool"));

    world.package("tool", 2);
    world.until("version 2 runs", |world| world.lines().contains_key("tool 2"));

    // Withdrawn: a new version reaches the points, and no client.
    world.take_out("tool-offer.yaml");
    thread::sleep(SILENCE);
    world.package("tool", 3);
    thread::sleep(SILENCE);
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1), ("tool 2".to_owned(), 1)].into());

    world.take_out("tool.yaml");
    world.until("no point holds it", |world| !world.published("site", "tool") && !world.published("dp", "tool"));
    assert!(world.published("site", "other"), "the other package stays");
    assert_eq!(world.lines().len(), 2);
}

#[test]
fn kill_minus_nine_of_anybody_duplicates_nothing_and_loses_nothing() {
    let seed = waybill::clock::now_unix_ms().cast_unsigned();
    eprintln!("seed {seed}");
    let mut random = seed | 1;
    let mut next = move |below: u64| {
        // xorshift64: good enough to spread kills.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.until("version 1 runs", |world| world.lines().contains_key("tool 1"));
    let mut expected = BTreeMap::from([("tool 1".to_owned(), 1)]);
    for version in 2..2 + ROUNDS {
        world.package("tool", version);
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(next(700)));
            let victim = ["site", "dp", "client"][usize::try_from(next(3)).unwrap()];
            eprintln!("version {version}: kill {victim}");
            world.kill(victim);
        }
        let line = format!("tool {version}");
        world.until(&line, |world| world.lines().contains_key(&line));
        expected.insert(line, 1);
    }
    thread::sleep(SILENCE);
    // No supervisor was killed, so not one line may be missing.
    assert_eq!(world.lines(), expected, "seed {seed}\n{}", world.logs());
}
