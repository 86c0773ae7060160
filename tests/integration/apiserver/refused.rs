//! What is not served: each class of request is refused, with the code and words of kube-apiserver, and never half done.

use serde_json::json;
use waybill::apiserver::Identity;

use super::{raw::Wire, support::open};

const PROGRAMS: &str = "/apis/content.example.dev/v1/namespaces/default/programs";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROGRAM: &str = r#"{"apiVersion": "content.example.dev/v1", "kind": "Program", "metadata": {"name": "b"}, "spec": {"command": "run"}}"#;

/// Class, method, path, header, body, code, words.
type Case = (&'static str, &'static str, String, (&'static str, &'static str), &'static str, u16, &'static str);

fn cases() -> Vec<Case> {
    let a = format!("{PROGRAMS}/a");
    let none = "404 page not found\n";
    let types = "the body of the request was in an unknown format - accepted media types include: ";
    let answers = "only the following media types are accepted: ";
    let accept = |media| ("Accept", media);
    let sends = |media| ("Content-Type", media);
    let mut cases: Vec<Case> = vec![
        ("scale", "GET", format!("{a}/scale"), JSON, "", 404, "not found"),
        ("scale", "PUT", format!("{a}/scale"), JSON, "{}", 404, "not found"),
        ("another subresource", "POST", format!("{a}/exec"), JSON, "{}", 404, "not found"),
        (
            "a status that the kind lacks",
            "GET",
            "/apis/content.example.dev/v1/sites/a/status".into(),
            JSON,
            "",
            404,
            "",
        ),
        (
            "a status of a built-in",
            "GET",
            "/api/v1/namespaces/default/configmaps/a/status".into(),
            JSON,
            "",
            404,
            "the server could not find the requested resource",
        ),
        (
            "protobuf of a custom kind",
            "POST",
            PROGRAMS.into(),
            sends("application/vnd.kubernetes.protobuf"),
            "k8s\0",
            415,
            types,
        ),
        ("protobuf answers", "GET", a.clone(), accept("application/vnd.kubernetes.protobuf"), "", 406, answers),
        ("YAML answers", "GET", a.clone(), accept("application/yaml"), "", 406, answers),
        ("YAML tables", "GET", a.clone(), accept("application/yaml;as=Table;v=v1;g=meta.k8s.io"), "", 406, answers),
        ("YAML watches", "GET", format!("{PROGRAMS}?watch=true"), accept("application/yaml"), "", 406, answers),
        ("CBOR answers", "GET", a.clone(), accept("application/cbor"), "", 406, answers),
        ("CBOR bodies", "POST", PROGRAMS.into(), sends("application/cbor"), "x", 415, types),
        ("other bodies", "POST", PROGRAMS.into(), sends("application/xml"), "<x/>", 415, types),
        (
            "an unknown table version",
            "GET",
            a.clone(),
            accept("application/json;as=Table;v=v9;g=meta.k8s.io"),
            "",
            406,
            answers,
        ),
        (
            "strategic merge of a custom kind",
            "PATCH",
            a.clone(),
            sends("application/strategic-merge-patch+json"),
            "{}",
            415,
            types,
        ),
        ("a patch of no type", "PATCH", a.clone(), JSON, "{}", 415, types),
        (
            "lists of old versions",
            "GET",
            format!("{PROGRAMS}?resourceVersion=1&resourceVersionMatch=Exact"),
            JSON,
            "",
            410,
            "The resourceVersion for the provided list is too old.",
        ),
        (
            "a body that is too large",
            "POST",
            PROGRAMS.into(),
            JSON,
            "",
            413,
            "Request entity too large: limit is 3145728",
        ),
        ("a name that is no path", "GET", format!("{PROGRAMS}/%2e%2e"), JSON, "", 400, "may not be '..'"),
        ("another method", "BREW", a.clone(), JSON, "", 405, "is not supported on resources of kind"),
        (
            "a collection of namespaces deleted",
            "DELETE",
            "/api/v1/namespaces".into(),
            JSON,
            "",
            405,
            "the server does not allow this method on the requested resource",
        ),
        ("PUT of a list", "PUT", PROGRAMS.into(), JSON, PROGRAM, 400, "name must be provided"),
        (
            "a lasting namespace deleted",
            "DELETE",
            "/api/v1/namespaces/kube-system".into(),
            JSON,
            "",
            403,
            "this namespace may not be deleted",
        ),
    ];
    for path in [
        "/apis/content.example.dev/v2/namespaces/default/programs",
        "/apis/none.example.dev/v1",
        "/apis/apps/v1/namespaces/default/deployments",
        "/api/v1/pods",
        "/apis/content.example.dev/v1/nonsense",
        "/apis/content.example.dev/v1/programs/a",
        "/apis/content.example.dev/v1/namespaces/default/sites",
        "/nonsense",
    ] {
        cases.push(("a path that leads nowhere", "GET", path.into(), JSON, "", 404, none));
    }
    for (group, kind) in [("authorization.k8s.io", "subjectaccessreviews"), ("authentication.k8s.io", "tokenreviews")] {
        cases.push(("a review of others", "POST", format!("/apis/{group}/v1/{kind}"), JSON, "{}", 404, none));
    }
    cases
}

#[tokio::test]
async fn each_class_is_refused_with_the_real_servers_code_and_words() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Wire::new(&open(dir.path()), Identity::Admin);
    let made = PROGRAM.replace("\"b\"", "\"a\"");
    assert_eq!(wire.send("POST", PROGRAMS, JSON, &made).await.code, 201);
    let before = wire.get(PROGRAMS).await.json();
    let large = "x".repeat((3 << 20) + 1);
    for (class, method, path, header, body, code, words) in cases() {
        let body = if code == 413 { &large } else { body };
        let answer = wire.send(method, &path, header, body).await;
        assert_eq!(answer.code, code, "{class}: {method} {path}: {answer:?}");
        assert!(answer.text.contains(words), "{class}: {method} {path}: {answer:?}");
    }
    assert_eq!(wire.get(PROGRAMS).await.json(), before, "something was half done");
}

#[tokio::test]
async fn definitions_are_part_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Wire::new(&open(dir.path()), Identity::Admin);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let one = format!("{path}/programs.content.example.dev");
    assert_eq!(wire.get(&one).await.json()["spec"]["names"]["kind"], "Program");
    let object =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"}});
    assert_eq!(wire.post(path, &object).await.code, 405);
    assert_eq!(wire.send("DELETE", &one, JSON, "").await.code, 405);
    assert_eq!(wire.send("PATCH", &one, ("Content-Type", "application/merge-patch+json"), "{}").await.code, 405);
}
