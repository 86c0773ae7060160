//! The chart as helm renders it, for tests that give its roles to users of the real API server.

use std::{path::Path, process::Command};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::api_level::User;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Its objects for a release `waybill` in namespace `default`, hooks included.
pub(crate) fn rendered(helm: &Path) -> Vec<Value> {
    rendered_with(helm, &[])
}

/// The same with values that are set otherwise.
pub(crate) fn rendered_with(helm: &Path, values: &[&str]) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/waybill");
    let mut command = Command::new(helm);
    command.args(["template", "waybill", "--namespace=default"]).arg(chart);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.output().unwrap();
    serde_yaml::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// The site's account. Here it is a user, for there are no pods.
pub(crate) const SITE: User = User { name: "site", group: None };

/// Gives a user what the chart gives its account of this name.
pub(crate) async fn give(client: &Client, objects: &[Value], account: &str, user: &User) {
    let mut made = 0;
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        // Objects of the whole cluster carry the namespace in their names.
        let is_of_it = name == account || name.strip_suffix(account).is_some_and(|rest| rest.ends_with(':'));
        if !is_of_it || !["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].contains(&kind) {
            continue;
        }
        let mut object = object.clone();
        if kind.ends_with("Binding") {
            object["subjects"] = json!([{"apiGroup": RBAC, "kind": "User", "name": user.name}]);
        }
        make(client, object).await;
        made += 1;
    }
    assert!(made >= 2, "the chart gives {account} nothing");
}

/// Makes an object of role-based access control, or brings it to this; in `default` if it names no other namespace.
pub(crate) async fn make(client: &Client, object: Value) {
    let kind = object["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(RBAC, "v1", kind));
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let api: Api<DynamicObject> = match kind.starts_with("Cluster") {
        true => Api::all_with(client.clone(), &resource),
        false => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
}

/// Makes the chart's roles for people.
pub(crate) async fn make_roles_for_people(client: &Client, helm: &Path) {
    let mut made = 0;
    for object in rendered(helm) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if object["kind"] == "ClusterRole" && name.starts_with("waybill-") {
            make(client, object).await;
            made += 1;
        }
    }
    assert_eq!(made, 5);
}

/// Gives a user one of them, in one namespace or in all.
pub(crate) async fn bind(client: &Client, role: &str, user: &str, namespace: Option<&str>) {
    let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
    let mut binding = json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": format!("{role}-{user}")},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}]});
    if let Some(namespace) = namespace {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    make(client, binding).await;
}
