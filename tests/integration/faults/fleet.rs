//! A whole fleet in which nobody is the only one of its kind, on top of [`World`]: one package whose every version runs
//! once on every client, who started what, and what lies on the points. What a test does with the fleet is the test's.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

use crate::world::World;

/// How many processes of a kind there are, besides the one site.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) points: usize,
    pub(crate) access_points: usize,
    pub(crate) clients: usize,
}

/// A site with its points, access points and clients, all as processes.
pub(crate) struct Fleet {
    pub(crate) world: World,
    size: Size,
    /// What programs do after they noted their start.
    pub(crate) script: &'static str,
}

/// A start that a program noted: which client, which version of the package.
pub(crate) type Start = (String, u64);

impl Fleet {
    /// A fleet of which nothing runs yet.
    pub(crate) fn new(size: Size) -> Self {
        Self { world: World::new(), size, script: "" }
    }

    /// The names of the processes of a kind: `site`, `dp-1`, `cap-1`, `client-1` and so on.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let count = match kind {
            "site" => return vec!["site".to_owned()],
            "dp" => self.size.points,
            "cap" => self.size.access_points,
            _ => self.size.clients,
        };
        (1..=count).map(|number| format!("{kind}-{number}")).collect()
    }

    /// Starts everything.
    pub(crate) fn up(&mut self) {
        self.world.declare("tool");
        self.world.advertise("tool");
        self.world.start("site");
        let names: Vec<String> = ["dp", "cap", "client"].iter().flat_map(|kind| self.names(kind)).collect();
        for name in names {
            self.world.join(&[&name]);
        }
    }

    /// The next version of the package `tool`, with some files beside its program. All of it takes the place of the
    /// version before in one step: the site may look at any moment, and every version is to be one.
    pub(crate) fn publish(&self, version: u64) {
        let (next, place) = (self.world.path("next"), self.world.path("fleet/packages/tool"));
        fs::create_dir_all(next.join("data")).unwrap();
        // Half of the files change, so that there is something to copy and something that is there already.
        for file in 0..8 {
            let seed = if file % 2 == 0 { version } else { 0 };
            let bytes: Vec<u8> = (0..64 << 10).map(|at: u64| ((at / 13) ^ (seed * 31 + file)) as u8).collect();
            fs::write(next.join(format!("data/{file}")), bytes).unwrap();
        }
        let lines = self.world.path("lines");
        let note = format!("echo {version} \"$WAYBILL_CONTENT\" >> '{0}' && sync '{0}'", lines.display());
        let program = next.join("install.sh");
        fs::write(&program, format!("#!/bin/sh\n{note}\n{}\n", self.script)).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(&place).unwrap();
        renameat_with(CWD, &next, CWD, &place, RenameFlags::EXCHANGE).unwrap();
        fs::remove_dir_all(next).unwrap();
    }

    /// How often each client's program of each version noted its start.
    pub(crate) fn starts(&self) -> BTreeMap<Start, u32> {
        let mut starts = BTreeMap::new();
        for (line, count) in self.world.lines() {
            let (version, content) = line.split_once(' ').unwrap();
            let beneath = Path::new(content).strip_prefix(self.world.path("")).unwrap();
            let client = beneath.iter().next().unwrap().to_str().unwrap().to_owned();
            *starts.entry((client, version.parse().unwrap())).or_default() += count;
        }
        starts
    }

    /// What the site's command line tells; `None` while the site does not answer.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let output = self.world.command(words).args(["--state", "site"]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The page of `waybill status`; null while the site does not answer.
    pub(crate) fn status(&self) -> Value {
        self.ask(&["status", "--output", "json"]).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    /// What was said so far: the `status` of every stored message.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let mut text = None;
        self.world.until("the site shows its messages", |_| {
            text = self.ask(&["messages", "--output", "json", "--limit", "100000"]);
            text.is_some()
        });
        let text = text.unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].take()).collect()
    }

    /// The id that the site gave to a client; `None` before it has joined.
    pub(crate) fn client_id(&self, name: &str) -> Option<String> {
        let text = fs::read(self.world.path(name).join("session.json")).ok()?;
        Some(serde_json::from_slice::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned())
    }

    /// Every published version of `tool` on the drives below `state`, with the bytes of its files.
    pub(crate) fn published(&self, state: &str) -> BTreeMap<String, BTreeMap<PathBuf, Vec<u8>>> {
        let mut found = Vec::new();
        find(&self.world.path(state), Path::new("default/tool"), 5, &mut found);
        let mut versions = BTreeMap::new();
        for version in found.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten()) {
            if version.path().is_dir() {
                let mut files = BTreeMap::new();
                read_tree(&version.path(), Path::new(""), &mut files);
                versions.insert(version.file_name().into_string().unwrap(), files);
            }
        }
        versions
    }

    /// The files of the package's source.
    pub(crate) fn source(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        read_tree(&self.world.path("fleet/packages/tool"), Path::new(""), &mut files);
        files
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}\n{:#}", self.world.logs(), self.status());
        }
    }
}

/// Directories that end in `wanted`, down to `depth`.
fn find(directory: &Path, wanted: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    if directory.join(wanted).is_dir() {
        found.push(directory.join(wanted));
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if depth > 0 && entry.path().is_dir() {
            find(&entry.path(), wanted, depth - 1, found);
        }
    }
}

fn read_tree(directory: &Path, beneath: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), beneath.join(entry.file_name()));
        if path.is_dir() {
            read_tree(&path, &name, files);
        } else {
            // It may be removed right now, as a version that is too old.
            files.extend(fs::read(path).ok().map(|bytes| (name, bytes)));
        }
    }
}
