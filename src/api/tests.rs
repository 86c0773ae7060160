//! Every kind is a structural, documented schema whose rules compile.

use serde_json::Value;

use super::crds;

fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{mark}"), visit);
        }
    }
}

#[test]
fn every_schema_is_structural_documented_and_compiles() {
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
        assert!(!serde_json::to_string(&schema).unwrap().contains("$ref"), "{name}: a $ref is not structural");
        walk(&schema, &name, &mut |path, node| {
            assert!(
                node["type"].is_string() || node["x-kubernetes-int-or-string"] == true,
                "{path} has no type: {node}"
            );
        });
        walk(&schema["properties"]["spec"], &format!("{name}.spec"), &mut |path, node| {
            if !path.ends_with(']') && !path.ends_with('}') {
                assert!(node["description"].is_string(), "{path} is not documented");
            }
        });
        assert!(!kube::core::cel::compile_schema(&schema).has_errors(), "{name}: a CEL rule does not compile");
        assert_eq!(schema["properties"]["status"]["default"]["observedGeneration"], -1, "{name}");
    }
}

#[test]
fn what_can_be_selected_is_a_scalar_field_and_no_kind_has_too_many() {
    /// The API server refuses a definition with more.
    const MOST: usize = 8;
    let mut seen = 0;
    for crd in crds() {
        let version = serde_json::to_value(&crd.spec.versions[0]).unwrap();
        let fields = version["selectableFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(fields.len() <= MOST, "{}", crd.spec.names.plural);
        for field in fields {
            let path = field["jsonPath"].as_str().unwrap();
            let names = path.strip_prefix('.').unwrap().split('.');
            let node = names.fold(&version["schema"]["openAPIV3Schema"], |node, name| &node["properties"][name]);
            let kind = node["type"].as_str().unwrap_or("missing");
            assert!(["string", "boolean", "integer"].contains(&kind), "{} {path} is {kind}", crd.spec.names.plural);
            seen += 1;
        }
    }
    assert!(seen > 0);
}
