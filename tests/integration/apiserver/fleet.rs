//! The fleet group: rows from elsewhere through the same discovery, tables, access and refusals.

use std::sync::Arc;

use futures::FutureExt;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::json;
use waybill::apiserver::{
    ApiServer, Identity, Options,
    failure::Failure,
    fleet::{Fleet, FleetAnswer, FleetColumn, FleetRequest, FleetResource, FleetVerb, GROUP, VERSION},
};

fn row(n: u32) -> serde_json::Value {
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Client", "metadata": {"name": format!("c{n}")},
        "status": {"state": "Online"}})
}

/// Three clients, two a page.
fn answer(request: &FleetRequest) -> Result<FleetAnswer, Failure> {
    match &request.verb {
        FleetVerb::Get { name } if name == "c1" => Ok(FleetAnswer::Object(row(1))),
        FleetVerb::Get { name } | FleetVerb::Delete { name, .. } if name != "c1" => {
            Err(Failure::not_found(GROUP, &request.plural, name))
        }
        FleetVerb::List { start, .. } if start.is_empty() => {
            Ok(FleetAnswer::List { items: vec![row(1), row(2)], next: "c3".into(), remaining: Some(1) })
        }
        FleetVerb::List { .. } => Ok(FleetAnswer::List { items: vec![row(3)], next: String::new(), remaining: None }),
        FleetVerb::SetLabels { labels, .. } => {
            let mut object = row(1);
            object["metadata"]["labels"] = labels.clone();
            Ok(FleetAnswer::Object(object))
        }
        _ => Ok(FleetAnswer::Object(row(1))),
    }
}

fn open(directory: &std::path::Path) -> ApiServer {
    let schema = json!({"type": "object", "properties": {"status": {"type": "object",
        "properties": {"state": {"type": "string"}}}}});
    let resource = FleetResource {
        kind: "Client".into(),
        plural: "clients".into(),
        short_names: vec![],
        namespaced: false,
        verbs: &["get", "list", "delete", "patch"],
        schema,
        columns: vec![FleetColumn {
            name: "State".into(),
            kind: "string".into(),
            json_path: ".status.state".into(),
            priority: 0,
        }],
    };
    let fleet = Fleet { resources: vec![resource], call: Arc::new(|r| async move { answer(&r) }.boxed()) };
    ApiServer::open(Options {
        database: directory.join("api.db"),
        crds: vec![],
        fleet: Some(fleet),
        callers: Default::default(),
    })
    .unwrap()
}

#[tokio::test]
async fn rows_are_read_labelled_and_deleted_but_not_watched() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, "Client"));
    let api: Api<DynamicObject> = Api::all_with(server.client(Identity::Admin), &kind);
    assert_eq!(api.get("c1").await.unwrap().data["status"]["state"], "Online");
    assert!(matches!(api.get("c9").await, Err(kube::Error::Api(s)) if s.code == 404));
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    let next = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().continue_token(&next)).await.unwrap();
    assert_eq!((first.items.len(), rest.items[0].name_any().as_str()), (2, "c3"));

    let label = Patch::Merge(json!({"metadata": {"labels": {"room": "7"}}}));
    assert_eq!(api.patch("c1", &PatchParams::default(), &label).await.unwrap().labels()["room"], "7");
    let lie = Patch::Merge(json!({"status": {"state": "Gone"}}));
    assert!(matches!(api.patch("c1", &PatchParams::default(), &lie).await, Err(kube::Error::Api(s)) if s.code == 403));
    assert!(api.delete("c1", &DeleteParams::default()).await.unwrap().is_right());
    let object: DynamicObject = serde_json::from_value(row(4)).unwrap();
    for refused in [
        api.create(&PostParams::default(), &object).await.map(drop),
        api.watch(&kube::api::WatchParams::default(), "0").await.map(drop),
    ] {
        assert!(matches!(refused, Err(kube::Error::Api(s)) if s.code == 405));
    }
    let viewer = server.client(Identity::Viewer);
    let (found, _) =
        kube::discovery::pinned_kind(&viewer, &GroupVersionKind::gvk(GROUP, VERSION, "Client")).await.unwrap();
    assert_eq!(found.plural, "clients");
}
