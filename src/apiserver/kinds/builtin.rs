//! The built-in kinds: names, verbs, and schemas taken from the published types, so that `explain` reads as everywhere.

use k8s_openapi::api::{authentication, authorization, coordination, core, events};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    ALL_VERBS, Column, Kind, Nature, SELECTABLE, Scale,
    definition::{AGE, NAME},
};
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
    /// The type as it is published.
    published: Published,
    /// Name, type, priority, and the field whose description is the column's.
    columns: &'static [(&'static str, &'static str, i64, &'static str)],
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
    published: Document::default,
    columns: &[],
};

/// A type as clients read it, with the types that it refers to; made when a kind is built.
type Published = fn() -> Document;

/// A schema, and those it refers to by name.
#[derive(Default)]
struct Document {
    schema: Value,
    definitions: Map<String, Value>,
}

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
    let event_columns: &[(&str, &str, i64, &str)] = &[
        ("Last Seen", "string", 0, "lastTimestamp"),
        ("Type", "string", 0, "type"),
        ("Reason", "string", 0, "reason"),
        ("Object", "string", 0, "involvedObject"),
        ("Subobject", "string", 1, "involvedObject.fieldPath"),
        ("Source", "string", 1, "source"),
        ("Message", "string", 0, "message"),
        ("First Seen", "string", 1, "firstTimestamp"),
        ("Count", "string", 1, "count"),
        ("Name", "string", 1, ""),
    ];
    [
        Spec {
            kind: "ConfigMap", plural: "configmaps", short_names: &["cm"], nature: Nature::ConfigMap,
            schema: schema_of::<core::v1::ConfigMap>(), published: published::<core::v1::ConfigMap>,
            columns: &[("Name", "string", 0, ""), ("Data", "string", 0, "data"), ("Age", "string", 0, "")],
            ..PLAIN
        },
        Spec {
            kind: "Event", plural: "events", short_names: &["ev"], nature: Nature::Event, fields: EVENT_FIELDS,
            schema: merged(schema_of::<core::v1::Event>(), &event), published: published::<core::v1::Event>, columns: event_columns, ..PLAIN
        },
        Spec {
            kind: "Namespace", plural: "namespaces", short_names: &["ns"], nature: Nature::Namespace,
            namespaced: false, status: true, fields: &["status.phase"],
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            schema: merged(schema_of::<core::v1::Namespace>(), &conditions), published: published::<core::v1::Namespace>,
            columns: &[("Name", "string", 0, ""), ("Status", "string", 0, ""), ("Age", "string", 0, "")],
            ..PLAIN
        },
        Spec {
            kind: "Secret", plural: "secrets", nature: Nature::Secret, fields: &["type"],
            schema: schema_of::<core::v1::Secret>(), published: published::<core::v1::Secret>,
            columns: &[
                ("Name", "string", 0, ""), ("Type", "string", 0, "type"), ("Data", "string", 0, "data"), ("Age", "string", 0, ""),
            ],
            ..PLAIN
        },
        Spec {
            group: "apiextensions.k8s.io", kind: "CustomResourceDefinition", plural: "customresourcedefinitions",
            short_names: &["crd", "crds"], namespaced: false, nature: Nature::Definition,
            verbs: &["get", "list", "watch"],
            schema: json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "description": "CustomResourceDefinition represents a resource that should be exposed on the API server. \
                    Here the definitions are part of the server: they can be read, not changed."}),
            columns: &[("Name", "string", 0, ""), ("Created At", "date", 0, "")],
            ..PLAIN
        },
        Spec {
            group: "coordination.k8s.io", kind: "Lease", plural: "leases", nature: Nature::Lease,
            schema: schema_of::<coordination::v1::Lease>(), published: published::<coordination::v1::Lease>,
            columns: &[("Name", "string", 0, ""), ("Holder", "string", 0, "spec.holderIdentity"), ("Age", "string", 0, "")],
            ..PLAIN
        },
        Spec {
            group: "events.k8s.io", kind: "Event", plural: "events", short_names: &["ev"], nature: Nature::NewEvent,
            fields: EVENT_FIELDS, schema: merged(schema_of::<events::v1::Event>(), &new_event), published: published::<events::v1::Event>, columns: event_columns, ..PLAIN
        },
    ]
    .into_iter()
    .filter_map(build)
    .collect()
}

fn reviews() -> Vec<Kind> {
    let review = |group, kind, plural, schema, published| Spec {
        group,
        kind,
        plural,
        schema,
        published,
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
            published::<authentication::v1::SelfSubjectReview>,
        ),
        review(
            "authorization.k8s.io",
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            schema_of::<authorization::v1::SelfSubjectAccessReview>(),
            published::<authorization::v1::SelfSubjectAccessReview>,
        ),
        review(
            "authorization.k8s.io",
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
            schema_of::<authorization::v1::SelfSubjectRulesReview>(),
            published::<authorization::v1::SelfSubjectRulesReview>,
        ),
    ]
    .into_iter()
    .filter_map(build)
    .collect()
}

/// A schema of ours always compiles (a test proves it), so none is lost here.
fn build(spec: Spec) -> Option<Kind> {
    let schema = Schema::new(&spec.schema).ok()?;
    let published = (spec.published)();
    let open_api = if published.schema.is_null() { spec.schema.clone() } else { published.schema };
    let resource = match (spec.nature, spec.group) {
        (Nature::NewEvent, _) => "events".into(),
        (_, "") => spec.plural.into(),
        (_, group) => format!("{}.{group}", spec.plural).into(),
    };
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mut selectable = owned(&SELECTABLE);
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
        columns: spec.columns.iter().map(|column| described(column, &spec.schema)).collect(),
        names: if spec.nature == Nature::Namespace { NameRule::Label } else { NameRule::Subdomain },
        verbs: spec.verbs,
        nature: spec.nature,
        scale: Scale::default(),
        open_api,
        definitions: published.definitions,
        resource,
        schema,
        selectable,
    })
}

fn described((name, kind, priority, field): &(&str, &str, i64, &str), schema: &Value) -> Column {
    let of_field = || {
        let node = field.split('.').fold(schema, |node, name| &node["properties"][name]);
        node["description"].as_str().unwrap_or_default().to_owned()
    };
    Column {
        name: (*name).into(),
        kind: (*kind).into(),
        format: if *name == "Name" { "name".into() } else { String::new() },
        description: match *name {
            "Name" => NAME.into(),
            "Age" | "Created At" => AGE.into(),
            "Status" => "The status of the namespace".into(),
            _ => of_field(),
        },
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

/// A published type as it is, with names for the types inside.
fn published<T: JsonSchema>() -> Document {
    let mut schema = SchemaSettings::openapi3().into_generator().into_root_schema_for::<T>().to_value();
    let mut definitions = Map::new();
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.remove("title");
        if let Some(Value::Object(types)) = root.remove("components").and_then(|mut c| c["schemas"].take().into()) {
            definitions = types;
        }
        // the Rust type always has metadata; whoever writes an object need not, but for the old events
        if let Some(Value::Array(required)) = root.get_mut("required") {
            required.retain(|name| name != "metadata" || T::schema_name() == "io.k8s.api.core.v1.Event");
        }
        if root.get("required") == Some(&json!([])) {
            root.remove("required");
        }
    }
    Document { schema, definitions }
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
