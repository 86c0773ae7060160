//! OpenAPI v3 documents, one per group version: what `kubectl explain`, `apply`, `diff` and `edit` read.

use ring::digest;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::kinds::{Kind, Kinds};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The index of documents; the hash lets clients keep what they have.
pub(super) fn index(kinds: &Kinds) -> Value {
    let mut paths = Map::new();
    for kind in kinds.iter() {
        let prefix = kind.prefix();
        if paths.contains_key(&prefix) {
            continue;
        }
        let text = document(kinds, &prefix).unwrap_or_default().to_string();
        let hash: String =
            digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02X}")).collect();
        let url = format!("/openapi/v3/{prefix}?hash={hash}");
        paths.insert(prefix, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The document of one group version (`apis/waybill.dev/v1alpha1`).
pub(super) fn document(kinds: &Kinds, prefix: &str) -> Option<Value> {
    let here: Vec<&Kind> = kinds.iter().filter(|k| k.prefix() == prefix).map(|k| &**k).collect();
    if here.is_empty() {
        return None;
    }
    let (mut schemas, mut paths) = (shared_schemas(), Map::new());
    for kind in here {
        let name = schema_name(kind);
        schemas.extend(kind.definitions.clone());
        schemas.insert(name.clone(), schema(kind));
        schemas.insert(format!("{name}List"), list_schema(kind, &name));
        add_paths(kind, &name, &mut paths);
    }
    Some(json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}, "paths": paths,
        "components": {"schemas": schemas}}))
}

/// `dev.waybill.v1alpha1.Package`.
fn schema_name(kind: &Kind) -> String {
    let reversed = kind.group.split('.').rev().collect::<Vec<_>>().join(".");
    match reversed.as_str() {
        "" => format!("io.k8s.api.core.{}.{}", kind.version, kind.kind),
        group => format!("{group}.{}.{}", kind.version, kind.kind),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema as published: with the members every object has, and without what only the server needs.
fn schema(kind: &Kind) -> Value {
    let mut schema = kind.open_api.clone();
    published(&mut schema);
    schema["x-kubernetes-group-version-kind"] = json!([kind.gvk()]);
    if !kind.definitions.is_empty() {
        // a published type brings its own members
        return schema;
    }
    for (name, text) in TYPE_MEMBERS {
        schema["properties"][*name] = json!({"type": "string", "description": text});
    }
    schema["properties"]["metadata"] = json!({"description": "Standard object's metadata. More info: \
        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
        "allOf": [reference(META)], "default": {}});
    schema
}

const TYPE_MEMBERS: &[(&str, &str)] = &[
    (
        "apiVersion",
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
        recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    ),
    (
        "kind",
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from \
        the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    ),
];

/// Types that clients understand: `x-kubernetes-int-or-string` says more than its missing type.
fn published(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
                && !members.contains_key("type")
            {
                members.insert("type".into(), "object".into());
            }
            members.values_mut().for_each(published);
        }
        Value::Array(items) => items.iter_mut().for_each(published),
        _ => {}
    }
}

fn list_schema(kind: &Kind, name: &str) -> Value {
    let mut gvk = kind.gvk();
    gvk["kind"] = json!(kind.list_kind);
    json!({"type": "object", "description": format!("{} is a list of {}", kind.list_kind, kind.kind), "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"},
            "items": {"type": "array", "description": format!("List of {}.", kind.plural), "items": {"allOf": [reference(name)]}},
            "metadata": {"allOf": [reference(LIST_META)]}},
        "x-kubernetes-group-version-kind": [gvk]})
}

/// ObjectMeta, ListMeta and DeleteOptions with everything they refer to.
fn shared_schemas() -> Map<String, Value> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, ObjectMeta};
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<ObjectMeta>();
    generator.subschema_for::<ListMeta>();
    generator.subschema_for::<DeleteOptions>();
    generator.take_definitions(true)
}

fn add_paths(kind: &Kind, name: &str, paths: &mut Map<String, Value>) {
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
