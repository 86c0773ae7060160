//! A machine with an agent process on it, which can be killed and started again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use super::site::Site;

/// How long anything in these tests may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    dir: tempfile::TempDir,
    agent: Option<Child>,
    /// The state directory's name; it can be moved.
    state: &'static str,
}

impl Machine {
    /// A machine that has joined, with its agent running.
    pub(crate) fn of(site: &Site) -> Self {
        Self::with_certificate(site, Duration::from_secs(3_600))
    }

    /// As [`Self::of`], with a certificate of this life.
    pub(crate) fn with_certificate(site: &Site, lifetime: Duration) -> Self {
        let mut machine = Self { dir: tempfile::tempdir().unwrap(), agent: None, state: "state" };
        site.join(&machine.state(), lifetime);
        fs::set_permissions(machine.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // These tests run as whoever runs them, which may be root.
        fs::write(machine.config(), r#"{"allowRoot": true, "factsDirectory": "/nonexistent"}"#).unwrap();
        fs::set_permissions(machine.config(), fs::Permissions::from_mode(0o644)).unwrap();
        machine.start();
        machine
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join(self.state)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("agent.json")
    }

    /// A file for programs to write to, outside the state.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.file(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Changes a byte of the file of this name in every tree of the agent's cache, as a bad disk does: length and mode stay.
    pub(crate) fn damage_cached(&self, name: &str) {
        for tree in fs::read_dir(self.state().join("cache")).unwrap() {
            let path = tree.unwrap().path().join(name);
            let Ok(mut bytes) = fs::read(&path) else { continue };
            bytes[0] ^= 1;
            let mode = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, mode).unwrap();
        }
    }

    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.file("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_waybill-agent"))
            .args(["--log", "waybill=debug,warn", "run", "--state"])
            .arg(self.state())
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.agent = Some(child.unwrap());
    }

    /// Gives the state directory another name, while the agent is off.
    pub(crate) fn move_state(&mut self) {
        let before = self.state();
        self.state = "moved";
        fs::rename(before, self.state()).unwrap();
    }

    /// How the agent ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut().and_then(|agent| agent.try_wait().unwrap())
    }

    /// As kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// The slim agent's verbs, as a local user types them.
    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill-agent"));
        command.args(words).arg("--state").arg(self.state()).output().unwrap()
    }

    /// Waits until `condition` holds.
    pub(crate) fn eventually<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            if Instant::now() > until {
                let log = fs::read_to_string(self.file("log")).unwrap_or_default();
                panic!("gave up waiting: {what}; the agent's log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        let _ = waybill::agent::run::recover(&self.state());
    }
}
