//! What schemas say on their way out and nobody wrote into them. Of a Go type the real server also says how its lists merge, and
//! gives every field that is never absent its zero value as the default; the Rust types have lost both.

use serde_json::{Map, Value, json};

/// What all names of published types begin with.
const LIBRARY: &str = "io.k8s.";

/// Says of the published types among the schemas what the real server says of them.
pub(super) fn complete(schemas: &mut Map<String, Value>) {
    for (name, schema) in schemas {
        let Some(name) = name.strip_prefix(LIBRARY) else { continue };
        zero_values(schema);
        for (_, field, more) in more().into_iter().filter(|(of, ..)| *of == name) {
            match field {
                "" => say(schema, more),
                field => say(&mut schema["properties"][field], more),
            }
        }
    }
}

/// Type, field (or the type itself), and what is said of it.
fn more() -> Vec<(&'static str, &'static str, Value)> {
    let structure = || json!({"default": {}});
    let text = || json!({"default": ""});
    let atomic_list = || json!({"x-kubernetes-list-type": "atomic"});
    let atomic_map = || json!({"x-kubernetes-map-type": "atomic"});
    let keyed = |key: &str| {
        json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key],
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": key})
    };
    let meta = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
    vec![
        (meta, "finalizers", json!({"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"})),
        (meta, "managedFields", atomic_list()),
        (meta, "ownerReferences", keyed("uid")),
        ("apimachinery.pkg.apis.meta.v1.OwnerReference", "", atomic_map()),
        ("api.core.v1.ConfigMap", "metadata", structure()),
        ("api.core.v1.Event", "involvedObject", structure()),
        ("api.core.v1.Event", "metadata", structure()),
        ("api.core.v1.Event", "reportingComponent", text()),
        ("api.core.v1.Event", "reportingInstance", text()),
        ("api.core.v1.Event", "source", structure()),
        ("api.core.v1.Namespace", "metadata", structure()),
        ("api.core.v1.Namespace", "spec", structure()),
        ("api.core.v1.Namespace", "status", structure()),
        ("api.core.v1.NamespaceSpec", "finalizers", atomic_list()),
        ("api.core.v1.NamespaceStatus", "conditions", keyed("type")),
        ("api.core.v1.NamespaceStatus", "phase", json!({"enum": ["Active", "Terminating"], "description": PHASE})),
        ("api.core.v1.ObjectReference", "", atomic_map()),
        ("api.core.v1.Secret", "metadata", structure()),
        ("api.coordination.v1.Lease", "metadata", structure()),
        ("api.coordination.v1.Lease", "spec", structure()),
        ("api.events.v1.Event", "", json!({"required": ["eventTime"]})),
        ("api.events.v1.Event", "deprecatedSource", structure()),
        ("api.events.v1.Event", "metadata", structure()),
        ("api.events.v1.Event", "regarding", structure()),
    ]
}

const PHASE: &str = "Phase is the current lifecycle phase of the namespace. More info: \
    https://kubernetes.io/docs/tasks/administer-cluster/namespaces/\n\nPossible enum values:\n - `\"Active\"` means the \
    namespace is available for use in the system\n - `\"Terminating\"` means the namespace is undergoing graceful termination";

/// Gives what is never absent its zero value: required fields, items of lists, values of maps.
fn zero_values(schema: &mut Value) {
    let required: Vec<String> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, field) in properties {
        if required.contains(name) && field.get("type").is_some() {
            default_to_zero(field);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(below) = field.get_mut(below) {
                default_to_zero(below);
            }
        }
    }
}

/// A text in a format (a time, bytes) has no zero value that can be written down.
fn default_to_zero(schema: &mut Value) {
    let zero = match schema.get("type").and_then(Value::as_str) {
        Some("string") if schema.get("format").is_none() => json!(""),
        Some("integer") => json!(0),
        Some("boolean") => json!(false),
        None => json!({}),
        Some(_) => return,
    };
    say(schema, json!({"default": zero}));
}

/// Adds to a schema. What only refers to another gets a place to say something of its own.
fn say(schema: &mut Value, more: Value) {
    if let Some(reference) = schema.as_object_mut().and_then(|members| members.remove("$ref")) {
        schema["allOf"] = json!([{"$ref": reference}]);
    }
    json_patch::merge(schema, &more);
}

/// Says as types, too, what `x-kubernetes-int-or-string` says.
pub(super) fn int_or_string(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) && !members.contains_key("anyOf") {
                members.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
            }
            members.values_mut().for_each(int_or_string);
        }
        Value::Array(items) => items.iter_mut().for_each(int_or_string),
        _ => {}
    }
}
