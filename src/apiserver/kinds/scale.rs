//! Kinds that can be scaled: the subresource is not served, but the numbers it would show are checked at every write, as the real
//! server does.

use serde_json::Value;

use crate::apiserver::{failure::Cause, shown};

/// The paths that a CRD gives its `scale` subresource, as `.spec.replicas`; empty where it has none.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Scale {
    spec: String,
    status: String,
}

impl Scale {
    /// Reads `subresources.scale` of a CRD's version.
    pub(super) fn of(declared: &Value) -> Scale {
        let path = |name: &str| declared[name].as_str().unwrap_or_default().to_owned();
        Scale { spec: path("specReplicasPath"), status: path("statusReplicasPath") }
    }

    /// What is wrong with the numbers of an object.
    pub(in super::super) fn faults(&self, object: &Value) -> Vec<Cause> {
        [&self.spec, &self.status]
            .into_iter()
            .filter(|path| !path.is_empty())
            .filter_map(|path| fault(path, object))
            .collect()
    }
}

fn fault(path: &str, object: &Value) -> Option<Cause> {
    let wrong = |value: i64, why: String| Some(Cause::invalid(path, &Value::from(value), why));
    let mistyped = |value: &Value, wanted: &str| {
        wrong(
            0,
            format!("{path} accessor error: {} is of the type {}, expected {wanted}", shown::go(value), go_type(value)),
        )
    };
    let mut found = object;
    for name in path.trim_start_matches('.').split('.') {
        match found {
            Value::Object(members) => found = members.get(name)?,
            Value::Null => return None,
            other => return mistyped(other, "map[string]interface{}"),
        }
    }
    match found.as_i64() {
        Some(count) if count < 0 => wrong(count, "should be a non-negative integer".to_owned()),
        Some(count) if i32::try_from(count).is_err() => {
            wrong(count, format!("should be less than or equal to {}", i32::MAX))
        }
        Some(_) => None,
        None => mistyped(found, "int64"),
    }
}

/// What the real server calls the type of a value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_checked_where_the_kind_says_they_are() {
        let scale = Scale::of(&json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}));
        let told = |object: Value| scale.faults(&object).into_iter().map(|c| c.message).collect::<Vec<_>>();
        assert!(told(json!({"spec": {"replicas": 3}, "status": {}})).is_empty());
        assert!(told(json!({"spec": null})).is_empty());
        assert_eq!(told(json!({"spec": {"replicas": -1}})), ["Invalid value: -1: should be a non-negative integer"]);
        let types = told(json!({"spec": "x", "status": {"replicas": 1.5}}));
        assert!(
            types[0]
                .ends_with(".spec.replicas accessor error: x is of the type string, expected map[string]interface{}")
        );
        assert!(types[1].ends_with(".status.replicas accessor error: 1.5 is of the type float64, expected int64"));
        assert!(Scale::of(&Value::Null).faults(&json!({"spec": "x"})).is_empty());
    }
}
