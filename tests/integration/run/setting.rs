//! A client's state directory with a package in it, and the way to run its programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use waybill::agent::run::ticket::TicketContent;
use waybill::agent::run::{End, Ending, Intent, Launcher, RunHandle, Settled, StartError, State, Ticket, start};
use waybill::clock;
use waybill::content::{Digest, Entry, Manifest};
use waybill::model::identity::{ObjectName, ProgramIdentity};
use waybill::plan::run::{Occurrence, RunKey};

/// How long anything in these tests may take before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client with one package.
pub(crate) struct Client {
    dir: tempfile::TempDir,
}

impl Client {
    /// A client that holds these files, every one of them executable.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        Self::with_bytes(&files)
    }

    pub(crate) fn with_bytes(files: &[(&str, &[u8])]) -> Self {
        let client = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(client.state_dir()).unwrap();
        let content = client.content_dir();
        fs::create_dir(&content).unwrap();
        let mut entries = Vec::new();
        for (path, bytes) in files {
            let file = content.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o555)).unwrap();
            entries.push(Entry {
                path: path.parse().unwrap(),
                size_bytes: bytes.len() as u64,
                executable: true,
                digest: Digest::of(bytes),
            });
        }
        seal(&content);
        fs::write(client.manifest(), Manifest::new(entries).unwrap().encode().unwrap()).unwrap();
        client
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn content_dir(&self) -> PathBuf {
        self.dir.path().join("content")
    }

    fn manifest(&self) -> PathBuf {
        self.dir.path().join("manifest.json")
    }

    /// A ticket for this command line on the package's content.
    pub(crate) fn ticket(&self, argv: &[&str]) -> Ticket {
        let manifest_digest = Digest::of(&fs::read(self.manifest()).unwrap());
        Ticket {
            package: "tool".into(),
            program: "install".into(),
            source_version: 7,
            content: Some(TicketContent { dir: self.content_dir(), manifest: self.manifest(), manifest_digest }),
            argv: argv.iter().map(ToString::to_string).collect(),
            cwd: None,
            env: BTreeMap::new(),
            run_as: None,
            max_runtime_seconds: PATIENCE.as_secs(),
            term_grace_seconds: 1,
            system_paths: vec!["/bin/sh".into()],
            // These tests run as whoever runs them, which may be root.
            allow_root: true,
        }
    }

    pub(crate) fn start(&self, run_key: &str, ticket: &Ticket) -> Result<RunHandle, StartError> {
        start(&self.state_dir(), &intent(run_key, 1), ticket, &launcher())
    }

    /// Runs to the end.
    pub(crate) fn run(&self, ticket: &Ticket) -> Settled {
        self.start("a run", ticket).unwrap().wait()
    }

    /// Runs `script` with the machine's shell; how it ended and what it wrote.
    pub(crate) fn shell(&self, script: &str) -> (Ending, String) {
        let settled = self.run(&self.ticket(&["/bin/sh", "-c", script]));
        (ending(&settled), output(&settled))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A killed supervisor leaves its control group to the next agent.
        let _ = waybill::agent::run::recover(&self.state_dir());
        unseal(&self.content_dir());
    }
}

/// Takes the right to write from every directory below `dir`, as publishing does.
fn seal(dir: &Path) {
    each_dir(dir, 0o555);
}

/// Gives it back, so that the content can be tampered with and removed.
pub(crate) fn unseal(dir: &Path) {
    each_dir(dir, 0o755);
}

fn each_dir(dir: &Path, mode: u32) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            each_dir(&entry.path(), mode);
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
}

/// A run key that differs by `name`.
pub(crate) fn key(name: &str) -> RunKey {
    let program = ProgramIdentity {
        site: "s01".into(),
        namespace: "default".into(),
        package: "tool".into(),
        program: "install".into(),
    };
    RunKey { program, occurrence: Occurrence::Token(name.into()) }
}

pub(crate) fn intent(run_key: &str, attempt: u32) -> Intent {
    Intent {
        run_key: key(run_key),
        source_version: 7,
        program_digest: Digest::of(b"program").to_string(),
        record_digest: Digest::of(b"record"),
        manifest_digest: Some(Digest::of(b"manifest")),
        advertisement: ObjectName::new("default", "everyone"),
        attempt,
        user: None,
        for_dependency: false,
        success_codes: vec![0],
        created_at: clock::now(),
    }
}

pub(crate) fn launcher() -> Launcher {
    Launcher { program: env!("CARGO_BIN_EXE_waybill-agent").into(), verb: vec!["supervise".into()] }
}

/// The end of a run that has one.
pub(crate) fn end(settled: &Settled) -> End {
    match &settled.state {
        Ok(State::Ended(end)) => end.clone(),
        other => {
            let log = fs::read_to_string(settled.run_dir.join("supervisor.log")).unwrap_or_default();
            panic!("the run has no end: {other:?}; its supervisor says: {log}")
        }
    }
}

pub(crate) fn ending(settled: &Settled) -> Ending {
    end(settled).ending
}

pub(crate) fn output(settled: &Settled) -> String {
    String::from_utf8(waybill::agent::run::output::read_output(&settled.run_dir).unwrap()).unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ids of the living processes whose command line contains `word`.
pub(crate) fn processes_with(word: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).replace('\0', " ").contains(word) {
            found.push(pid);
        }
    }
    found
}

/// Ends one process at once.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // It may have ended by itself meanwhile.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
