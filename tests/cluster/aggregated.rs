//! The fleet's rows as a part of a real API server's own API: the site is a process beside it, under an account that may what the
//! chart gives it, and the Service a name that leads to this machine. The node's test has the Service's own network.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Namespace, Service},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, api::PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, Authority, FRONT_PROXY, RealApi, User},
    chart::{self, SITE},
    require,
    tenure::site::{Instance, Place},
};

/// Owns the fleet.
const ANN: User = User { name: "ann@example.com", group: None };
/// Reads what is declared.
const BOB: User = User { name: "bob", group: None };
/// The object that hands requests on.
const API_SERVICE: &str = "v1alpha1.fleet.waybill.dev";
/// The Service that the chart makes for it, for a release `waybill` in `default`.
const SERVICE: &str = "default/waybill-api";
/// As long as usual: nobody takes over here.
const LEASE: Duration = Duration::from_secs(40);

/// kubectl with the plugin in its `PATH`.
struct Kubectl<'a> {
    program: PathBuf,
    api: &'a RealApi,
}

impl<'a> Kubectl<'a> {
    fn of(api: &'a RealApi) -> Option<Self> {
        let program = require::program("kubectl")?;
        let plugins = api.directory().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_waybill"), plugins.join("kubectl-waybill")).unwrap();
        Some(Self { program, api })
    }

    fn run(&self, user: &User, words: &[&str]) -> Output {
        let path =
            format!("{}:{}", self.api.directory().join("plugins").display(), self.program.parent().unwrap().display());
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", path).env("HOME", self.api.directory());
        command.env("KUBECONFIG", self.api.kubeconfig_file(user, "default"));
        command.args(words).output().unwrap()
    }

    #[track_caller]
    fn prints(&self, user: &User, words: &[&str]) -> String {
        let output = self.run(user, words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refuses(&self, user: &User, words: &[&str]) -> String {
        let output = self.run(user, words);
        assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Makes what the chart has for the fleet API, and gives the site's account its rights. Requests for the group go to `port`.
async fn install(client: &Client, helm: &Path, port: u16) {
    let objects = chart::rendered_with(helm, &["fleetApi.enabled=true"]);
    chart::give(client, &objects, "waybill", &SITE).await;
    for mut object in objects {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "Service" if name == "waybill-api" => {
                // Services have no network here; a name is resolved by the machine.
                object["spec"] = json!({"type": "ExternalName", "externalName": "localhost"});
                let services: Api<Service> = Api::default_namespaced(client.clone());
                services.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
            }
            "APIService" => {
                assert!(
                    object["spec"].get("insecureSkipTLSVerify").is_none() && object["spec"].get("caBundle").is_none()
                );
                object["spec"]["service"]["port"] = json!(port);
                let all: Api<APIService> = Api::all(client.clone());
                all.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
            }
            _ => {}
        }
    }
    chart::make_roles_for_people(client, helm).await;
    chart::bind(client, "waybill-approver", ANN.name, None).await;
    chart::bind(client, "waybill-view", BOB.name, None).await;
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// What the chart's notes say lifts the trouble.
fn command_of_the_notes(helm: &Path) -> Vec<String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/waybill");
    let mut command = Command::new(helm);
    command.args(["install", "waybill", "--dry-run=client", "--set=fleetApi.enabled=true"]).arg(chart);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("A SITE THAT IS DOWN STOPS THE DELETION OF EVERY NAMESPACE"), "{said}");
    let (_, lifts) = said.split_once("This lifts it").unwrap();
    let line = lifts.lines().find_map(|line| line.trim().strip_prefix("kubectl ")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

async fn make_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
}

/// A client that shows this certificate, and believes whoever answers.
fn caller(certificate_pem: &str, key_pem: &str) -> reqwest::Client {
    let identity = reqwest::Identity::from_pem(format!("{certificate_pem}{key_pem}").as_bytes()).unwrap();
    reqwest::Client::builder().identity(identity).tls_danger_accept_invalid_certs(true).build().unwrap()
}

/// What the listener says to whoever claims to be somebody: the code, or that there is no connection.
async fn claims(client: &reqwest::Client, port: u16) -> Option<u16> {
    let url = format!("https://127.0.0.1:{port}/apis/fleet.waybill.dev/v1alpha1/clients");
    let asked = client.get(url).header("X-Remote-User", "ann@example.com").header("X-Remote-Group", "system:masters");
    asked.send().await.ok().map(|answer| answer.status().as_u16())
}

/// Nobody but the API server's front proxy speaks to the listener, whatever they claim.
async fn nobody_else_gets_in(api: &RealApi, port: u16) {
    let file = |name: &str| std::fs::read_to_string(api.directory().join(name)).unwrap();
    let nobody = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    assert_eq!(claims(&nobody, port).await, None, "no certificate");
    let foreign = Authority::new("test front proxy").unwrap().user(&FRONT_PROXY).unwrap();
    assert_eq!(
        claims(&caller(&foreign.certificate_pem, &foreign.key_pem), port).await,
        None,
        "its name, not its authority"
    );
    let proxy = caller(&file("front-proxy.crt"), &file("front-proxy.key"));
    assert_eq!(claims(&proxy, port).await, Some(200), "the proxy itself");
}

#[test]
fn rows_are_a_part_of_the_clusters_api_under_everybodys_own_name() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start_collecting().unwrap();
    let Some(kubectl) = Kubectl::of(&api) else { return };
    let port = free_port();
    let place = Place::new(&api).with_lease(LEASE);
    let client = place.block_on(api.client(&ADMIN, "default"));
    place.block_on(install(&client, &helm, port));
    let listen = format!("127.0.0.1:{port}");
    let mut site = Instance::start(&place, "first", &["--aggregate", SERVICE, "--aggregate-listen", &listen]);
    site.until_it_serves();
    place.switch_to(&site);
    kubectl.prints(&ADMIN, &["wait", "apiservice", API_SERVICE, "--for=condition=Available", "--timeout=60s"]);

    // An invitation, a machine, its row and its labels' column: kubectl as it is, and the plugin without another account.
    let join: Value =
        serde_json::from_str(&kubectl.prints(&ANN, &["waybill", "token", "create", "--role=client"])).unwrap();
    let _machine = place.join_with(&join, "machine");
    place.until("the machine is listed", || kubectl.prints(&ANN, &["get", "clients"]).lines().count() == 2);
    let listed = kubectl.prints(&ANN, &["get", "clients", "--output=wide"]);
    assert!(listed.starts_with("NAME ") && listed.contains(" HOSTNAME ") && listed.contains(" LABELS "), "{listed}");
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(kubectl.prints(&ANN, &["waybill", "clients"]).contains(id));
    // The API server takes schemas over when it comes to it.
    place.until("schemas are known", || kubectl.run(&ANN, &["explain", "client"]).status.success());
    let explained = kubectl.prints(&ANN, &["explain", "client.status.hostname"]);
    assert!(explained.contains("What the machine calls itself"), "{explained}");
    assert!(kubectl.prints(&ANN, &["waybill", "clients", "block", id]).contains("blocked client"));
    let messages = kubectl.prints(&ANN, &["waybill", "messages", "--component=security"]);
    let act = messages.lines().find(|line| line.ends_with(&format!(") blocked client {id}"))).expect(&messages);
    assert!(act.contains(&format!("{} (X509SHA256=", ANN.name)), "herself, by what she showed the API server: {act}");

    // Who may not is refused by the cluster's own rules, and rows are neither deleted nor changed this way.
    let said = kubectl.refuses(&BOB, &["get", "clients"]);
    assert!(said.contains(r#"User "bob" cannot list resource "clients" in API group "fleet.waybill.dev""#), "{said}");
    assert_eq!(kubectl.prints(&BOB, &["get", "clientstatuses", "--all-namespaces", "--output=name"]), "");
    let said = kubectl.refuses(&ANN, &["delete", "client", id]);
    assert!(said.contains("does not allow this method"), "{said}");
    let said = kubectl.refuses(&ANN, &["waybill", "clients", "label", id, "ring=pilot"]);
    assert!(said.contains("--service-account"), "changing asks the site itself: {said}");
    let resources = kubectl.prints(&BOB, &["api-resources", "--api-group=fleet.waybill.dev", "--output=wide"]);
    assert!(
        !resources.contains("delete") && !resources.contains("patch") && resources.contains("create"),
        "{resources}"
    );
    place.block_on(nobody_else_gets_in(&api, port));

    // The site's account did not ask for more than the chart gives it.
    let refused: Vec<_> = api.requests().into_iter().filter(|r| r.user == SITE.name && r.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    // Dead, it stops the deletion of every namespace, until the command of the chart's notes is run.
    place.block_on(make_namespace(&client, "doomed"));
    site.signal(Signal::KILL);
    let said = |name: &str| {
        let words = ["get", "namespace", name, "--ignore-not-found", "--output=jsonpath={.status.conditions}"];
        kubectl.prints(&ADMIN, &words)
    };
    kubectl.prints(&ADMIN, &["wait", "apiservice", API_SERVICE, "--for=condition=Available=False", "--timeout=60s"]);
    kubectl.prints(&ADMIN, &["delete", "namespace", "doomed", "--wait=false"]);
    place.until("the namespace stays", || said("doomed").contains("NamespaceDeletionDiscoveryFailure"));
    let fails = kubectl.refuses(&ANN, &["waybill", "clients"]);
    assert!(fails.contains("the site does not answer there") && fails.contains("kubectl get apiservice"), "{fails}");
    let lifts = command_of_the_notes(&helm);
    kubectl.prints(&ADMIN, &lifts.iter().map(String::as_str).collect::<Vec<_>>());
    kubectl.prints(&ADMIN, &["wait", "namespace/doomed", "--for=delete", "--timeout=120s"]);
}

#[test]
fn without_it_a_dead_server_leaves_discovery_clean() {
    let Some(api) = require::cluster().then(|| RealApi::start_collecting().unwrap()) else { return };
    let Some(kubectl) = Kubectl::of(&api) else { return };
    let place = Place::new(&api);
    let client = place.block_on(api.client(&ADMIN, "default"));
    let mut site = Instance::start(&place, "first", &[]);
    site.until_it_serves();
    place.block_on(make_namespace(&client, "doomed"));
    site.signal(Signal::KILL);
    let output = kubectl.run(&ADMIN, &["api-resources", "--output=name"]);
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(printed.contains("packages.waybill.dev") && !printed.contains("fleet.waybill.dev"), "{printed}");
    kubectl.prints(&ADMIN, &["delete", "namespace", "doomed", "--timeout=60s"]);
}

#[test]
fn an_api_service_of_another_site_is_left_alone() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let port = free_port();
    let place = Place::new(&api).with_lease(LEASE);
    let client = place.block_on(api.client(&ADMIN, "default"));
    place.block_on(install(&client, &helm, port));
    let listen = format!("127.0.0.1:{port}");
    let mut site =
        Instance::start(&place, "first", &["--aggregate", "other/waybill-api", "--aggregate-listen", &listen]);
    site.until_it_serves();
    place.until("it says so", || site.log().contains("leads to Service default/waybill-api and not to this site"));
    let services: Api<APIService> = Api::all(client);
    let found = place.block_on(services.get(API_SERVICE)).unwrap();
    assert!(found.spec.unwrap().ca_bundle.is_none());
}
