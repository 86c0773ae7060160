//! Who may advertise reaches nobody by it: users with the chart's roles beside a real API server, a site process, two machines.

use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, RealApi, User},
    chart, require,
    tenure::site::Place,
};

/// May write what is in the namespace `web`, and nothing else.
const TEAM: User = User { name: "team", group: None };
/// Owns the site.
const OWNER: User = User { name: "site-owner", group: None };

fn of(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
    match kind {
        "Site" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), "web", &resource),
    }
}

async fn apply(client: &Client, kind: &str, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    let object = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    of(client, kind).patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(&object)).await
}

/// A program without files that notes where it ran, offered to everybody.
async fn advertise(team: &Client, lines: &std::path::Path) {
    let command = json!(["/bin/sh", "-c", format!("echo ran >> '{0}' && sync '{0}'", lines.display())]);
    for (kind, spec) in [
        ("Package", json!({"source": {"none": {}}})),
        ("Program", json!({"packageRef": "tool", "argv": command})),
        ("Collection", json!({"query": "true"})),
        ("Advertisement", json!({"program": "tool", "collection": "tool", "assignments": [{"asSoonAsPossible": {}}]})),
    ] {
        apply(team, kind, "tool", spec).await.unwrap();
    }
}

/// Reason and message of the advertisement's Ready, and how many clients it targets.
async fn said(team: &Client) -> (String, String, i64) {
    let object = of(team, "Advertisement").get("tool").await.unwrap();
    let status = &object.data["status"];
    let ready = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready").cloned();
    let word = |member: &str| ready.as_ref().map_or("", |ready| ready[member].as_str().unwrap()).to_owned();
    (word("reason"), word("message"), status["clients"]["targeted"].as_i64().unwrap_or(-1))
}

#[test]
fn a_team_of_a_fresh_namespace_reaches_nobody_and_then_exactly_whom_it_is_granted() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let place = Place::new(&api);
    let site = place.serve();
    let _machines = ["web", "db"].map(|team| place.join(&site, team, &json!({"team": team})));
    let (team, owner) = place.block_on(async {
        let admin = api.client(&ADMIN, "default").await;
        let namespace = json!({"metadata": {"name": "web"}});
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(admin.clone());
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        chart::make_roles_for_people(&admin, &helm).await;
        chart::bind(&admin, "waybill-packager", TEAM.name, Some("web")).await;
        chart::bind(&admin, "waybill-deployer", TEAM.name, Some("web")).await;
        chart::bind(&admin, "waybill-approver", OWNER.name, None).await;
        (api.client(&TEAM, "web").await, api.client(&OWNER, "default").await)
    });

    let made = place.site();
    assert_eq!(made["spec"], json!({}), "nothing is granted");
    for owned in made["metadata"]["managedFields"].as_array().unwrap() {
        let fields = owned["fieldsV1"]["f:spec"].as_object();
        assert!(fields.is_none_or(serde_json::Map::is_empty), "the server owns no field of it: {owned}");
    }

    place.block_on(advertise(&team, &place.lines_file()));
    let refused = place.block_on(apply(&team, "Site", "main", json!({"namespaces": [{"name": "web"}]}))).unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "who advertises grants nothing: {refused}"
    );
    place.until("both machines have reported", || place.site()["status"]["clients"] == 2);
    place.until("it is said why nobody is reached", || {
        let (reason, message, targeted) = place.block_on(said(&team));
        reason == "NamespaceNotGranted" && message.contains("adds `name: web`") && targeted == 0
    });

    let query = "client.labels['team'] == 'web'";
    place.block_on(apply(&owner, "Site", "main", json!({"namespaces": [{"name": "web", "query": query}]}))).unwrap();
    place.until_lines(&["ran"]);
    place.until("one is reached", || {
        let (reason, _, targeted) = place.block_on(said(&team));
        reason == "Succeeded" && targeted == 1
    });
    place.until("it is the granted one", || place.log("web").contains("program tool succeeded"));
    assert!(!place.log("db").contains("offer received"), "{}", place.log("db"));

    // Taken back, and given for all.
    place.block_on(apply(&owner, "Site", "main", json!({"namespaces": [{"name": "other"}]}))).unwrap();
    let withdrawn = |times| place.log("web").matches("offer withdrawn").count() == times;
    place.until("the offer is withdrawn", || withdrawn(1));
    place.block_on(apply(&owner, "Site", "main", json!({"namespaces": [{"name": "*", "maxClients": 2}]}))).unwrap();
    place.until_lines(&["ran", "ran"]);
    assert!(place.log("db").contains("offer received"));
    place.until("it is offered again to the first, too", || place.log("web").matches("offer received").count() == 2);
    place.block_on(of(&owner, "Site").delete("main", &DeleteParams::default())).unwrap();
    place.until("without the Site nobody says that anybody is reached", || withdrawn(2));
    place.block_on(apply(&owner, "Site", "main", json!({"namespaces": [{"name": "*", "maxClients": 1}]}))).unwrap();
    place.until("too many", || matches!(place.block_on(said(&team)), (reason, _, 0) if reason == "TooManyClients"));
}
