//! JSON Schemas of manifests, made from the definitions of the kinds, for editors and for whatever else checks YAML. They say what
//! fields there are, their types and limits; rules that look at more than one field are left to `waybill validate`.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

/// What editors and the tools of Kubernetes all read.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";
/// The file that has all kinds.
const ALL: &str = "all.json";

/// The schemas by file name: one a kind as catalogs of schemas name it, `GROUP/KIND_VERSION.json`, and `all.json`, which takes the one
/// of the kind that a document names. What is not of our group it leaves alone.
#[must_use]
pub fn json_schemas(crds: &[CustomResourceDefinition]) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    let (mut choices, mut definitions, mut known) = (Vec::new(), Map::new(), BTreeMap::new());
    for crd in crds {
        let (group, kind) = (&crd.spec.group, &crd.spec.names.kind);
        for version in crd.spec.versions.iter().filter(|version| version.served) {
            let schema =
                version.schema.as_ref().and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
            let api_version = format!("{group}/{}", version.name);
            let manifest = manifest(&schema["openAPIV3Schema"], &api_version, kind, crd.spec.scope == "Namespaced");
            let name = format!("{}_{}", kind.to_lowercase(), version.name);
            choices.push(json!({
                "if": {
                    "required": ["apiVersion", "kind"],
                    "properties": { "apiVersion": { "const": api_version }, "kind": { "const": kind } },
                },
                "then": { "$ref": format!("#/definitions/{name}") },
            }));
            let mut file = manifest.clone();
            file["$schema"] = json!(DIALECT);
            files.insert(format!("{group}/{name}.json"), file);
            definitions.insert(name, manifest);
            known.entry(api_version).or_insert_with(Vec::new).push(kind.clone());
        }
    }
    choices.extend(known.iter().map(|(api_version, kinds)| {
        json!({
            "if": { "required": ["apiVersion"], "properties": { "apiVersion": { "const": api_version } } },
            "then": { "required": ["kind"], "properties": { "kind": { "enum": kinds } } },
        })
    }));
    let all = json!({
        "$schema": DIALECT,
        "title": "Manifests of Waybill",
        "type": "object",
        "allOf": choices,
        "definitions": definitions,
    });
    files.insert(ALL.to_owned(), all);
    files
}

/// The schema of what a manifest of a kind holds: no status, and of the metadata what is the author's.
fn manifest(schema: &Value, api_version: &str, kind: &str, namespaced: bool) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let texts = |description: &str| json!({ "type": "object", "description": description, "additionalProperties": { "type": "string" } });
    let mut metadata = json!({
        "name": text("Name of the object, of lower-case letters, digits, - and ."),
        "labels": texts("Labels, to select objects by"),
        "annotations": texts("Annotations: words for tools"),
    });
    if namespaced {
        metadata["namespace"] = text("Namespace of the object; default if a manifest names none");
    }
    let mut required: Vec<Value> = ["apiVersion", "kind", "metadata"].map(Value::from).to_vec();
    let spec_is_needed = schema["required"].as_array().is_some_and(|fields| fields.contains(&json!("spec")));
    required.extend(spec_is_needed.then(|| json!("spec")));
    json!({
        "title": kind,
        "description": schema["description"],
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": api_version },
            "kind": { "const": kind },
            "metadata": {
                "type": "object", "required": ["name"], "additionalProperties": false, "properties": metadata,
            },
            "spec": converted(&schema["properties"]["spec"]),
        },
    })
}

/// A schema of Kubernetes as one of JSON Schema: its own words go, `nullable` becomes a type, and fields that it would prune or
/// complain of are refused.
fn converted(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut made = Map::new();
    for (word, value) in fields.iter().filter(|(word, _)| !word.starts_with("x-kubernetes-") && *word != "nullable") {
        let value = match (word.as_str(), value) {
            ("properties", Value::Object(members)) => {
                Value::Object(members.iter().map(|(name, member)| (name.clone(), converted(member))).collect())
            }
            ("items" | "additionalProperties", value) => converted(value),
            (_, value) => value.clone(),
        };
        made.insert(word.clone(), value);
    }
    let holds = |word: &str| fields.get(word) == Some(&Value::Bool(true));
    if made.contains_key("properties")
        && made.get("type") == Some(&json!("object"))
        && !holds("x-kubernetes-preserve-unknown-fields")
    {
        made.entry("additionalProperties").or_insert(json!(false));
    }
    if holds("nullable") {
        if let Some(Value::String(kind)) = made.get("type").cloned() {
            made.insert("type".into(), json!([kind, "null"]));
        }
        if let Some(Value::Array(values)) =
            made.get_mut("enum").filter(|values| !values.as_array().is_some_and(|all| all.contains(&Value::Null)))
        {
            values.push(Value::Null);
        }
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_kubernetes_become_those_of_json_schema() {
        let schema = json!({
            "type": "object", "required": ["a"],
            "x-kubernetes-validations": [{"rule": "true"}],
            "oneOf": [{"required": ["a"]}],
            "properties": {
                "a": {"type": "string", "nullable": true, "enum": ["x"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                "list": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {}}},
            },
        });
        let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
        assert_eq!(
            converted(&schema),
            json!({
                "type": "object", "required": ["a"], "additionalProperties": false,
                "oneOf": [{"required": ["a"]}],
                "properties": {
                    "a": {"type": ["string", "null"], "enum": ["x", null]},
                    "free": {"type": "object", "properties": {}},
                    "map": {"type": "object", "additionalProperties": none},
                    "list": {"type": "array", "items": none},
                },
            })
        );
    }

    #[test]
    fn every_word_of_the_definitions_is_one_of_json_schema() {
        const KNOWN: [&str; 20] = [
            "additionalProperties",
            "const",
            "default",
            "description",
            "enum",
            "format",
            "items",
            "maxItems",
            "maxLength",
            "maxProperties",
            "maximum",
            "minItems",
            "minLength",
            "minProperties",
            "minimum",
            "oneOf",
            "pattern",
            "properties",
            "required",
            "type",
        ];
        fn walk(schema: &Value) {
            for (word, value) in schema.as_object().into_iter().flatten() {
                assert!(KNOWN.contains(&word.as_str()) || word == "title", "{word} of {schema}");
                match word.as_str() {
                    "properties" => value.as_object().unwrap().values().for_each(walk),
                    "items" | "additionalProperties" => walk(value),
                    _ => {}
                }
            }
        }
        for crd in super::super::crds() {
            let schema = serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap()).unwrap();
            walk(&manifest(&schema["openAPIV3Schema"], "x/v1", "X", true));
        }
    }
}
