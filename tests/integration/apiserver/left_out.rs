//! What the real server serves and the embedded one leaves out, as docs/kubernetes-api.md lists it: refused with the code that
//! the real server has for what is not there.

use serde_json::json;

use super::{
    raw::Wire,
    refused::{ANSWERS, Case, JSON, TYPES, accept, all_refused, sends, with_a},
    support::Served,
};

const NONE: &str = "404 page not found\n";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

const CASES: &[Case<'_>] = &[
    ("scale", "GET", "~/a/scale", JSON, "", 404, "not found"),
    ("scale", "PUT", "~/a/scale", JSON, "{}", 404, "not found"),
    (
        "a status of a built-in",
        "GET",
        "/api/v1/namespaces/default/configmaps/a/status",
        JSON,
        "",
        404,
        "the server could not find the requested resource",
    ),
    ("protobuf of a custom kind", "POST", "~", sends(PROTOBUF), "k8s\0", 415, TYPES),
    ("protobuf answers", "GET", "~/a", accept(PROTOBUF), "", 406, ANSWERS),
    ("YAML answers", "GET", "~/a", accept("application/yaml"), "", 406, ANSWERS),
    ("YAML tables", "GET", "~/a", accept("application/yaml;as=Table;v=v1;g=meta.k8s.io"), "", 406, ANSWERS),
    ("CBOR answers", "GET", "~/a", accept("application/cbor"), "", 406, ANSWERS),
    ("CBOR bodies", "POST", "~", sends("application/cbor"), "x", 415, TYPES),
    (
        "lists of old versions",
        "GET",
        "~?resourceVersion=1&resourceVersionMatch=Exact",
        JSON,
        "",
        410,
        "The resourceVersion for the provided list is too old.",
    ),
    ("other built-in kinds", "GET", "/apis/apps/v1/namespaces/default/deployments", JSON, "", 404, NONE),
    ("other built-in kinds", "GET", "/api/v1/pods", JSON, "", 404, NONE),
    ("reviews of others", "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", JSON, "{}", 404, NONE),
    ("reviews of others", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", JSON, "{}", 404, NONE),
];

#[tokio::test]
async fn each_class_that_is_left_out_is_refused_and_nothing_half_done() {
    let served = Served::start().await.unwrap();
    let (wire, programs) = with_a(&served).await;
    let before = wire.get(&programs).await.json();
    all_refused(&wire, &programs, CASES).await;
    assert_eq!(wire.get(&programs).await.json(), before, "something was half done");
}

#[tokio::test]
async fn definitions_are_part_of_the_server() {
    let served = Served::start().await.unwrap();
    let wire = Wire::new(served.admin().await);
    let one = format!("{DEFINITIONS}/programs.content.example.dev");
    assert_eq!(wire.get(&one).await.json()["spec"]["names"]["kind"], "Program");
    let object =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"}});
    assert_eq!(wire.post(DEFINITIONS, &object).await.code, 405);
    assert_eq!(wire.send("DELETE", &one, JSON, "").await.code, 405);
    assert_eq!(wire.send("PATCH", &one, ("Content-Type", "application/merge-patch+json"), "{}").await.code, 405);
}
