//! Who may what: admin, viewer, component, and nobody.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
};
use serde_json::json;
use waybill::apiserver::Identity;

use super::support::{Served, open, program, programs};

fn is_forbidden<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn each_identity_reaches_what_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})).unwrap();
    let admin = server.client(Identity::Admin);
    let made = Api::<Secret>::default_namespaced(admin).create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.unwrap()["a"].0, b"b");
    assert!(made.string_data.is_none());

    let viewer = server.client(Identity::Viewer);
    let kinds: Api<DynamicObject> = Api::default_namespaced_with(viewer.clone(), &programs());
    kinds.list(&ListParams::default()).await.unwrap();
    assert!(is_forbidden(kinds.create(&PostParams::default(), &program("a", json!({"command": "x"}))).await));
    let secrets: Api<Secret> = Api::default_namespaced(viewer.clone());
    assert!(is_forbidden(secrets.get("s").await) && is_forbidden(secrets.list(&ListParams::default()).await));
    Api::<ConfigMap>::default_namespaced(viewer).list(&ListParams::default()).await.unwrap();

    let part = server.client(Identity::Component("site".into()));
    let secrets: Api<Secret> = Api::default_namespaced(part);
    secrets.get("s").await.unwrap();
    assert!(is_forbidden(secrets.list(&ListParams::default()).await));
}

#[tokio::test]
async fn without_a_certificate_only_health_and_version_answer() {
    let served = Served::listening().await.unwrap();
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(served.kubeconfig()).unwrap()).unwrap();
    let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
    for (path, code) in [("/readyz", 200), ("/version", 200), ("/api", 403), ("/api/v1/namespaces", 403), ("/x", 403)] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{path}");
    }
    // no token is known here, so one is nobody's
    let answer = client.get(format!("{url}/api")).bearer_auth("x").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    let review = format!("{url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    assert_eq!(client.post(review).body("{}").send().await.unwrap().status().as_u16(), 403);
}
