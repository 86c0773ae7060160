//! The kubectl plugin against a real API server and a site process beside it, called by the real kubectl: everything but the
//! forwarded port, for which there is no node here.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, RealApi, User, audit},
    chart, require,
    tenure::site::{Instance, Place},
};

/// A person: reads what is declared, and may be the account `ann` at the site.
const ANN: User = User { name: "ann@example.com", group: None };
/// Another one, who may not.
const BOB: User = User { name: "bob", group: None };
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// kubectl with the plugin in its `PATH`, for one person.
struct Kubectl {
    program: PathBuf,
    path: String,
    kubeconfig: PathBuf,
    /// Where the site serves its rows.
    server: String,
}

impl Kubectl {
    fn new(api: &RealApi, site: &Instance<'_>, user: &User) -> Option<Self> {
        let program = require::program("kubectl")?;
        let plugins = api.directory().join("plugins");
        if !plugins.exists() {
            std::fs::create_dir(&plugins).unwrap();
            for name in ["kubectl-waybill", "kubectl_complete-waybill"] {
                symlink(env!("CARGO_BIN_EXE_waybill"), plugins.join(name)).unwrap();
            }
        }
        let path = format!("{}:{}", plugins.display(), program.parent().unwrap().display());
        let server = site.endpoints()["apiUrl"].as_str().unwrap().to_owned();
        Some(Self { program, path, kubeconfig: api.kubeconfig_file(user, "web"), server })
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env("HOME", "/nonexistent");
        command.args(words).output().unwrap()
    }

    /// As the account `ann` of the namespace `fleet`, at the site's own address.
    fn waybill(&self, words: &[&str]) -> Output {
        let way = ["--server", &self.server, "--service-account", "fleet/ann"];
        self.run(&[&["waybill"], words, &way].concat())
    }
}

/// What it printed; it has to end with this code.
#[track_caller]
fn printed(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said against it.
#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Two people, an account that is the fleet's owner, and who may be that account, as the documentation sets it up.
async fn people(api: &RealApi, helm: &Path) {
    let client = api.client(&ADMIN, "default").await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    for name in ["fleet", "web"] {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    }
    chart::make_roles_for_people(&client, helm).await;
    for user in [ANN, BOB] {
        chart::bind(&client, "waybill-view", user.name, None).await;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "fleet");
    // One account deploys in a namespace.
    chart::bind(&client, "waybill-deployer", "system:serviceaccount:fleet:deployer", Some("default")).await;
    for name in ["ann", "nobody", "deployer"] {
        let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
    }
    let be = json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "be-ann", "namespace": "fleet"}, "rules": [
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["ann", "nobody", "deployer"], "verbs": ["create"]}]});
    let user = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ANN.name}]);
    let account = json!([{"kind": "ServiceAccount", "name": "ann", "namespace": "fleet"}]);
    chart::make(&client, be).await;
    for (kind, name, role, subjects) in [
        (
            "RoleBinding",
            "be-ann",
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "be-ann"}),
            user,
        ),
        (
            "ClusterRoleBinding",
            "ann",
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "waybill-approver"}),
            account,
        ),
    ] {
        let metadata = json!({"name": name, "namespace": (kind == "RoleBinding").then_some("fleet")});
        let binding =
            json!({"apiVersion": RBAC, "kind": kind, "metadata": metadata, "roleRef": role, "subjects": subjects});
        chart::make(&client, binding).await;
    }
}

#[test]
fn the_verbs_reach_a_site_beside_a_cluster_as_who_the_cluster_lets_them_be() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let place = Place::new(&api);
    let site = place.serve();
    place.block_on(people(&api, &helm));
    let Some(ann) = Kubectl::new(&api, &site, &ANN) else { return };
    let bob = Kubectl::new(&api, &site, &BOB).unwrap();
    place.until("the status says where rows are served", || !place.site()["status"]["fleet"].is_null());

    // An invitation, and a machine that joins by it; its secret went to standard output and nowhere else.
    let invited = ann.waybill(&["token", "create", "--role", "client", "--label", "team=web"]);
    let file = printed(&invited, 0);
    assert!(String::from_utf8_lossy(&invited.stderr).contains("keep the join file secret"));
    let join: Value = serde_json::from_str(&file).unwrap();
    let _machine = place.join_with(&join, "machine");
    place.until("the machine is in the list", || printed(&ann.waybill(&["clients"]), 0).contains("team=web"));
    let listed = printed(&ann.waybill(&["clients"]), 0);
    assert!(listed.starts_with("ID  ") && listed.lines().count() == 2, "{listed}");
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();

    // What is declared comes from the cluster, in the namespace of the context.
    place.declare();
    place.source(1);
    place.until_lines(&["ran 1"]);
    place.until("it is explained", || ann.waybill(&["why", "tool", id, "-n", "default"]).status.code() == Some(0));
    let said = refused(&ann.waybill(&["why", "tool", id]));
    assert!(said.is_empty(), "an advertisement that is not there is an explanation, no error: {said}");
    let why = String::from_utf8(ann.waybill(&["why", "tool", id]).stdout).unwrap();
    assert!(why.contains("there is no such advertisement"), "the context's namespace is web: {why}");
    assert!(printed(&ann.waybill(&["log", "default/tool", id]), 0).contains("Succeeded"));
    let status = printed(&ann.waybill(&["status"]), 0);
    assert!(status.contains("Site main: ready True") && status.contains("default/tool"), "{status}");
    assert!(!status.contains("revision") && !status.contains("Revision"), "nothing is synced here: {status}");

    // Acts say who did them: the account, and the token, which the API server's log ties to the person.
    assert!(printed(&ann.waybill(&["clients", "block", id]), 0).contains("blocked client"));
    assert!(printed(&ann.waybill(&["clients", "unblock", id]), 0).contains("unblocked client"));
    let messages = printed(&ann.waybill(&["messages", "--component", "security"]), 0);
    let act = messages.lines().find(|line| line.ends_with(&format!(") blocked client {id}"))).expect(&messages);
    let (who, token) = act.split_once("system:serviceaccount:fleet:ann (").unwrap();
    let token = token.split(')').next().unwrap();
    assert!(token.starts_with("JTI="), "{who}");
    let log = std::fs::read_to_string(api.directory().join(audit::LOG)).unwrap();
    let made = log.lines().find(|line| line.contains("issued-credential-id") && line.contains(token)).expect(token);
    assert!(made.contains(ANN.name) && made.contains("serviceaccounts"), "{made}");

    // Who may not says so, in the API server's or the site's own words, and ends with 1.
    let said = refused(&bob.waybill(&["clients"]));
    assert!(
        said.contains("kubectl waybill: you cannot be ServiceAccount fleet/ann at the site") && said.contains("bob"),
        "{said}"
    );
    let said = refused(&ann.run(&["waybill", "clients", "--server", &ann.server, "--service-account", "fleet/nobody"]));
    assert!(
        said.contains("cannot list resource \"clients\"") && said.contains("system:serviceaccount:fleet:nobody"),
        "{said}"
    );
    // Who deploys in a namespace asks why there, by the machine's id, and sees no list of machines.
    let as_deployer = |words: &[&str]| {
        let who = ["--server", &ann.server, "--service-account", "fleet/deployer"];
        ann.run(&[&["waybill"], words, &who].concat())
    };
    assert_eq!(as_deployer(&["why", "default/tool", id]).status.code(), Some(0));
    assert!(refused(&as_deployer(&["clients"])).contains("cannot list resource \"clients\""));
    let said = refused(&ann.waybill(&["clients", "block", "c-nobody"]));
    assert!(said.contains("`kubectl waybill clients` shows who has joined"), "{said}");
    for (words, expected) in [
        (&["clients", "--server", &ann.server][..], "--service-account"),
        (&["clients", "--service-account", "fleet/ann"], "give the address of its rows with --server"),
        (&["clients", "--site", "other", "--service-account", "ann"], "there is no Site other"),
        (&["clients", "--context", "other", "--service-account", "ann"], "context other"),
        (&["sync", "acknowledge", "1234567"], "nothing"),
    ] {
        let said = refused(&ann.run(&[&["waybill"], words].concat()));
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    // Another server at that address is not believed, whatever it is: here the API server itself.
    let said = refused(&ann.run(&["waybill", "clients", "--service-account", "fleet/ann", "--server", api.url()]));
    assert!(said.contains("certificate"), "{said}");

    // kubectl completes the plugin's words as its own.
    let completed = printed(&ann.run(&["__complete", "waybill", "clients", "b"]), 0);
    assert!(completed.starts_with("block\n"), "{completed}");
    let completed = printed(&ann.run(&["__complete", "waybill", "clients", "--output", ""]), 0);
    assert!(completed.starts_with("table\njson\n"), "{completed}");
}

#[test]
fn a_site_that_may_not_ask_who_somebody_is_says_so_and_is_not_asked_again() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let place = Place::new(&api).that_may_be_refused();
    let site = place.serve();
    place.block_on(people(&api, &helm));
    let Some(ann) = Kubectl::new(&api, &site, &ANN) else { return };
    place.until("the status says where rows are served", || !place.site()["status"]["fleet"].is_null());
    place.take_rights_away();
    let asked = || api.requests().iter().filter(|one| one.has_no_right && one.resource == "tokenreviews").count();
    // The API server obeys a moment later than it is told.
    place.until("it may not", || {
        let said = ann.waybill(&["clients"]);
        !said.status.success()
    });
    let before = asked();
    let said = refused(&ann.waybill(&["clients"]));
    assert!(said.contains("cannot be asked who you are and what you may do"), "{said}");
    assert_eq!(asked(), before + 1);
}
