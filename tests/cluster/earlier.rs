//! An earlier release in a cluster: upgraded to the present one, rolled back, and installed again under another name. Helm and the
//! API server are real; what pods would run is run here, as the accounts that the chart made.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use waybill::plan::definitions::{Step, step};

use crate::{
    api_level::{ADMIN, RealApi},
    previous::{self, ADDRESS, Address, PORT},
    require,
};

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// The namespace of every release.
const NAMESPACE: &str = "fleet";
const KINDS: [&str; 8] = [
    "advertisements",
    "clientagentconfigs",
    "collections",
    "distributionpoints",
    "distributions",
    "packages",
    "programs",
    "sites",
];

/// An API server with the tools that a cluster's owner has, and the earlier version's state beside it.
struct Cluster {
    api: RealApi,
    kubectl: PathBuf,
    helm: PathBuf,
    _at: Address,
}

impl Cluster {
    /// Without any definition of ours.
    fn start() -> Option<Cluster> {
        if !require::cluster() {
            return None;
        }
        let (kubectl, helm) = (require::program("kubectl")?, require::program("helm")?);
        let cluster = Cluster { api: RealApi::start()?, kubectl, helm, _at: Address::take() };
        previous::unpack(cluster.directory(), &cluster._at);
        let names = KINDS.map(|kind| format!("crd/{kind}.waybill.dev"));
        cluster.kubectl(&[&["delete"], &names.each_ref().map(String::as_str)[..]].concat());
        Some(cluster)
    }

    fn directory(&self) -> &Path {
        self.api.directory()
    }

    fn run(&self, program: &Path, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(words).arg("--kubeconfig").arg(self.api.kubeconfig_file(&ADMIN, "default"));
        let output = command.env("HOME", self.directory()).current_dir(self.directory()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn kubectl(&self, words: &[&str]) -> String {
        self.run(&self.kubectl, words).unwrap()
    }

    /// No hook: a Job runs on a node. What they run is run by [`Cluster::waybill`].
    #[track_caller]
    fn helm(&self, words: &[&str]) {
        self.run(&self.helm, &[words, &["--namespace", NAMESPACE, "--no-hooks"]].concat()).unwrap();
    }

    #[track_caller]
    fn waybill(&self, words: &[&str]) -> String {
        self.run(Path::new(env!("CARGO_BIN_EXE_waybill")), words).unwrap()
    }

    #[track_caller]
    fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "--output=json"])).unwrap()
    }

    /// Waits until the field of the object is this.
    #[track_caller]
    fn until(&self, what: &str, pointer: &str, expected: &Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.get(what);
            if object.pointer(pointer) == Some(expected) {
                return;
            }
            assert!(Instant::now() < end, "{pointer} is not {expected}: {object:#}\n{}", self.log("site"));
            thread::sleep(Duration::from_millis(200));
        }
    }

    #[track_caller]
    fn until_lines(&self, expected: &[&str]) {
        let end = Instant::now() + PATIENCE;
        while previous::lines(self.directory()) != expected {
            let lines = previous::lines(self.directory());
            assert!(Instant::now() < end, "{lines:?}\n{}\n{}", self.log("site"), self.log("client"));
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.directory().join(format!("{name}.log"))).unwrap_or_default()
    }

    fn spawn(&self, name: &str, words: &[&str]) -> Process {
        let log = self.directory().join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(words).current_dir(self.directory()).stdin(Stdio::null());
        Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// What the release's pod would run, with what its account may.
    fn site(&self, account: &str) -> Process {
        let token = self.kubectl(&["create", "token", account, "--namespace", NAMESPACE]);
        let mut config: Value = serde_json::from_str(&self.api.kubeconfig(&ADMIN, NAMESPACE)).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let file = self.directory().join("site.kubeconfig");
        fs::write(&file, config.to_string()).unwrap();
        let at = |port: u16| format!("{ADDRESS}:{port}");
        let (listen, api, health) = (at(PORT), at(PORT - 1), at(PORT + 2));
        let mut words = vec!["site", "--kubeconfig", file.to_str().unwrap(), "--state", "site", "--lease", "4s"];
        words.extend(["--listen", &listen, "--api-listen", &api, "--health-listen", &health]);
        words.extend(["--source-root", "fleet"]);
        self.spawn("site", &words)
    }
}

/// A process that is asked to end when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn chart() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/waybill").display().to_string()
}

/// The definitions of the earlier release are not put over the cluster's, also not by a program of that time.
fn nothing_is_narrowed(cluster: &Cluster) {
    for kind in KINDS {
        let live = cluster.get(&format!("crd/{kind}.waybill.dev"));
        let file = previous::fixture("chart/crds").join(format!("{kind}.yaml"));
        let earlier: Value = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let step = step(Some(&live), &earlier);
        match kind {
            "sites" => assert!(matches!(&step, Step::Keep { more } if more[0].contains("spec.namespaces")), "{step:?}"),
            _ => assert!(!matches!(step, Step::Refuse { .. }), "{kind}: {step:?}"),
        }
    }
}

#[test]
fn an_earlier_release_is_upgraded_rolled_back_and_installed_under_another_name() {
    let Some(cluster) = Cluster::start() else { return };
    let (fixture, manifests) = (previous::fixture("chart").display().to_string(), "fleet");
    cluster.helm(&["install", "waybill", &fixture, "--create-namespace"]);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/sites.waybill.dev", "--timeout=30s"]);
    let site = r#"{"apiVersion":"waybill.dev/v1alpha1","kind":"Site","metadata":{"name":"main"},"spec":{"messageRetention":"48h"}}"#;
    fs::write(cluster.directory().join("site.json"), site).unwrap();
    cluster.kubectl(&["apply", "--server-side", "--filename", manifests, "--filename", "site.json"]);
    let grant = r#"--patch={"spec":{"namespaces":[{"name":"default"}]}}"#;
    let grant = ["patch", "sites.waybill.dev", "main", "--type=merge", grant];
    cluster.kubectl(&grant);
    assert_eq!(
        cluster.get("sites.waybill.dev/main")["spec"]["namespaces"],
        Value::Null,
        "the earlier release knows no grant"
    );

    // Upgraded: definitions by what the hook runs, then the chart, then the program, which takes up the state.
    let said = cluster.waybill(&["crds", "apply"]);
    assert!(said.contains("sites.waybill.dev: brought to this version"), "{said}");
    cluster.helm(&["upgrade", "waybill", &chart()]);
    cluster.kubectl(&grant);
    let running = cluster.site("waybill");
    let agent = cluster.spawn("client", &["agent", "run", "--state", "client", "--config", "agent.json"]);
    cluster.until("advertisements.waybill.dev/tool", "/status/clients/succeeded", &json!(1));
    cluster.until("advertisements.waybill.dev/broken", "/status/clients/failed", &json!(1));
    assert_eq!(cluster.get("packages.waybill.dev/tool")["status"]["sourceVersion"], 1);
    previous::change_package(cluster.directory());
    cluster.until_lines(&["ran 2"]);

    // Rolled back: nothing that the newer release brought is lost, whoever writes the object now.
    drop(running);
    cluster.helm(&["rollback", "waybill", "1"]);
    nothing_is_narrowed(&cluster);
    cluster.kubectl(&["apply", "--server-side", "--filename", "site.json"]);
    cluster.kubectl(&["annotate", "sites.waybill.dev/main", "touched=yes"]);
    assert_eq!(cluster.get("sites.waybill.dev/main")["spec"]["namespaces"], json!([{"name": "default"}]));

    // Upgraded again, gone, and there again under another name: with the claim, and as the one that it was.
    cluster.helm(&["upgrade", "waybill", &chart()]);
    let kinds =
        "statefulsets,services,serviceaccounts,roles,rolebindings,networkpolicies,clusterroles,clusterrolebindings";
    let left = ["get", kinds, "--namespace", NAMESPACE, "--selector=app.kubernetes.io/name=waybill", "--output=name"];
    assert_ne!(cluster.kubectl(&left), "");
    cluster.helm(&["uninstall", "waybill"]);
    assert_eq!(cluster.kubectl(&left), "");
    let claim = "--set=persistence.existingClaim=waybill-state";
    cluster.helm(&["install", "second", &chart(), claim]);
    let said = cluster.waybill(&["crds", "apply"]);
    assert_eq!(said.matches("is of this version").count(), KINDS.len(), "{said}");
    let words = ["get", "statefulset/second-waybill", "--namespace", NAMESPACE, "--output=json"];
    let set: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let volume = &set["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], "waybill-state", "{set:#}");
    let words = ["get", "persistentvolumeclaim/waybill-state", "--namespace", NAMESPACE, "--output=json"];
    let claim: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    assert_eq!(claim["metadata"]["deletionTimestamp"], Value::Null, "{claim:#}");
    let _running = cluster.site("second-waybill");
    previous::change_package(cluster.directory());
    cluster.until_lines(&["ran 2", "ran 3"]);
    cluster.until("sites.waybill.dev/main", "/status/clients", &json!(1));
    drop(agent);
    let refused: Vec<_> = cluster
        .api
        .requests()
        .into_iter()
        .filter(|r| r.user.starts_with("system:serviceaccount") && r.code == 403)
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
