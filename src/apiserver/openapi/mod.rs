//! OpenAPI v3 documents, one per group version: what `kubectl explain`, `apply`, `diff` and `edit` read.

mod paths;
mod published;

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
        paths::add(kind, &name, &mut paths);
    }
    published::complete(&mut schemas);
    Some(json!({"openapi": "3.0.0", "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}, "paths": paths,
        "components": {"schemas": schemas}}))
}

/// `dev.waybill.v1alpha1.Package`, `io.k8s.api.coordination.v1.Lease`.
fn schema_name(kind: &Kind) -> String {
    let group = match kind.group.as_str() {
        "" => "io.k8s.api.core".to_owned(),
        library if is_published(kind) => format!("io.k8s.api.{}", library.split('.').next().unwrap_or_default()),
        own => own.split('.').rev().collect::<Vec<_>>().join("."),
    };
    format!("{group}.{}.{}", kind.version, kind.kind)
}

/// Whether the kind is a published type, which brings its own members and names the types inside.
fn is_published(kind: &Kind) -> bool {
    !kind.definitions.is_empty()
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema as published, with the members every object has.
fn schema(kind: &Kind) -> Value {
    let mut schema = kind.open_api.clone();
    schema["x-kubernetes-group-version-kind"] = json!([kind.gvk()]);
    if is_published(kind) {
        return schema;
    }
    published::int_or_string(&mut schema);
    let selectable: Vec<Value> = kind.own_selectable().map(|path| json!({"fieldPath": path})).collect();
    if !selectable.is_empty() {
        schema["x-kubernetes-selectable-fields"] = selectable.into();
    }
    for (name, text) in TYPE_MEMBERS {
        schema["properties"][*name] = json!({"type": "string", "description": text});
    }
    schema["properties"]["metadata"] = json!({"description": "Standard object's metadata. More info: \
        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
        "allOf": [reference(META)]});
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
