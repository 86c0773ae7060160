//! The fleet group of a whole running site: its database is filled as devices would fill it, then read, labelled, blocked,
//! invited and explained through the embedded API, with kube and with the real kubectl.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use waybill::{
    clock,
    db::{
        Database,
        devices::{self, DeviceRow},
        messages::{Sender, store_batch},
    },
    model::{
        message::{ADVERTISEMENT, Component, MessageType, Severity, StatusMessage},
        reason::Reason,
        state::RunState,
    },
    site::{self, Endpoints, Listen, Options, Served},
    trust::identity::Role,
};

use crate::require;

const MANIFESTS: &str = "
apiVersion: waybill.dev/v1alpha1
kind: Package
metadata: {name: tools, namespace: default}
spec: {source: {none: {}}}
---
apiVersion: waybill.dev/v1alpha1
kind: Program
metadata: {name: install, namespace: default}
spec: {packageRef: tools, argv: [/bin/true]}
---
apiVersion: waybill.dev/v1alpha1
kind: Collection
metadata: {name: pilots, namespace: default}
spec: {query: 'has(client.labels.ring) && client.labels.ring == \"pilot\"'}
---
apiVersion: waybill.dev/v1alpha1
kind: Advertisement
metadata: {name: tools, namespace: default}
spec: {program: install, collection: pilots, assignments: [{asSoonAsPossible: {}}]}
";

/// A running site and another handle on its database.
struct Site {
    directory: tempfile::TempDir,
    endpoints: Endpoints,
    database: Database,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), site::SiteError>>,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(MANIFESTS, None).await
    }

    /// With these manifests, and everything looked at as often as this.
    async fn start_with(manifests: &str, look_interval: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (served, state) = (directory.path().join("fleet"), directory.path().join("state"));
        std::fs::create_dir(&served).unwrap();
        std::fs::write(served.join("tools.yaml"), manifests).unwrap();
        let mut options = Options::new(state.clone(), Served::Directory(served));
        options.listen = Listen::new(([127, 0, 0, 1], 0).into());
        options.look_interval = look_interval;
        let (ready, listening) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(site::run(options, ready, shutdown.clone()));
        let endpoints = listening.await.unwrap().endpoints;
        let database = Database::open(&state.join("site.db"), clock::now()).unwrap();
        for id in ["c-1", "c-2"] {
            database.write(move |tx| devices::join(tx, &device(id))).await.unwrap();
        }
        Self { directory, endpoints, database, shutdown, task }
    }

    async fn client(&self, file: &str) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.directory.path().join("state").join(file)).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// The client says that its run failed.
    async fn fails(&self, client: &'static str) {
        let now_ms = clock::now_unix_ms();
        let message = StatusMessage {
            time_ms: now_ms,
            severity: Severity::Error,
            message_type: MessageType::Milestone,
            component: Component::ClientAgent,
            message_id: 10_006,
            text: "Program install failed: it ended with exit code 7".into(),
            reason: Some(Reason::ExitCode),
            state: Some(RunState::Failed),
            attributes: [(ADVERTISEMENT.to_owned(), "default/tools".to_owned()), ("exitCode".into(), "7".into())]
                .into(),
        };
        let store = move |tx: &mut waybill::db::Tx| {
            let sender = Sender { id: client, role: Role::Client, name: client, site: "main" };
            store_batch(tx, &sender, "outbox-1", &[(1, message)], now_ms)
        };
        self.database.write(store).await.unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn device(id: &str) -> DeviceRow {
    let now_ms = clock::now_unix_ms();
    DeviceRow {
        id: id.into(),
        role: Role::Client,
        name: id.into(),
        hostname: format!("host-{id}"),
        labels: Default::default(),
        blocked: false,
        certificate: String::new(),
        not_after_ms: now_ms + 86_400_000,
        joined_at_ms: now_ms,
        last_seen_ms: now_ms,
        agent_version: "1.0".into(),
    }
}

fn api(client: &Client, kind: &str, namespaced: bool) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.waybill.dev", "v1alpha1", kind));
    if namespaced {
        Api::namespaced_with(client.clone(), "default", &kind)
    } else {
        Api::all_with(client.clone(), &kind)
    }
}

/// Creates a review and answers its status.
async fn review(client: &Client, kind: &str, namespaced: bool, spec: Value) -> Result<Value, kube::Error> {
    let object = serde_json::from_value(
        json!({"apiVersion": "fleet.waybill.dev/v1alpha1", "kind": kind, "metadata": {}, "spec": spec}),
    );
    let done = api(client, kind, namespaced).create(&PostParams::default(), &object.unwrap()).await?;
    Ok(done.data["status"].clone())
}

/// Looks until `found` is content, at most half a minute.
async fn until<F: Future<Output = bool>>(what: &str, found: impl Fn() -> F) {
    for _ in 0..300 {
        if found().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within half a minute");
}

fn refused(result: Result<impl Sized, kube::Error>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
        Ok(_) => 200,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_shows_its_fleet_and_takes_orders() {
    let site = Site::start().await;
    let admin = site.client("kubeconfig").await;
    let viewer = site.client("viewer.kubeconfig").await;

    // Labels move membership; silent members are shown.
    let clients = api(&admin, "Client", false);
    for id in ["c-1", "c-2"] {
        let label =
            Patch::Merge(json!({"metadata": {"labels": {"ring": if id == "c-1" { "pilot" } else { "broad" }}}}));
        clients.patch(id, &PatchParams::default(), &label).await.unwrap();
    }
    let bad = Patch::Merge(json!({"metadata": {"labels": {"ring": "no spaces"}}}));
    assert_eq!(refused(clients.patch("c-1", &PatchParams::default(), &bad).await), 422);
    let statuses = api(&viewer, "ClientStatus", true);
    until("c-1 is a member", || async { statuses.get("tools.c-1").await.is_ok() }).await;
    assert_eq!(statuses.get("tools.c-1").await.unwrap().data["status"]["state"], "NoStatus");
    assert_eq!(refused(statuses.get("tools.c-2").await), 404);
    site.fails("c-1").await;
    let failed = statuses.list(&ListParams::default().fields("status.state=Failed")).await.unwrap();
    assert_eq!((failed.items.len(), &failed.items[0].data["status"]["exitCode"]), (1, &json!(7)));

    messages(&viewer).await;
    explained(&admin).await;
    invited(&site, &admin, &viewer).await;
    tokio::task::block_in_place(|| typed(&site));
    if let Some(kubectl) = require::program("kubectl") {
        toured(&kubectl, &site);
    }

    // A block acts on the database at once, a deletion is for good, and both say who.
    let order = |action: &str| json!({"action": action, "client": "c-2"});
    assert_eq!(review(&admin, "ClientAction", false, order("block")).await.unwrap()["changed"], true);
    assert_eq!(clients.get("c-2").await.unwrap().data["status"]["blocked"], true);
    assert_eq!(review(&admin, "ClientAction", false, order("block")).await.unwrap()["changed"], false);
    assert_eq!(refused(review(&viewer, "ClientAction", false, order("unblock")).await), 403);
    assert!(clients.delete("c-2", &DeleteParams::default()).await.is_ok());
    assert_eq!(refused(clients.get("c-2").await), 404);
    assert_eq!(refused(review(&admin, "ClientAction", false, order("block")).await), 404);
    let messages = api(&viewer, "StatusMessage", false);
    let audit = messages.list(&ListParams::default().fields("type=Audit,client=c-2")).await.unwrap();
    let said: Vec<_> = audit.iter().map(|one| one.data["status"]["text"].clone()).collect();
    assert_eq!(said[..2], [json!("waybill:admin deleted client c-2"), json!("waybill:admin blocked client c-2")]);
    site.stop().await;
}

async fn messages(viewer: &Client) {
    let all = api(viewer, "StatusMessage", false);
    let newest = all.list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(newest.items[0].data["status"]["messageID"], 10_006);
    let next = newest.metadata.continue_.unwrap();
    let rest = all.list(&ListParams::default().limit(1).continue_token(&next)).await.unwrap();
    assert_ne!(rest.items[0].name_any(), newest.items[0].name_any());
    for selector in ["severity=Error", "status.advertisement=default/tools", "component=ClientAgent,client=c-1"] {
        let found = all.list(&ListParams::default().fields(selector)).await.unwrap();
        assert_eq!(found.items.len(), 1, "{selector}");
    }
    assert_eq!(refused(all.list(&ListParams::default().fields("colour=red")).await), 400);
    assert_eq!(refused(all.get("x").await), 404);
}

async fn explained(admin: &Client) {
    let why = |client: &str| review(admin, "Explanation", true, json!({"advertisement": "tools", "client": client}));
    // the offer follows the record a moment later
    until("the offer", || async { why("c-1").await.unwrap()["step"] == "run" }).await;
    let failed = why("c-1").await.unwrap();
    assert_eq!((&failed["step"], &failed["standing"]), (&json!("run"), &json!("failed")), "{failed}");
    assert!(failed["text"].as_str().unwrap().contains("a new source version"), "{failed}");
    let other = why("c-2").await.unwrap();
    assert_eq!((&other["step"], &other["reason"]), (&json!("clause"), &json!("OfferWithdrawn")), "{other}");
    assert!(other["text"].as_str().unwrap().contains("client.labels.ring == \"pilot\""), "{other}");
    assert_eq!(other["steps"].as_array().unwrap().len(), 6);
}

async fn invited(site: &Site, admin: &Client, viewer: &Client) {
    let made = review(admin, "EnrolmentToken", false, json!({"role": "client", "labels": {"ring": "pilot"}})).await;
    let status = made.unwrap();
    assert_eq!(status["joinFile"]["url"], json!(site.endpoints.enrolment_url));
    let secret = status["joinFile"]["secret"].as_str().unwrap();
    let tokens = api(viewer, "EnrolmentToken", false);
    let listed = tokens.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert!(!serde_json::to_string(&listed.items).unwrap().contains(secret), "a secret is answered once");
    for wrong in [
        json!({"role": "client", "expiresIn": "25h"}),
        json!({"role": "client", "name": "x"}),
        json!({"role": "dp", "name": "x", "uses": 2}),
        json!({"role": "king"}),
        json!({}),
    ] {
        assert_eq!(refused(review(admin, "EnrolmentToken", false, wrong.clone()).await), 422, "{wrong}");
    }
    assert_eq!(refused(review(viewer, "EnrolmentToken", false, json!({"role": "client"})).await), 403);
    let name = listed.items[0].name_any();
    assert_eq!(refused(tokens.delete(&name, &DeleteParams::default()).await), 403);
    api(admin, "EnrolmentToken", false).delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(tokens.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_deleted_advertisement_goes_with_the_messages() {
    let brief =
        "---\napiVersion: waybill.dev/v1alpha1\nkind: Site\nmetadata: {name: main}\nspec: {messageRetention: 1s}\n";
    let manifests = format!("{MANIFESTS}{brief}");
    let site = Site::start_with(&manifests, Some(Duration::from_millis(300))).await;
    let rows = async || {
        let read = |connection: &waybill::db::Connection| waybill::db::status::of_client(connection, "c-1");
        site.database.read(read).await.unwrap().len()
    };
    site.fails("c-1").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rows().await, 1, "of one that is declared it stays");
    let without: Vec<&str> = manifests.split("---\n").filter(|one| !one.contains("kind: Advertisement")).collect();
    std::fs::write(site.directory.path().join("fleet/tools.yaml"), without.join("---\n")).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while rows().await > 0 {
        assert!(std::time::Instant::now() < end, "it is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.stop().await;
}

/// The verbs that show and invite, as somebody meets them who mistypes or whose disk is full.
fn typed(site: &Site) {
    let state = site.directory.path().join("state");
    let run = |words: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        let child = command.args(words).arg("--state").arg(&state).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, _, said) = run(&["token", "create", "--role", "client"], full.into());
    assert!(code == Some(1) && said.contains("could not be written") && said.contains("was revoked"), "{said}");
    assert_eq!(run(&["token", "list", "--output", "json"], Stdio::piped()), (Some(0), "[]\n".into(), String::new()));
    let (code, _, said) = run(&["token", "list"], Stdio::piped());
    assert!(code == Some(0) && said.contains("waybill token create --role client --state "), "{said}");

    for (words, expected) in [
        (&["messages", "--client", "nobody"][..], "there is no client 'nobody'"),
        (&["messages", "--component", "DistributionPoint", "--severity", "error"], "no message matches"),
    ] {
        let (code, shown, said) = run(words, Stdio::piped());
        assert!(code == Some(0) && shown.is_empty() && said.contains(expected), "{words:?}: {shown}{said}");
    }
    for words in [&["why", "tools", "nobody"][..], &["log", "tools", "nobody"], &["clients", "block", "nobody"]] {
        let (code, shown, said) = run(words, Stdio::piped());
        assert!(
            code == Some(1) && shown.is_empty() && said.contains("there is no client 'nobody'"),
            "{words:?}: {said}"
        );
    }
    for words in [&["messages", "--advertisement", "nothing"][..], &["log", "nothing", "c-1"]] {
        let (code, shown, said) = run(words, Stdio::piped());
        let expected = "there is no advertisement default/nothing";
        assert!(code == Some(1) && shown.is_empty() && said.contains(expected), "{words:?}: {shown}{said}");
    }
    let (code, shown, _) = run(&["why", "nothing", "c-1"], Stdio::piped());
    assert!(code == Some(1) && shown.contains("no such advertisement") && !shown.contains("policy"), "{shown}");
    for (label, expected, said_so) in
        [("extra=1", Some(0), "extra=1"), ("nokey-", Some(1), "c-2 has no label nokey"), ("extra-", Some(0), "c-2: ")]
    {
        let (code, shown, said) = run(&["clients", "label", "c-2", label], Stdio::piped());
        assert!(code == expected && (shown + &said).contains(said_so), "{label}: {said}");
    }
    let (code, shown, said) = run(&["clients"], Stdio::piped());
    assert!(code == Some(0) && said.is_empty() && shown.starts_with("ID   HOSTNAME  "), "{shown}{said}");
}

/// Every resource with the real kubectl.
fn toured(kubectl: &Path, site: &Site) {
    let run = |arguments: &str| {
        let output = Command::new(kubectl)
            .args(arguments.split_whitespace())
            .env("HOME", site.directory.path())
            .env("KUBECONFIG", site.directory.path().join("state/viewer.kubeconfig"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "kubectl {arguments}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    for (arguments, shown) in [
        ("get clients -o wide", "host-c-1"),
        ("get clients -l ring=pilot", "c-1"),
        ("get clientstatuses", "Failed"),
        ("get statusmessages --field-selector severity=Error", "exit code 7"),
        ("get distributionjobs", ""),
        ("get contentlocations -A", ""),
        ("get enrolmenttokens", ""),
        ("describe client c-1", "Hostname:"),
        ("describe clientstatus tools.c-1", "Exit Code:"),
        ("explain statusmessage.status.severity", "Informational, Warning or Error."),
    ] {
        let text = run(arguments);
        assert!(text.contains(shown), "kubectl {arguments}: {text}");
    }
}
