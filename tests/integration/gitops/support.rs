//! A sync under test: a real embedded API server, a scratch directory or repository, and the ordinary git program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use waybill::{
    api,
    apiserver::{ApiServer, Identity, Options},
    gitops::{
        kinds::Kinds,
        revision::Source,
        sync::{POLL_INTERVAL, RESYNC, RevisionState, SyncConfig, SyncError, run},
    },
};

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, a served place, and a sync between them.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) server: ApiServer,
    pub(super) kinds: Kinds,
    pub(super) resync: Duration,
    sync: Option<Running>,
}

struct Running {
    states: watch::Receiver<RevisionState>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), SyncError>>,
}

impl World {
    /// A server and an empty directory to serve; no sync yet.
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("fleet")).unwrap();
        let crds = api::crds();
        let options = Options {
            database: directory.path().join("api.db"),
            crds: crds.iter().map(|crd| serde_json::to_value(crd).unwrap()).collect(),
            fleet: None,
            callers: Default::default(),
        };
        let server = ApiServer::open(options).unwrap();
        Self { directory, server, kinds: Kinds::of(&crds), resync: RESYNC, sync: None }
    }

    /// The served directory.
    pub(super) fn fleet(&self) -> PathBuf {
        self.directory.path().join("fleet")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.directory.path().join("sync")
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.fleet().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        git(&self.fleet(), arguments)
    }

    /// Commits everything; answers the commit.
    pub(super) fn commit(&self) -> String {
        if !self.fleet().join(".git").exists() {
            self.git(&["init", "--quiet", "--initial-branch=main"]);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=c"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) fn serve_directory(&mut self) {
        self.start(Source::Directory(self.fleet()));
    }

    pub(super) fn serve_branch(&mut self) {
        self.start(Source::Branch { repository: self.fleet(), branch: "main".to_owned() });
    }

    fn start(&mut self, source: Source) {
        let (sender, states) = watch::channel(RevisionState::default());
        let shutdown = CancellationToken::new();
        let config = SyncConfig {
            source,
            state: self.state(),
            name: "git".to_owned(),
            resync: self.resync,
            poll: POLL_INTERVAL,
            compiling: Default::default(),
        };
        let client = self.server.client(Identity::Component("sync".to_owned()));
        let task = tokio::spawn(run(config, client, sender, shutdown.clone()));
        self.sync = Some(Running { states, shutdown, task });
    }

    pub(super) async fn stop(&mut self) {
        let running = self.sync.take().unwrap();
        running.shutdown.cancel();
        running.task.await.unwrap().unwrap();
    }

    /// Where the sync stands now.
    pub(super) fn now(&self) -> RevisionState {
        self.sync.as_ref().unwrap().states.borrow().clone()
    }

    /// Waits until the sync stands as wanted, done with applying.
    pub(super) async fn until(&self, wanted: impl Fn(&RevisionState) -> bool) -> RevisionState {
        let mut states = self.sync.as_ref().unwrap().states.clone();
        let reached = timeout(PATIENCE, states.wait_for(|state| !state.applying && wanted(state))).await;
        match reached {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("not reached: {:#?}", self.now()),
        }
    }

    pub(super) fn api(&self, kind: &str) -> Api<DynamicObject> {
        let kind = self.kinds.get(kind).unwrap();
        let client = self.admin();
        if kind.namespaced {
            Api::namespaced_with(client, "default", &kind.resource)
        } else {
            Api::all_with(client, &kind.resource)
        }
    }

    pub(super) fn admin(&self) -> Client {
        self.server.client(Identity::Admin)
    }

    pub(super) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    /// The names of all objects of a kind, sorted.
    pub(super) async fn names(&self, kind: &str) -> Vec<String> {
        let listed = self.api(kind).list(&ListParams::default()).await.unwrap();
        let mut names: Vec<String> = listed.items.into_iter().filter_map(|object| object.metadata.name).collect();
        names.sort();
        names
    }

    /// Waits until a question about the API is answered with yes.
    pub(super) async fn eventually<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        let end = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < end, "it never happened: {:#?}", self.now());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What somebody with kubectl does.
    pub(super) async fn edit(&self, kind: &str, name: &str, patch: Value) {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.api(kind).patch(name, &params, &Patch::Merge(patch)).await.unwrap();
    }

    /// The Site, with an acknowledgement.
    pub(super) async fn acknowledge(&self, revision: &str) {
        let patch = json!({ "metadata": { "annotations": { api::ACKNOWLEDGE_PRUNE_ANNOTATION: revision } } });
        self.edit("Site", "main", patch).await;
    }
}

pub(super) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) const SITE: &str = "apiVersion: waybill.dev/v1alpha1\nkind: Site\nmetadata: {name: main}\nspec: {}\n---\n";

pub(super) fn collection(name: &str, client: &str) -> String {
    format!(
        "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {{name: {name}}}\nspec: {{clients: [{client}]}}\n---\n"
    )
}

pub(super) fn collections(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| collection(&format!("c{number}"), "a")).collect()
}

/// A package with all that belongs to it: four objects.
pub(super) fn package(name: &str) -> String {
    format!(
        "apiVersion: waybill.dev/v1alpha1\nkind: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{none: {{}}}}}}\n---\n\
         apiVersion: waybill.dev/v1alpha1\nkind: Program\nmetadata: {{name: {name}}}\nspec: {{packageRef: {name}, argv: [/bin/true]}}\n---\n\
         apiVersion: waybill.dev/v1alpha1\nkind: Distribution\nmetadata: {{name: {name}}}\nspec: {{package: {name}, distributionPoints: {{all: {{}}}}}}\n---\n\
         apiVersion: waybill.dev/v1alpha1\nkind: Advertisement\nmetadata: {{name: {name}}}\nspec: {{program: {name}, collection: everybody, userMayStart: true}}\n---\n"
    )
}
