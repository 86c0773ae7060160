//! The annotation in which kubectl's client-side apply remembers what it applied. Who goes on to server-side apply with kubectl has
//! it kept up to date by the server, so that the way back stays open. Nobody else's apply touches it.

use serde_json::{Value, json};

use super::{metadata, shown};
use crate::api::LAST_APPLIED_ANNOTATION as ANNOTATION;

/// The field manager of kubectl's server-side apply.
pub(super) const KUBECTL: &str = "kubectl";

/// What client-side apply wrote last to an object.
pub(super) fn of(object: &Value) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][ANNOTATION].as_str()?).ok()
}

/// Brings the annotation of `object`, if it has one, to what was just applied.
pub(super) fn keep(object: &mut Value, applied: &Value, manager: &str) {
    if manager != KUBECTL || !object["metadata"]["annotations"][ANNOTATION].is_string() {
        return;
    }
    object["metadata"]["annotations"][ANNOTATION] = json!(text(applied));
    if !metadata::annotations_fit(&object["metadata"]["annotations"])
        && let Some(annotations) = object["metadata"]["annotations"].as_object_mut()
    {
        annotations.remove(ANNOTATION);
    }
}

fn text(applied: &Value) -> String {
    let mut applied = applied.clone();
    if let Some(annotations) = applied["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    format!("{}\n", shown::json(&applied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubectls_apply_keeps_it_and_only_where_it_is() {
        let applied = json!({"kind": "A", "metadata": {"name": "a", "annotations": {ANNOTATION: "x", "b": "<c>"}}});
        let told = |annotations: Value, manager: &str| {
            let mut object = json!({"metadata": {"annotations": annotations}});
            keep(&mut object, &applied, manager);
            object["metadata"]["annotations"][ANNOTATION].clone()
        };
        assert_eq!(told(json!({}), KUBECTL), Value::Null);
        assert_eq!(told(json!({ANNOTATION: "old"}), "git"), "old");
        let new = "{\"kind\":\"A\",\"metadata\":{\"annotations\":{\"b\":\"\\u003cc\\u003e\"},\"name\":\"a\"}}\n";
        assert_eq!(told(json!({ANNOTATION: "old"}), KUBECTL), new);
        let long = json!({ANNOTATION: "old", "c": "x".repeat(262_140)});
        assert_eq!(told(long, KUBECTL), Value::Null, "it goes where it does not fit");
    }
}
