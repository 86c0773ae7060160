//! Every rule inside one object: a case that breaks it, refused by the API server and, with the same words, offline.

use std::process::Command;

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use waybill::apiserver::{ApiServer, Identity, Options};

/// A rule of a committed definition: the kind, where it stands, and the words of its refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    kind: String,
    path: String,
    words: String,
    /// Compares with the object before, so that only a change can break it.
    of_change: bool,
}

/// An object that breaks a rule.
struct Case {
    kind: &'static str,
    path: &'static str,
    words: &'static str,
    spec: Value,
}

fn definitions() -> Vec<Value> {
    waybill::api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
}

/// CEL rules and choices of exactly one member, of every definition.
fn rules() -> Vec<Rule> {
    fn walk(node: &Value, path: &str, kind: &str, rules: &mut Vec<Rule>) {
        let mut add = |words: &str, of_change| {
            rules.push(Rule { kind: kind.to_owned(), path: path.to_owned(), words: words.to_owned(), of_change });
        };
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let text = rule["rule"].as_str().unwrap();
            add(rule["message"].as_str().expect("a rule says what is wrong"), text.contains("oldSelf"));
        }
        if node["oneOf"].is_array() {
            add("must validate one and only one schema (oneOf)", false);
        }
        for (name, below) in node["properties"].as_object().into_iter().flatten() {
            walk(below, &format!("{path}.{name}"), kind, rules);
        }
        if node["items"].is_object() {
            walk(&node["items"], &format!("{path}[]"), kind, rules);
        }
    }
    let mut rules = vec![];
    for crd in definitions() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", kind, &mut rules);
    }
    rules.sort();
    rules
}

fn cases() -> Vec<Case> {
    let case = |kind, path, words, spec| Case { kind, path, words, spec };
    let one = "must validate one and only one schema (oneOf)";
    let program = |more: Value| {
        let mut spec = json!({"packageRef": "p", "argv": ["a"]});
        json_patch::merge(&mut spec, &more);
        spec
    };
    let advertisement = |more: Value| {
        let mut spec = json!({"program": "p", "collection": "c", "userMayStart": true});
        json_patch::merge(&mut spec, &more);
        spec
    };
    let (late, before) = ("9999-12-31T23:59:59Z", "it must be before 9999-12-30T00:00:00Z");
    vec![
        case("Advertisement", ".spec.start", before, advertisement(json!({"start": late}))),
        case("Advertisement", ".spec.expires", before, advertisement(json!({"expires": late}))),
        case("Advertisement", ".spec.assignments[].at", before, advertisement(json!({"assignments": [{"at": late}]}))),
        case(
            "Distribution",
            ".spec.startAfter",
            before,
            json!({"package": "p", "distributionPoints": {"all": {}}, "startAfter": late}),
        ),
        case("ClientAgentConfig", ".spec.pollInterval", "it must be at least 1m", json!({"pollInterval": "59s"})),
        case("DistributionPoint", ".spec.scrubInterval", "it must be at least 1m", json!({"scrubInterval": "0h0s"})),
        case("Program", ".spec.maxRuntime", "it must be at least 1s", program(json!({"maxRuntime": "0s"}))),
        case(
            "Advertisement",
            ".spec",
            "an advertisement needs an assignment, or userMayStart",
            advertisement(json!({"userMayStart": false})),
        ),
        case(
            "Advertisement",
            ".spec",
            "expires must come after start",
            advertisement(json!({"start": "2026-12-01T08:00:00+01:00", "expires": "2026-12-01T07:00:00Z"})),
        ),
        case("Advertisement", ".spec.assignments[]", one, advertisement(json!({"assignments": [{}]}))),
        case(
            "Distribution",
            ".spec.distributionPoints",
            one,
            json!({"package": "p", "distributionPoints": {"names": ["a"], "all": {}}}),
        ),
        case("Package", ".spec.source", one, json!({"source": {"none": {}, "directory": {"path": "a"}}})),
        case("Program", ".spec.argv", "the command must not be empty", program(json!({"argv": [""]}))),
        case("Program", ".spec.argv", "the command must lie in the package", program(json!({"argv": ["../sh"]}))),
        case("Program", ".spec.argv", "the command must lie in the package", program(json!({"argv": ["a/../../sh"]}))),
        case("Program", ".spec.cwd", "cwd must be a relative path within the package", program(json!({"cwd": "/tmp"}))),
        case("Program", ".spec.cwd", "cwd must be a relative path within the package", program(json!({"cwd": "a/.."}))),
        case(
            "Site",
            ".spec.namespaces[].name",
            "name a namespace, or * for all that have no entry of their own",
            json!({"namespaces": [{"name": "web*"}]}),
        ),
    ]
}

fn is_namespaced(kind: &str) -> bool {
    !["Site", "DistributionPoint", "ClientAgentConfig"].contains(&kind)
}

fn object(kind: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": "x"});
    if is_namespaced(kind) {
        metadata["namespace"] = json!("default");
    }
    json!({"apiVersion": "waybill.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// An embedded API with our kinds.
struct Served {
    _directory: tempfile::TempDir,
    client: kube::Client,
}

impl Served {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            database: directory.path().join("api.db"),
            crds: definitions(),
            fleet: None,
            callers: Default::default(),
        };
        let client = ApiServer::open(options).unwrap().client(Identity::Admin);
        Self { _directory: directory, client }
    }

    /// The refusal of a request, or what was made of it.
    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value, kube::core::Status> {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Body::from(serde_json::to_vec(body).unwrap())).unwrap();
        let (parts, body) = self.client.send(request).await.unwrap().into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        if parts.status.is_success() {
            return Ok(serde_json::from_slice(&bytes).unwrap());
        }
        Err(serde_json::from_slice(&bytes).unwrap())
    }
}

fn collection(kind: &str) -> String {
    let namespace = if is_namespaced(kind) { "namespaces/default/" } else { "" };
    format!("/apis/waybill.dev/v1alpha1/{namespace}{}s", kind.to_lowercase())
}

/// What `waybill validate` says of one object; it must find fault with it.
fn validated(object: &Value) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.yaml"), object.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_waybill")).arg("validate").arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{object} is valid offline");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_broken_rule_is_refused_by_the_server_and_offline_with_the_same_words() {
    let served = Served::open();
    let (rules, cases) = (rules(), cases());
    for rule in rules.iter().filter(|rule| !rule.of_change) {
        let has = cases.iter().any(|one| (one.kind, one.path, one.words) == (&*rule.kind, &*rule.path, &*rule.words));
        assert!(has, "no case breaks {rule:?}");
    }
    for Case { kind, path, words, spec } in cases {
        let rule = rules.iter().find(|one| (&*one.kind, &*one.path, &*one.words) == (kind, path, words));
        assert!(rule.is_some(), "there is no rule {words:?} at {kind}{path}");
        let object = object(kind, &spec);
        let refused = served.send("POST", &collection(kind), "application/json", &object).await.unwrap_err();
        assert_eq!(refused.code, 422, "{refused:?}");
        let causes = refused.details.unwrap().causes;
        let said: Vec<_> = causes.iter().filter(|cause| cause.message.contains(words)).collect();
        assert!(!said.is_empty(), "{words}: {causes:?}");
        let offline = validated(&object);
        if words.contains("(oneOf)") {
            // Offline it is said in words which fields these are, at the line of one of them.
            let is_said =
                offline.contains("which exclude each other: keep one") || offline.contains("needs exactly one of");
            assert!(is_said && !offline.contains("oneOf"), "{offline}");
            continue;
        }
        for cause in said {
            assert!(offline.contains(&cause.message), "the server says {:?}, offline:\n{offline}", cause.message);
            let place = if cause.field == "<nil>" { String::new() } else { format!("{}: ", cause.field) };
            assert!(offline.contains(&format!("{place}{}", cause.message)), "{place} is missing in\n{offline}");
        }
    }
}

#[tokio::test]
async fn package_and_name_of_a_program_never_change() {
    let served = Served::open();
    let of_change: Vec<Rule> = rules().into_iter().filter(|rule| rule.of_change).collect();
    let known: Vec<_> = of_change.iter().map(|rule| (&*rule.kind, &*rule.path)).collect();
    assert_eq!(known, [("Program", ".spec.packageRef")], "a rule about changes without a test");
    let words = &of_change[0].words;

    let path = format!("{}/x", collection("Program"));
    let other = object("Program", &json!({"packageRef": "other", "argv": ["a"]}));
    let first = object("Program", &json!({"packageRef": "p", "argv": ["a"]}));
    let made = served.send("POST", &collection("Program"), "application/json", &first).await.unwrap();

    let merge = "application/merge-patch+json";
    let mut replaced = other.clone();
    replaced["metadata"] = made["metadata"].clone();
    replaced["metadata"].as_object_mut().unwrap().remove("managedFields");
    for (method, path, kind, body) in [
        ("PATCH", path.clone(), merge, json!({"spec": {"packageRef": "other"}})),
        ("PUT", path.clone(), "application/json", replaced),
        ("PATCH", format!("{path}?fieldManager=m&force=true"), "application/apply-patch+yaml", other),
    ] {
        let refused = served.send(method, &path, kind, &body).await.unwrap_err();
        assert_eq!(refused.code, 422, "{method}: {refused:?}");
        assert!(
            refused.message.contains(&format!("spec.packageRef: Invalid value: \"other\": {words}")),
            "{refused:?}"
        );
    }
    let without = served.send("PATCH", &path, merge, &json!({"spec": {"packageRef": null}})).await.unwrap_err();
    assert!(without.message.contains("spec.packageRef: Required value"), "{without:?}");
    let renamed = served.send("PATCH", &path, merge, &json!({"metadata": {"name": "y"}})).await.unwrap_err();
    assert_eq!((renamed.code, &*renamed.reason), (400, "BadRequest"), "{renamed:?}");

    let edited = served.send("PATCH", &path, merge, &json!({"spec": {"argv": ["b"]}})).await.unwrap();
    assert_eq!((&edited["spec"]["packageRef"], &edited["metadata"]["name"]), (&json!("p"), &json!("x")));
}

#[tokio::test]
async fn what_is_as_long_as_it_must_be_is_taken_in_any_notation() {
    let served = Served::open();
    for (kind, spec) in [
        ("DistributionPoint", json!({"scrubInterval": "060s"})),
        ("ClientAgentConfig", json!({"pollInterval": "30s01h"})),
        ("ClientAgentConfig", json!({"pollInterval": "0h105s"})),
        ("Program", json!({"packageRef": "p", "argv": ["a", "one\ntwo"], "maxRuntime": "1s"})),
    ] {
        let path = format!("{}?dryRun=All", collection(kind));
        served.send("POST", &path, "application/json", &object(kind, &spec)).await.unwrap();
    }
    let short = object("ClientAgentConfig", &json!({"pollInterval": "0h0m059s"}));
    let refused = served.send("POST", &collection("ClientAgentConfig"), "application/json", &short).await.unwrap_err();
    assert!(refused.message.ends_with("it must be at least 1m"), "{refused:?}");
}

#[tokio::test]
async fn a_text_that_no_program_can_be_given_is_refused_by_the_server_and_offline() {
    let served = Served::open();
    for (field, more) in [
        ("spec.argv[1]", json!({"argv": ["a", "b\u{0}"]})),
        ("spec.cwd", json!({"cwd": "\u{0}"})),
        ("spec.env[0].value", json!({"env": [{"name": "A", "value": "\u{0}b"}]})),
    ] {
        let mut spec = json!({"packageRef": "p", "argv": ["a"]});
        json_patch::merge(&mut spec, &more);
        let object = object("Program", &spec);
        let refused = served.send("POST", &collection("Program"), "application/json", &object).await.unwrap_err();
        let causes = refused.details.unwrap().causes;
        assert!(causes.iter().any(|cause| cause.field == field), "{field}: {causes:?}");
        let offline = validated(&object);
        assert!(offline.contains("a program cannot be given a text with a NUL character in it"), "{offline}");
    }
}

#[tokio::test]
async fn times_without_an_offset_are_refused_by_the_server_and_offline() {
    let served = Served::open();
    let mut specs: Vec<(&str, &str, Value)> = vec![];
    for time in ["2026-12-01T08:00:00", "2026-12-01 08:00", "tomorrow", "08:00+01:00"] {
        let advertisement = json!({"program": "p", "collection": "c", "userMayStart": true});
        let with = |member: &str, value: Value| {
            let mut spec = advertisement.clone();
            spec[member] = value;
            spec
        };
        specs.push(("Advertisement", "spec.start", with("start", json!(time))));
        specs.push(("Advertisement", "spec.expires", with("expires", json!(time))));
        specs.push(("Advertisement", "spec.assignments[0].at", with("assignments", json!([{"at": time}]))));
        let distribution = json!({"package": "p", "distributionPoints": {"all": {}}, "startAfter": time});
        specs.push(("Distribution", "spec.startAfter", distribution));
    }
    let tested: std::collections::BTreeSet<_> =
        specs.iter().map(|(kind, field, _)| format!("{kind}.{field}")).collect();
    assert_eq!(times(), tested.iter().map(|one| one.replace("[0]", "[]")).collect::<Vec<_>>(), "a time without a case");
    for (kind, field, spec) in specs {
        let object = object(kind, &spec);
        let refused = served.send("POST", &collection(kind), "application/json", &object).await.unwrap_err();
        let causes = refused.details.unwrap().causes;
        let said = causes.iter().find(|cause| cause.field == field).unwrap_or_else(|| panic!("{field}: {causes:?}"));
        assert!(validated(&object).contains(&format!("{field}: {}", said.message)), "{said:?}");
    }
    let sound = json!({"package": "p", "distributionPoints": {"all": {}}, "startAfter": "2026-12-01T08:00:00+01:00"});
    served
        .send("POST", &collection("Distribution"), "application/json", &object("Distribution", &sound))
        .await
        .unwrap();
}

/// The fields of all specs that are times.
fn times() -> Vec<String> {
    fn walk(node: &Value, path: &str, found: &mut Vec<String>) {
        if node["format"] == "date-time" {
            found.push(path.to_owned());
        }
        for (name, below) in node["properties"].as_object().into_iter().flatten() {
            walk(below, &format!("{path}.{name}"), found);
        }
        if node["items"].is_object() {
            walk(&node["items"], &format!("{path}[]"), found);
        }
    }
    let mut found = vec![];
    for crd in definitions() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(spec, &format!("{kind}.spec"), &mut found);
    }
    found.sort();
    found
}
