//! Patches, dry runs, field validation, tables, discovery and schemas: each class of request answered as kube-apiserver
//! answers it. The expected words were taken from one.

use serde_json::{Value, json};

use super::{
    raw::{Answer, Wire},
    support::Served,
};

const MERGE: (&str, &str) = ("Content-Type", "application/merge-patch+json");
const JSON_PATCH: (&str, &str) = ("Content-Type", "application/json-patch+json");
const APPLY: (&str, &str) = ("Content-Type", "application/apply-patch+yaml");

/// A server with the program `a`.
struct Setting {
    /// The path of programs.
    programs: String,
    /// The path of `a`.
    a: String,
    wire: Wire,
    _served: Served,
}

async fn served() -> Option<Setting> {
    let served = Served::start().await?;
    let wire = Wire::new(served.admin().await);
    let programs = served.path("programs");
    let made =
        wire.post(&programs, &program("a", json!({"command": "run", "args": ["p", "q"], "vars": {"x": "1"}}))).await;
    assert_eq!(made.code, 201, "{made:?}");
    Some(Setting { a: format!("{programs}/a"), programs, wire, _served: served })
}

fn program(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "content.example.dev/v1", "kind": "Program", "metadata": {"name": name}, "spec": spec})
}

fn refused(answer: &Answer, code: u16, words: &str) {
    assert_eq!(answer.code, code, "{answer:?}");
    assert!(answer.refusal().1.contains(words), "{words}: {answer:?}");
}

#[tokio::test]
async fn merge_and_json_patches_change_what_they_name_and_say_why_not() {
    let Some(setting) = served().await else { return };
    let Setting { wire, a, .. } = &setting;
    let patch = async |kind, body: &str| wire.send("PATCH", a, kind, body).await;
    let spec = |answer: &Answer| answer.json()["spec"].clone();

    let done = patch(MERGE, r#"{"spec": {"vars": {"x": null, "y": "2"}, "args": ["r"]}}"#).await;
    assert_eq!((&spec(&done)["vars"], &spec(&done)["args"]), (&json!({"y": "2"}), &json!(["r"])));
    let done = patch(
        JSON_PATCH,
        r#"[{"op": "test", "path": "/spec/vars/y", "value": "2"},
        {"op": "add", "path": "/spec/args/-", "value": "s"}, {"op": "replace", "path": "/spec/args/-1", "value": "t"},
        {"op": "move", "from": "/spec/vars/y", "path": "/spec/vars/z"}]"#,
    );
    let done = done.await;
    assert_eq!((&spec(&done)["vars"], &spec(&done)["args"]), (&json!({"z": "2"}), &json!(["r", "t"])));
    let before = wire.get(a).await.json();
    for nothing in ["[]", "null"] {
        assert_eq!(
            patch(JSON_PATCH, nothing).await.json()["metadata"]["resourceVersion"],
            before["metadata"]["resourceVersion"]
        );
    }
    // nobody's claim about an object's birth is heard
    let done = patch(MERGE, r#"{"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}}"#).await;
    assert_eq!(done.json()["metadata"]["creationTimestamp"], before["metadata"]["creationTimestamp"]);

    let unprocessable = "the server rejected our request due to an error in our request";
    for body in [
        r#"[{"op": "test", "path": "/spec/vars/z", "value": "3"}]"#,
        r#"[{"op": "remove", "path": "/spec/args/7"}]"#,
        r#"[{"op": "add", "path": "", "value": {}}]"#,
        r#"[{"op": "frob", "path": "/spec"}]"#,
    ] {
        refused(&patch(JSON_PATCH, body).await, 422, unprocessable);
    }
    for (kind, body, code, words) in [
        (MERGE, "[1]", 400, "cannot unmarshal array into Go value of type map[string]interface {}"),
        (MERGE, "{", 400, "unexpected end of JSON input"),
        (MERGE, r#"{"spec": {"command": null}}"#, 422, "spec.command: Required value"),
        (MERGE, r#"{"spec": {"priority": 101}}"#, 422, "should be less than or equal to 100"),
        (MERGE, r#"{"kind": "Package"}"#, 422, "kind: Invalid value: \"Package\": must be Program"),
        (MERGE, r#"{"apiVersion": "v2"}"#, 422, "apiVersion: Invalid value: \"v2\": must be content.example.dev/v1"),
        (MERGE, r#"{"apiVersion": null}"#, 500, "Object 'apiVersion' is missing"),
        (MERGE, r#"{"metadata": {"name": "b"}}"#, 400, "does not match the name on the URL"),
        (
            MERGE,
            r#"{"metadata": {"labels": {"l": 5}}}"#,
            422,
            "number into Go struct field ObjectMeta.labels of type string",
        ),
        (MERGE, r#"{"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}}"#, 422, "field is immutable"),
        (MERGE, r#"{"metadata": {"resourceVersion": "x"}}"#, 500, "strconv.ParseUint: parsing \"x\""),
        (MERGE, r#"{"metadata": {"resourceVersion": "1"}}"#, 409, "the object has been modified"),
        (JSON_PATCH, "{}", 400, "cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
    ] {
        refused(&patch(kind, body).await, code, words);
    }
}

#[tokio::test]
async fn an_apply_may_leave_out_the_name_of_an_object_that_exists() {
    let Some(setting) = served().await else { return };
    let Setting { wire, programs, .. } = &setting;
    let apply = async |name: &str, body: &str| {
        wire.send("PATCH", &format!("{programs}/{name}?fieldManager=m"), APPLY, body).await
    };
    let unnamed = "apiVersion: content.example.dev/v1\nkind: Program\nspec: {size: 4}\n";
    assert_eq!(apply("a", unnamed).await.json()["spec"]["size"], 4);
    refused(&apply("b", unnamed).await, 400, "was undeterminable: name must be provided");
    refused(&apply("a", &format!("{unnamed}metadata: {{name: \"\"}}\n")).await, 400, "was undeterminable");
    refused(&apply("a", &format!("{unnamed}metadata: {{name: b}}\n")).await, 400, "does not match the name on the URL");
    refused(&apply("a", "").await, 400, "invalid object type: /, Kind=");
    refused(&apply("a", "[]").await, 400, "cannot unmarshal array into Go value of type map[string]interface {}");
    refused(&apply("b/status", unnamed).await, 404, "programs.content.example.dev \"b\" not found");
}

#[tokio::test]
async fn a_dry_run_answers_as_the_call_would_and_leaves_nothing() {
    let Some(setting) = served().await else { return };
    let Setting { wire, programs, a, .. } = &setting;
    let before = wire.get(a).await.json();
    let all = |path: &str| format!("{path}?dryRun=All");
    let made = wire.post(&all(programs), &program("b", json!({"command": "run"}))).await;
    assert_eq!((made.code, &made.json()["metadata"]["resourceVersion"]), (201, &Value::Null));
    let done = wire.send("PATCH", &all(a), MERGE, r#"{"spec": {"size": 2}}"#).await.json();
    assert_eq!((&done["spec"]["size"], &done["metadata"]["generation"]), (&json!(2), &json!(2)));
    assert_eq!(done["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    refused(&wire.send("PATCH", &all(a), MERGE, r#"{"spec": {"priority": 101}}"#).await, 422, "spec.priority");
    refused(&wire.post(&all(programs), &program("a", json!({"command": "run"}))).await, 409, "already exists");
    assert_eq!(wire.send("DELETE", &all(a), MERGE, "").await.code, 200);
    let body = r#"{"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}"#;
    assert_eq!(wire.send("DELETE", programs, ("Content-Type", "application/json"), body).await.code, 200);
    for odd in ["", "all", "None"] {
        let path = format!("{programs}?dryRun={odd}");
        refused(&wire.post(&path, &program("b", json!({"command": "run"}))).await, 422, "supported values: \"All\"");
    }
    assert_eq!(wire.get(a).await.json(), before);
    assert_eq!(wire.get(programs).await.json()["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn options_of_a_deletion_that_cannot_be_read_delete_nothing() {
    let Some(setting) = served().await else { return };
    let Setting { wire, a, .. } = &setting;
    let delete = async |query: &str, body: &str| {
        wire.send("DELETE", &format!("{a}{query}"), ("Content-Type", "application/json"), body).await
    };
    refused(&delete("", "[]").await, 400, "cannot unmarshal array");
    refused(&delete("", r#"{"preconditions": {"uid": 5}}"#).await, 400, "of type types.UID");
    refused(&delete("", r#"{"preconditions": {"uid": "x"}}"#).await, 409, "does not match the UID in record");
    refused(&delete("?gracePeriodSeconds=x", "").await, 400, "strconv.ParseInt");
    refused(&delete("?propagationPolicy=Odd", "").await, 422, "supported values: \"Foreground\", \"Background\"");
    assert_eq!(wire.get(a).await.code, 200);
}

#[tokio::test]
async fn unknown_and_doubled_fields_are_told_refused_or_ignored_as_asked() {
    let Some(setting) = served().await else { return };
    let Setting { wire, programs, a, .. } = &setting;
    let text = r#"{"apiVersion": "content.example.dev/v1", "kind": "Program", "metadata": {"name": "N"},
        "spec": {"command": "run", "command": "walk", "wat": 1}}"#;
    let post = async |name: &str, query: &str| {
        let body = text.replace("\"N\"", &format!("{name:?}"));
        wire.send("POST", &format!("{programs}{query}"), ("Content-Type", "application/json"), &body).await
    };
    let told = post("b", "").await;
    assert_eq!((told.code, &told.json()["spec"]["command"]), (201, &json!("walk")));
    let warning = |what: &str, field: &str| format!("299 - \"{what} field \\\"spec.{field}\\\"\"");
    assert_eq!(told.warnings, [warning("duplicate", "command"), warning("unknown", "wat")]);
    let ignored = post("c", "?fieldValidation=Ignore").await;
    assert_eq!((ignored.code, ignored.warnings.len()), (201, 0));
    let strict = "strict decoding error: duplicate field \"spec.command\", unknown field \"spec.wat\"";
    refused(&post("d", "?fieldValidation=Strict").await, 400, strict);
    refused(&post("d", "?fieldValidation=strict").await, 422, "fieldValidation: Unsupported value: \"strict\"");
    let doubled = r#"{"spec": {"flag": true, "flag": false}}"#;
    assert_eq!(wire.send("PATCH", a, MERGE, doubled).await.warnings, [warning("duplicate", "flag")]);
    let path = format!("{a}?fieldValidation=Strict");
    refused(
        &wire.send("PATCH", &path, MERGE, doubled).await,
        422,
        "strict decoding error: duplicate field \"spec.flag\"",
    );
    assert_eq!(wire.get(&format!("{programs}/d")).await.code, 404);
}

#[tokio::test]
async fn tables_carry_the_kinds_columns_and_rows() {
    let Some(setting) = served().await else { return };
    let Setting { wire, programs, a, .. } = &setting;
    let table = ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let shown = wire.send("GET", &format!("{programs}?includeObject=None"), table, "").await.json();
    let names: Vec<&str> =
        shown["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Command", "Priority", "Flag", "Size", "Steps", "Ready", "At", "Age"]);
    assert_eq!(shown["rows"][0]["cells"].as_array().unwrap()[..3], [json!("a"), json!("run"), json!(10)]);
    assert_eq!(shown["rows"][0]["object"], Value::Null);
    let one = wire.send("GET", a, table, "").await.json();
    assert_eq!((&one["kind"], &one["rows"][0]["object"]["kind"]), (&json!("Table"), &json!("PartialObjectMetadata")));
    assert_eq!(wire.send("GET", &format!("{programs}/none"), table, "").await.json()["kind"], "Status");
    refused(&wire.send("GET", &format!("{programs}?includeObject=Odd"), table, "").await, 400, "Odd");
}

#[tokio::test]
async fn lists_refuse_what_means_nothing() {
    let Some(setting) = served().await else { return };
    let Setting { wire, programs, .. } = &setting;
    let list = async |query: &str| wire.get(&format!("{programs}?{query}")).await;
    let token = "invalid continue token: continue key is not valid: ";
    for (query, code, words) in [
        ("continue=x", 400, format!("{token}illegal base64 data at input byte 0")),
        ("continue=e30", 400, format!("{token}server does not recognize this encoded version ")),
        ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", 400, format!("{token}encoded start key empty")),
        ("limit=x", 400, "strconv.ParseInt".into()),
        ("timeoutSeconds=x", 400, "strconv.ParseInt".into()),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list".into()),
        ("resourceVersionMatch=Exact", 422, "forbidden unless resourceVersion is provided".into()),
        ("labelSelector=a%20in%20(", 400, "unable to parse requirement".into()),
        ("fieldSelector=spec.command%3Dx", 400, "field label not supported: spec.command".into()),
        ("watch=true&continue=x", 422, "forbidden when continue is provided".into()),
    ] {
        refused(&list(query).await, code, &words);
    }
}

#[tokio::test]
async fn discovery_and_schemas_tell_what_is_served() {
    let Some(setting) = served().await else { return };
    let Setting { wire, .. } = &setting;
    let groups = wire.get("/apis").await.json();
    let ours = groups["groups"].as_array().unwrap().iter().find(|g| g["name"] == "content.example.dev").unwrap();
    assert_eq!(ours["preferredVersion"]["groupVersion"], "content.example.dev/v1");
    let listed = wire.get("/apis/content.example.dev/v1").await.json();
    let names: Vec<&str> =
        listed["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    // in no order that one can rely on; the subresource `scale` is left out of the embedded server
    let mut names: Vec<&str> = names.into_iter().filter(|name| !name.ends_with("/scale")).collect();
    names.sort_unstable();
    assert_eq!(names, ["packages", "packages/status", "programs", "programs/status", "sites"]);
    let aggregated = ("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let all = wire.send("GET", "/apis", aggregated, "").await.json();
    let ours =
        all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "content.example.dev").unwrap();
    let program = ours["versions"][0]["resources"].as_array().unwrap().iter().find(|r| r["resource"] == "programs");
    assert_eq!(program.unwrap()["subresources"][0]["subresource"], "status");
    let index = wire.get("/openapi/v3").await.json();
    let path = index["paths"]["apis/content.example.dev/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let schema = wire.get(&path).await.json();
    let kinds = schema["components"]["schemas"].as_object().unwrap();
    let program = kinds.iter().find(|(name, _)| name.ends_with(".Program")).unwrap().1;
    assert_eq!(program["properties"]["spec"]["properties"]["priority"]["maximum"], 100);
    assert_eq!(wire.get("/version").await.json()["major"], "1");
    for (path, text) in
        [("/readyz", "ok"), ("/livez", "ok"), ("/readyz/ping", "ok"), ("/readyz?verbose", "readyz check passed")]
    {
        let answer = wire.get(path).await;
        assert!(answer.code == 200 && answer.text.contains(text), "{path}: {answer:?}");
    }
}
