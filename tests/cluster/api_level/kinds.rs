//! What a fresh API server is given: the kinds under test, and the role that the viewer of the tests has.

use std::{path::Path, time::Duration};

use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{ADMIN, RealApi, VIEWER};

/// Longest wait for a kind to be served.
const LIMIT: Duration = Duration::from_secs(60);

/// The kinds of `tests/fixtures/crds` and those of Waybill, as documents.
pub(crate) fn definitions() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let fixtures = files.iter().map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap());
    fixtures.chain(waybill::api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap())).collect()
}

/// Creates all of it, and waits until every kind is served.
pub(super) async fn install(api: &RealApi) -> Result<(), String> {
    let client = api.client(&ADMIN, "default").await;
    viewer(&client).await.map_err(|error| format!("the viewer's role: {error}"))?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut made = Vec::new();
    for definition in definitions() {
        let crd: CustomResourceDefinition = serde_json::from_value(definition).map_err(|error| error.to_string())?;
        crds.create(&PostParams::default(), &crd).await.map_err(|error| format!("{}: {error}", crd.name_any()))?;
        made.push(crd);
    }
    for crd in &made {
        served(&client, crd).await.map_err(|error| format!("{}: {error}", crd.name_any()))?;
    }
    Ok(())
}

/// Established, in discovery, and answering: three things that come one after the other.
async fn served(client: &Client, crd: &CustomResourceDefinition) -> Result<(), String> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.name_any();
    let established = await_condition(crds, &name, is_crd_established());
    timeout(LIMIT, established).await.map_err(|_| "is not established")?.map_err(|error| error.to_string())?;
    let (group, names, version) = (&crd.spec.group, &crd.spec.names, &crd.spec.versions[0].name);
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &names.kind), &names.plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let end = Instant::now() + LIMIT;
    loop {
        let known = client.list_api_group_resources(&kind.api_version).await;
        let known = known.is_ok_and(|list| list.resources.iter().any(|resource| resource.name == names.plural));
        if known && objects.list(&ListParams::default().limit(1)).await.is_ok() {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err("is not served".to_owned());
        }
        sleep(Duration::from_millis(25)).await;
    }
}

/// The viewer reads what the embedded API's viewer reads: everything but Secrets.
async fn viewer(client: &Client) -> Result<(), kube::Error> {
    let read = ["get", "list", "watch"];
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": VIEWER.name}, "rules": [
        {"apiGroups": ["content.example.dev", "waybill.dev", "apiextensions.k8s.io"], "resources": ["*"], "verbs": read},
        {"apiGroups": [""], "resources": ["configmaps", "namespaces", "events"], "verbs": read},
    ]}))
    .unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({"metadata": {"name": VIEWER.name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": VIEWER.name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": VIEWER.group}]}))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &role).await?;
    Api::all(client.clone()).create(&PostParams::default(), &binding).await?;
    Ok(())
}
