//! The operations of a document: clients ask them which options a request takes and which patches a kind knows.

use serde_json::{Map, Value, json};

use super::{DELETE_OPTIONS, Kind, reference};

/// Adds the paths of a kind whose schema is called `name`.
pub(super) fn add(kind: &Kind, name: &str, paths: &mut Map<String, Value>) {
    let prefix = kind.prefix();
    let place = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    let base = format!("/{prefix}/{place}{}", kind.plural);
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let operations = |list: &[(&str, &str)]| -> Value {
        let served = list.iter().filter(|(_, verb)| kind.verbs.contains(verb));
        served
            .map(|(method, verb)| ((*method).to_owned(), operation(kind, name, method, verb, scope)))
            .collect::<Map<_, _>>()
            .into()
    };
    let collection = [("get", "list"), ("post", "create"), ("delete", "deletecollection")];
    let single = [("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")];
    paths.insert(base.clone(), operations(&collection));
    if kind.verbs.contains(&"get") {
        paths.insert(format!("{base}/{{name}}"), operations(&single));
    }
    if kind.status_subresource {
        let of_status = [("get", "get"), ("put", "update"), ("patch", "patch")];
        paths.insert(format!("{base}/{{name}}/status"), operations(&of_status));
    }
    if kind.namespaced && kind.verbs.contains(&"list") {
        paths.insert(format!("/{prefix}/{}", kind.plural), operations(&[("get", "list")]));
    }
}

fn operation(kind: &Kind, name: &str, method: &str, verb: &str, scope: &str) -> Value {
    let parameter = |n: &str, t: &str| json!({"name": n, "in": "query", "schema": {"type": t, "uniqueItems": true}});
    let named: &[(&str, &str)] = match verb {
        "create" | "update" => &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")],
        "patch" => {
            &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")]
        }
        "delete" => &[("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")],
        "get" => &[("resourceVersion", "string")],
        _ => &[
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
    };
    let parameters: Vec<Value> = named.iter().map(|(n, t)| parameter(n, t)).collect();
    let answered = match verb {
        "list" => format!("{name}List"),
        _ => name.to_owned(),
    };
    let content = |schema: &str, types: &[&str]| -> Value {
        types.iter().map(|t| ((*t).to_owned(), json!({"schema": reference(schema)}))).collect::<Map<_, _>>().into()
    };
    let action = match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    };
    let word = match verb {
        "create" => "create",
        "update" => "replace",
        "get" => "read",
        other => other,
    };
    let mut operation = json!({
        "operationId": format!("{word}{}{scope}{}", camel(&kind.group, &kind.version), kind.kind),
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind.gvk(), "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": content(&answered, &["application/json"])}},
    });
    let body = match (method, verb) {
        ("post" | "put", _) => Some(content(name, &["application/json", "application/yaml"])),
        ("patch", _) if kind.is_custom() => Some(content(name, &PATCHES[..3])),
        ("patch", _) => Some(content(name, &PATCHES)),
        ("delete", _) => Some(content(DELETE_OPTIONS, &["application/json"])),
        _ => None,
    };
    if let Some(content) = body {
        operation["requestBody"] = json!({"content": content});
    }
    operation
}

const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// `WaybillDevV1alpha1`.
fn camel(group: &str, version: &str) -> String {
    let capital = |w: &str| w.chars().take(1).flat_map(char::to_uppercase).chain(w.chars().skip(1)).collect::<String>();
    group.split('.').chain([version]).map(capital).collect()
}
