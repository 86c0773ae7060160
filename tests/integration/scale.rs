//! Many packages at once: a thousand of them with programs, distributions and advertisements in one commit, two distribution
//! points, and how often each object is written then. Counted where it is true: at the API server, by watches that were
//! there before.

mod counted;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use waybill::{
    clock,
    db::{
        Database,
        devices::{self, DeviceRow},
    },
    trust::identity::Role,
};

use self::counted::{Seen, Watches, name, resources};
use crate::world::{free_ports, unseal};

/// Packages in the short form. `WAYBILL_TEST_SCALE=1000` asks for more: the size that is promised. Use a build with
/// `--release` for it.
const PACKAGES: usize = 60;
/// Files in the directory of each.
const FILES: usize = 10;
/// Writes of one object at most, from nothing until everything stands.
const WRITES_MAX: u32 = 6;
/// Nothing changes by itself for so long. In the long form longer than two heartbeats of a distribution point.
const SILENCE: Duration = Duration::from_secs(3);
const LONG_SILENCE: Duration = Duration::from_secs(150);
/// Longest wait for what is expected, and more for each package.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_EACH: Duration = Duration::from_millis(900);
/// Kinds of which there are as many as packages.
const MANY: [&str; 4] = ["Package", "Program", "Distribution", "Advertisement"];

#[expect(clippy::disallowed_methods, reason = "the test run's own switch, not a setting of the product")]
fn packages() -> usize {
    std::env::var("WAYBILL_TEST_SCALE").map_or(PACKAGES, |text| text.parse().unwrap())
}

/// A site with another distribution point, as real processes.
struct World {
    scratch: tempfile::TempDir,
    port: u16,
    site: Option<Child>,
    dp: Option<Child>,
}

impl World {
    fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap(), port: free_ports(), site: None, dp: None }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    fn command(&self, words: &[&str], log: &str) -> Command {
        let log = fs::File::options().create(true).append(true).open(self.path(log)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(words).current_dir(self.scratch.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn start_site(&mut self) {
        let listen = format!("127.0.0.1:{}", self.port);
        let words = ["up", "fleet", "--branch", "main", "--state", "site", "--listen", &listen];
        self.site = Some(self.command(&words, "site.log").spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the site does not listen\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn start_point(&mut self) {
        let token = Command::new(env!("CARGO_BIN_EXE_waybill"))
            .args(["token", "create", "--role", "dp", "--state", "site"])
            .current_dir(self.scratch.path())
            .output()
            .unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        fs::write(self.path("dp.json"), token.stdout).unwrap();
        fs::set_permissions(self.path("dp.json"), Permissions::from_mode(0o600)).unwrap();
        let words = ["dp", "--join", "dp.json", "--state", "dp", "--listen", "127.0.0.1:0"];
        self.dp = Some(self.command(&words, "dp.log").spawn().unwrap());
    }

    fn stop_site(&mut self) {
        stop(&mut self.site);
    }

    async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.path("site/kubeconfig")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    fn git(&self, words: &[&str]) {
        let done = Command::new("git").args(words).current_dir(self.path("fleet")).status().unwrap();
        assert!(done.success(), "{words:?}");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message=c",
        ]);
    }

    fn write_packages(&self, count: usize) {
        let head = "apiVersion: waybill.dev/v1alpha1\nkind";
        let fleet = self.path("fleet");
        let all = format!("{head}: Collection\nmetadata: {{name: everybody}}\nspec: {{query: 'true'}}\n");
        fs::write(fleet.join("everybody.yaml"), all).unwrap();
        for number in 0..count {
            let folder = fleet.join(format!("packages/p{number}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("run.sh"), "#!/bin/sh\ntrue\n").unwrap();
            for file in 1..FILES {
                fs::write(folder.join(format!("file{file}")), format!("{number} {file}\n").repeat(40)).unwrap();
            }
            let meta = format!("metadata: {{name: p{number}}}");
            let text = format!(
                "{head}: Package\n{meta}\nspec: {{source: {{directory: {{path: packages/p{number}}}}}}}\n---\n\
                 {head}: Program\n{meta}\nspec: {{packageRef: p{number}, argv: [run.sh]}}\n---\n\
                 {head}: Distribution\n{meta}\nspec: {{package: p{number}, distributionPoints: {{all: {{}}}}, minAvailable: 2}}\n---\n\
                 {head}: Advertisement\n{meta}\nspec: {{program: p{number}, collection: everybody, userMayStart: true}}\n"
            );
            fs::write(fleet.join(format!("p{number}.yaml")), text).unwrap();
        }
    }

    /// Three clients that have joined and are off: they are offered everything and say nothing.
    async fn add_clients(&self) {
        let database = Database::open(&self.path("site/site.db"), clock::now()).unwrap();
        for id in ["c-1", "c-2", "c-3"] {
            let now_ms = clock::now_unix_ms();
            let row = DeviceRow {
                id: id.into(),
                role: Role::Client,
                name: id.into(),
                hostname: id.into(),
                labels: BTreeMap::default(),
                blocked: false,
                certificate: String::new(),
                not_after_ms: now_ms + 86_400_000,
                joined_at_ms: now_ms,
                last_seen_ms: now_ms,
                agent_version: "1".into(),
            };
            database.write(move |tx| devices::join(tx, &row)).await.unwrap();
        }
    }

    fn logs(&self) -> String {
        let tail = |name: &&str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("---- {name}\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        ["site.log", "dp.log"].iter().map(tail).collect()
    }

    async fn until(&self, what: &str, patience: Duration, holds: impl Fn() -> bool) {
        let end = Instant::now() + patience;
        while !holds() {
            assert!(Instant::now() < end, "not in time: {what}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn stop(process: &mut Option<Child>) {
    let Some(mut child) = process.take() else { return };
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let _ = child.wait();
}

impl Drop for World {
    fn drop(&mut self) {
        stop(&mut self.dp);
        stop(&mut self.site);
        unseal(self.scratch.path());
    }
}

/// The version of every object of ours.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for resource in resources().iter().filter(|one| one.group.ends_with("waybill.dev")) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
        for object in api.list(&ListParams::default()).await.unwrap() {
            let full = name(&resource.kind, &object.namespace().unwrap_or_default(), &object.name_any());
            all.insert(full, object.resource_version().unwrap());
        }
    }
    all
}

/// Waits until both distribution points are known and have reported.
async fn both_points(world: &World, client: &Client) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", "DistributionPoint"));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let end = Instant::now() + PATIENCE;
    loop {
        let points = api.list(&ListParams::default()).await.unwrap();
        if points.items.iter().filter(|point| point.data["status"]["url"].is_string()).count() == 2 {
            return;
        }
        assert!(Instant::now() < end, "the second point does not report\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks the controllers for one more object and waits until they have dealt with it.
async fn probe(world: &World, client: &Client, number: u32) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", "Package"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let probe = format!("probe-{number}");
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Package",
        "metadata": {"name": probe}, "spec": {"source": {"none": {}}}});
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let now = api.get(&probe).await.unwrap();
        let conditions = now.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True") {
            return;
        }
        assert!(Instant::now() < end, "the controllers do not come to a new package\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_costs_few_writes_and_then_none() {
    waybill::transport::install_crypto();
    let count = packages();
    let is_long = count > PACKAGES;
    let mut world = World::new();
    fs::create_dir(world.path("fleet")).unwrap();
    world.git(&["init", "--quiet", "--initial-branch=main"]);
    fs::write(world.path("fleet/README"), "empty\n").unwrap();
    world.commit();
    world.start_site();
    world.stop_site();
    world.add_clients().await;
    world.start_site();
    world.start_point();
    let client = world.client().await;
    let watches = Watches::start(&client).await;
    let seen = watches.seen.clone();
    both_points(&world, &client).await;

    let started = Instant::now();
    world.write_packages(count);
    world.commit();
    let all: BTreeSet<String> = (0..count)
        .flat_map(|number| MANY.map(|kind| name(kind, "default", &format!("p{number}"))))
        .chain([name("Collection", "default", "everybody")])
        .collect();
    let installed = |seen: &Seen, number: usize| {
        let package = seen.now.get(&name("Package", "default", &format!("p{number}")));
        package.is_some_and(|package| package["status"]["distribution"]["installed"] == 2)
    };
    let stands = || {
        let seen = seen.lock().unwrap();
        all.iter().all(|name| seen.is_ready(name)) && (0..count).all(|number| installed(&seen, number))
    };
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(count).unwrap();
    world.until("everything stands", patience, stands).await;
    eprintln!("{count} packages stand after {:.1} s", started.elapsed().as_secs_f64());
    world.until("it comes to rest", PATIENCE, || watches.quiet_for(SILENCE)).await;
    let elapsed = started.elapsed();

    {
        let seen = seen.lock().unwrap();
        let mut spread: BTreeMap<(String, u32), u32> = BTreeMap::new();
        for (name, writes) in &seen.writes {
            *spread
                .entry((
                    name.split(' ').take(3).take_while(|word| !word.contains('/')).collect::<Vec<_>>().join(" "),
                    *writes,
                ))
                .or_default() += 1;
        }
        eprintln!("objects by kind and number of writes: {spread:?}");
        for object in &all {
            let writes = seen.writes.get(object).copied().unwrap_or(0);
            assert!((1..=WRITES_MAX).contains(&writes), "{writes} writes of {}", seen.tell(object));
            let events = seen.writes.get(&format!("events of {object}")).copied().unwrap_or(0);
            let turns = seen.turns.get(object).copied().unwrap_or(0);
            assert!(events <= turns, "{events} events, but only {turns} turns of {}", seen.tell(object));
        }
        let leases_max = u32::try_from(elapsed.as_secs() / 10).unwrap() + 1;
        assert!(seen.leases <= leases_max, "{} writes of leases in {elapsed:?}", seen.leases);
    }

    let before = versions(&client).await;
    tokio::time::sleep(if is_long { LONG_SILENCE } else { SILENCE }).await;
    assert_same(&before, &versions(&client).await, "time alone");
    drop(watches);
    for restart in 1..=2 {
        world.stop_site();
        world.start_site();
        let client = world.client().await;
        let watches = Watches::start(&client).await;
        probe(&world, &client, restart).await;
        world.until("it comes to rest", PATIENCE, || watches.quiet_for(SILENCE)).await;
        let mut after = versions(&client).await;
        after.retain(|name, _| !name.contains("/probe-") && !name.starts_with("Site "));
        // The site's own summary may say that a point was away for a moment.
        let others = before.iter().filter(|(name, _)| !name.starts_with("Site "));
        let others = others.map(|(name, version)| (name.clone(), version.clone())).collect();
        assert_same(&others, &after, "a restart");
    }
    // The sync compares everything again: a commit that changes nothing shows at the site, where it is reported.
    let client = world.client().await;
    let site = name("Site", "", "main");
    let told = versions(&client).await.get(&site).cloned();
    world.commit();
    let end = Instant::now() + PATIENCE;
    loop {
        let mut after = versions(&client).await;
        after.retain(|name, _| !name.contains("/probe-"));
        let is_told = after.get(&site) != told.as_ref();
        after.retain(|name, _| *name != site);
        let others = before.iter().filter(|(name, _)| **name != site);
        let others = others.map(|(name, version)| (name.clone(), version.clone())).collect();
        assert_same(&others, &after, "a commit that changes nothing");
        if is_told {
            break;
        }
        assert!(Instant::now() < end, "the commit is not reported");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, what: &str) {
    let differ: Vec<_> = before.iter().filter(|(name, version)| after.get(*name) != Some(*version)).take(5).collect();
    assert!(
        differ.is_empty() && before.len() == after.len(),
        "{what} changed {differ:?}, {} before, {} after",
        before.len(),
        after.len()
    );
}
