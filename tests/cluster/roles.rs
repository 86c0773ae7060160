//! What the chart's roles for people let them do, as the real API server decides it: each question is one SubjectAccessReview,
//! as the site asks it too.

use k8s_openapi::api::{authorization::v1::SubjectAccessReview, core::v1::Namespace};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use crate::{
    api_level::{ADMIN, RealApi},
    chart, require,
};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const READ: &str = "get list watch";
const WRITE: &str = "get list watch create update patch delete deletecollection";

/// What the users may do to every resource, in the namespace of their role: viewer, packager, deployer, reader, approver.
const TABLE: [(&str, [&str; 5]); 21] = [
    ("waybill.dev/packages", [READ, WRITE, READ, READ, READ]),
    ("waybill.dev/programs", [READ, WRITE, READ, READ, READ]),
    ("waybill.dev/distributions", [READ, WRITE, READ, READ, READ]),
    ("waybill.dev/collections", [READ, READ, WRITE, READ, READ]),
    ("waybill.dev/advertisements", [READ, READ, WRITE, READ, READ]),
    ("waybill.dev/sites", [READ, READ, READ, READ, WRITE]),
    ("waybill.dev/distributionpoints", [READ, READ, READ, READ, WRITE]),
    ("waybill.dev/clientagentconfigs", [READ, READ, READ, READ, WRITE]),
    ("waybill.dev/sites/status", ["", "", "", "", ""]),
    ("waybill.dev/packages/status", ["", "", "", "", ""]),
    ("fleet.waybill.dev/clientstatuses", ["get list", "", "get list", "get list", "get list"]),
    ("fleet.waybill.dev/contentlocations", ["get list", "get list", "get list", "get list", "get list"]),
    ("fleet.waybill.dev/distributionjobs", ["get list", "get list", "get list", "get list", "get list"]),
    ("fleet.waybill.dev/statusmessages", ["", "", "", "get list", "get list"]),
    ("fleet.waybill.dev/clients", ["", "", "", "get list", "get list patch delete"]),
    ("fleet.waybill.dev/enrolmenttokens", ["", "", "", "", "get list create delete"]),
    ("fleet.waybill.dev/clientactions", ["", "", "", "", "create"]),
    ("fleet.waybill.dev/contentchecks", ["", "", "", "", "create"]),
    ("fleet.waybill.dev/explanations", ["", "", "create", "create", "create"]),
    ("/secrets", ["", "", "", "", ""]),
    ("rbac.authorization.k8s.io/rolebindings", ["", "", "", "", ""]),
];
const USERS: [&str; 5] = ["viewer", "packager", "deployer", "reader", "approver"];

/// Whether a user may; in all namespaces for an empty one.
async fn may(client: &Client, user: &str, what: &str, verb: &str, namespace: &str) -> bool {
    let mut parts = what.split('/');
    let (group, resource, subresource) = (parts.next(), parts.next(), parts.next());
    let asked = json!({"spec": {"user": user, "resourceAttributes": {"group": group, "resource": resource,
        "subresource": subresource, "verb": verb, "namespace": namespace}}});
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await.unwrap();
    answer.status.unwrap().allowed
}

#[tokio::test]
async fn each_role_may_what_the_table_says_where_it_is_bound_and_nothing_else() {
    if !require::cluster() {
        return;
    }
    let Some(helm) = require::program("helm") else { return };
    let api = RealApi::start().unwrap();
    let client = api.client(&ADMIN, "default").await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": "web"}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    chart::make_roles_for_people(&client, &helm).await;
    for user in ["viewer", "packager", "deployer", "reader"] {
        let role = if user == "viewer" { "waybill-view".to_owned() } else { format!("waybill-{user}") };
        chart::bind(&client, &role, user, Some("web")).await;
    }
    // What belongs to no namespace takes a binding for all of them.
    chart::bind(&client, "waybill-approver", "approver", None).await;

    let mut differ = Vec::new();
    for (what, rights) in TABLE {
        for (user, allowed) in USERS.into_iter().zip(rights) {
            let expected: Vec<&str> =
                VERBS.into_iter().filter(|verb| allowed.split(' ').any(|one| one == *verb)).collect();
            for (namespace, is_bound) in [("web", true), ("other", user == "approver"), ("", user == "approver")] {
                let mut found = Vec::new();
                for verb in VERBS {
                    if may(&client, user, what, verb, namespace).await {
                        found.push(verb);
                    }
                }
                if found != if is_bound { expected.clone() } else { Vec::new() } {
                    differ.push(format!("{user} may {found:?} to {what} in {namespace:?}, not {expected:?}"));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}
