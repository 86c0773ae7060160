//! The built-in kinds: names, verbs, and schemas taken from the published types, so that `explain` reads as everywhere.

use k8s_openapi::api::{authentication, authorization, coordination, core, events};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{ALL_VERBS, Column, Kind, Nature, definition::AGE};
use crate::apiserver::{metadata::NameRule, schema::Schema};

/// Fields of a stored event that a field selector may name.
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// What distinguishes one built-in kind from another.
struct Spec {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    namespaced: bool,
    status: bool,
    fields: &'static [&'static str],
    verbs: &'static [&'static str],
    nature: Nature,
    schema: Value,
    /// Name, type, priority.
    columns: &'static [(&'static str, &'static str, i64)],
}

/// A namespaced kind of the core group with every verb.
const PLAIN: Spec = Spec {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short_names: &[],
    namespaced: true,
    status: false,
    fields: &[],
    verbs: ALL_VERBS,
    nature: Nature::Review,
    schema: Value::Null,
    columns: &[],
};

/// Every built-in kind.
pub(in crate::apiserver) fn kinds() -> Vec<Kind> {
    let mut kinds = stored();
    kinds.extend(reviews());
    kinds
}

fn stored() -> Vec<Kind> {
    let conditions = json!({"properties": {"status": {"properties": {"conditions": {
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}}}}});
    let one = json!({"x-kubernetes-map-type": "atomic"});
    let event = json!({"properties": {"involvedObject": one, "related": one}});
    let new_event = json!({"properties": {"regarding": one, "related": one}});
    let event_columns: &[(&str, &str, i64)] = &[
        ("Last Seen", "string", 0),
        ("Type", "string", 0),
        ("Reason", "string", 0),
        ("Object", "string", 0),
        ("Subobject", "string", 1),
        ("Source", "string", 1),
        ("Message", "string", 0),
        ("First Seen", "string", 1),
        ("Count", "string", 1),
        ("Name", "string", 1),
    ];
    [
        Spec {
            kind: "ConfigMap", plural: "configmaps", short_names: &["cm"], nature: Nature::ConfigMap,
            schema: schema_of::<core::v1::ConfigMap>(),
            columns: &[("Name", "string", 0), ("Data", "string", 0), ("Age", "string", 0)],
            ..PLAIN
        },
        Spec {
            kind: "Event", plural: "events", short_names: &["ev"], nature: Nature::Event, fields: EVENT_FIELDS,
            schema: merged(schema_of::<core::v1::Event>(), &event), columns: event_columns, ..PLAIN
        },
        Spec {
            kind: "Namespace", plural: "namespaces", short_names: &["ns"], nature: Nature::Namespace,
            namespaced: false, status: true, fields: &["status.phase"],
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            schema: merged(schema_of::<core::v1::Namespace>(), &conditions),
            columns: &[("Name", "string", 0), ("Status", "string", 0), ("Age", "string", 0)],
            ..PLAIN
        },
        Spec {
            kind: "Secret", plural: "secrets", nature: Nature::Secret, fields: &["type"],
            schema: schema_of::<core::v1::Secret>(),
            columns: &[("Name", "string", 0), ("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)],
            ..PLAIN
        },
        Spec {
            group: "apiextensions.k8s.io", kind: "CustomResourceDefinition", plural: "customresourcedefinitions",
            short_names: &["crd", "crds"], namespaced: false, nature: Nature::Definition,
            verbs: &["get", "list", "watch"],
            schema: json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "description": "CustomResourceDefinition represents a resource that should be exposed on the API server. \
                    Here the definitions are part of the server: they can be read, not changed."}),
            columns: &[("Name", "string", 0), ("Created At", "date", 0)],
            ..PLAIN
        },
        Spec {
            group: "coordination.k8s.io", kind: "Lease", plural: "leases", nature: Nature::Lease,
            schema: schema_of::<coordination::v1::Lease>(),
            columns: &[("Name", "string", 0), ("Holder", "string", 0), ("Age", "string", 0)],
            ..PLAIN
        },
        Spec {
            group: "events.k8s.io", kind: "Event", plural: "events", short_names: &["ev"], nature: Nature::NewEvent,
            fields: EVENT_FIELDS, schema: merged(schema_of::<events::v1::Event>(), &new_event), columns: event_columns, ..PLAIN
        },
    ]
    .into_iter()
    .filter_map(build)
    .collect()
}

fn reviews() -> Vec<Kind> {
    let review = |group, kind, plural, schema| Spec {
        group,
        kind,
        plural,
        schema,
        namespaced: false,
        verbs: &["create"],
        nature: Nature::Review,
        ..PLAIN
    };
    [
        review(
            "authentication.k8s.io",
            "SelfSubjectReview",
            "selfsubjectreviews",
            schema_of::<authentication::v1::SelfSubjectReview>(),
        ),
        review(
            "authorization.k8s.io",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            schema_of::<authorization::v1::SelfSubjectAccessReview>(),
        ),
        review(
            "authorization.k8s.io",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            schema_of::<authorization::v1::SelfSubjectRulesReview>(),
        ),
    ]
    .into_iter()
    .filter_map(build)
    .collect()
}

/// A schema of ours always compiles (a test proves it), so none is lost here.
fn build(spec: Spec) -> Option<Kind> {
    let schema = Schema::new(&spec.schema).ok()?;
    let resource = match (spec.nature, spec.group) {
        (Nature::NewEvent, _) => "events".into(),
        (_, "") => spec.plural.into(),
        (_, group) => format!("{}.{group}", spec.plural).into(),
    };
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mut selectable = owned(&["metadata.name", "metadata.namespace"]);
    selectable.extend(owned(spec.fields));
    Some(Kind {
        group: spec.group.into(),
        version: spec.version.into(),
        kind: spec.kind.into(),
        list_kind: format!("{}List", spec.kind),
        plural: spec.plural.into(),
        singular: spec.kind.to_lowercase(),
        short_names: owned(spec.short_names),
        categories: if spec.nature == Nature::Definition { vec!["api-extensions".into()] } else { vec![] },
        namespaced: spec.namespaced,
        status_subresource: spec.status,
        columns: spec.columns.iter().map(column).collect(),
        names: if spec.nature == Nature::Namespace { NameRule::Label } else { NameRule::Subdomain },
        verbs: spec.verbs,
        nature: spec.nature,
        open_api: spec.schema,
        resource,
        schema,
        selectable,
    })
}

fn column((name, kind, priority): &(&str, &str, i64)) -> Column {
    Column {
        name: (*name).into(),
        kind: (*kind).into(),
        format: if *name == "Name" { "name".into() } else { String::new() },
        description: if *name == "Age" { AGE.into() } else { String::new() },
        json_path: String::new(),
        priority: *priority,
    }
}

/// The structural schema of a published type, with metadata left to the server's own rules.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.remove("title");
        root.remove("components");
        // A review's status is the server's answer, so a question without one is complete.
        root.remove("required");
    }
    schema["type"] = "object".into();
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema
}

fn merged(mut schema: Value, more: &Value) -> Value {
    json_patch::merge(&mut schema, more);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_schema_compiles() {
        assert_eq!(kinds().len(), 10);
    }
}
