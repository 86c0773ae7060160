//! Whether the definition of a kind may take the place of the one that a cluster has. A definition is widened and never
//! narrowed: what is stored, or written or asked by somebody's newer tool, must go on being accepted. Compares versions, fields,
//! their types, listed values and what can be selected; limits, patterns and rules are not compared.

use serde_json::Value;

/// What to do about one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The cluster has none.
    Create,
    /// Ours may take its place.
    Apply,
    /// The cluster's has all that ours has, and more: a newer program brought it.
    Keep {
        /// What it has besides.
        more: Vec<String>,
    },
    /// Each has what the other lacks: neither may take the other's place.
    Refuse {
        /// What would be lost.
        lost: Vec<String>,
    },
}

/// What to do where the cluster has `live` and this program knows `ours`.
#[must_use]
pub fn step(live: Option<&Value>, ours: &Value) -> Step {
    let Some(live) = live else { return Step::Create };
    let lost = lost(live, ours);
    if lost.is_empty() {
        Step::Apply
    } else if self::lost(ours, live).is_empty() {
        Step::Keep { more: lost }
    } else {
        Step::Refuse { lost }
    }
}

/// What `ours` has and the cluster's lacks, as `v1alpha1 spec.field`: what somebody writes there is dropped by the API server.
#[must_use]
pub fn missing(live: &Value, ours: &Value) -> Vec<String> {
    lost(ours, live)
}

/// What `old` accepts or serves and `new` does not, as `v1alpha1 spec.field` and the like, in reading order.
fn lost(old: &Value, new: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    for version in items(&old["spec"]["versions"]) {
        let name = text(&version["name"]);
        let Some(same) = items(&new["spec"]["versions"]).iter().find(|other| other["name"] == version["name"]) else {
            lost.push(format!("version {name}"));
            continue;
        };
        if version["served"] == true && same["served"] != true {
            lost.push(format!("serving of version {name}"));
        }
        let selectable = |of: &Value| items(&of["selectableFields"]).to_vec();
        let kept = selectable(same);
        let gone = selectable(version).into_iter().filter(|field| !kept.contains(field));
        lost.extend(
            gone.map(|field| format!("{name} selection by {}", text(&field["jsonPath"]).trim_start_matches('.'))),
        );
        let schema = |of: &Value| of["schema"]["openAPIV3Schema"].clone();
        fields(&schema(version), &schema(same), name, &mut lost);
    }
    lost
}

/// Adds what the schema `old` accepts at this place and below, and `new` does not.
fn fields(old: &Value, new: &Value, path: &str, lost: &mut Vec<String>) {
    if new["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    if new.get("type").is_some() && old["type"] != new["type"] {
        lost.push(format!("{path} of type {}", text(&old["type"])));
        return;
    }
    if let Some(allowed) = new["enum"].as_array() {
        let gone = items(&old["enum"]).iter().filter(|value| !allowed.contains(value));
        lost.extend(gone.map(|value| format!("{path}: {value}")));
    }
    let before = items(&old["required"]);
    let demanded = items(&new["required"]).iter().filter(|field| !before.contains(field));
    lost.extend(demanded.map(|field| format!("{path} without {}", text(field))));
    for (field, below) in old["properties"].as_object().into_iter().flatten() {
        // The version stands apart from the field: `v1alpha1 spec.suspend`.
        let separator = if path.contains(' ') { '.' } else { ' ' };
        let path = format!("{path}{separator}{field}");
        match new["properties"].get(field) {
            Some(same) => fields(below, same, &path, lost),
            None if new["additionalProperties"].is_object() => fields(below, &new["additionalProperties"], &path, lost),
            None => lost.push(path),
        }
    }
    for (member, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if old[member].is_object() {
            match new[member].is_object() {
                true => fields(&old[member], &new[member], &format!("{path}{mark}"), lost),
                false => lost.push(format!("{path}{mark}")),
            }
        }
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("any")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Value {
        json!({"spec": {"versions": [{"name": "v1", "served": true, "selectableFields": [{"jsonPath": ".spec.a"}], "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "enum": ["x", "y"]},
                "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
            }}},
        }}}]}})
    }

    /// The definition with one place set to something else, or removed.
    fn with(pointer: &str, value: Value) -> Value {
        let mut changed = definition();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(member)
        } else {
            parent.insert(member.to_owned(), value)
        };
        changed
    }

    const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";

    #[test]
    fn what_is_new_is_applied_and_nothing_is_lost_by_it() {
        let wider = [
            with(&format!("{SPEC}/properties/new"), json!({"type": "string"})),
            with(&format!("{SPEC}/properties/a/enum"), json!(["x", "y", "z"])),
            with(&format!("{SPEC}/required"), Value::Null),
            with("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.b"}, {"jsonPath": ".spec.a"}])),
            with(&format!("{SPEC}/description"), json!("said better")),
            with(&format!("{SPEC}/properties/map/x-kubernetes-preserve-unknown-fields"), json!(true)),
        ];
        for ours in wider {
            assert_eq!(step(Some(&definition()), &ours), Step::Apply, "{ours}");
        }
        assert_eq!(step(Some(&definition()), &definition()), Step::Apply);
        assert_eq!(step(None, &definition()), Step::Create);
    }

    #[test]
    fn what_the_cluster_has_besides_is_kept_whatever_it_is() {
        let narrower = [
            (with(&format!("{SPEC}/properties/a"), Value::Null), "v1 spec.a"),
            (with(&format!("{SPEC}/properties/list/items/properties/b"), Value::Null), "v1 spec.list[].b"),
            (with(&format!("{SPEC}/properties/map/additionalProperties"), Value::Null), "v1 spec.map{}"),
            (with(&format!("{SPEC}/properties/a/enum"), json!(["x"])), "v1 spec.a: \"y\""),
            (with(&format!("{SPEC}/required"), json!(["a", "map"])), "v1 spec without map"),
            (with("/spec/versions/0/selectableFields", Value::Null), "v1 selection by spec.a"),
            (with("/spec/versions/0/served", json!(false)), "serving of version v1"),
            (with("/spec/versions", json!([])), "version v1"),
        ];
        for (ours, more) in narrower {
            assert_eq!(step(Some(&definition()), &ours), Step::Keep { more: vec![more.to_owned()] });
        }
    }

    #[test]
    fn neither_takes_the_place_of_the_other_if_both_would_lose() {
        let mut ours = with(&format!("{SPEC}/properties/new"), json!({"type": "string"}));
        ours.pointer_mut(&format!("{SPEC}/properties")).unwrap().as_object_mut().unwrap().remove("list");
        assert_eq!(step(Some(&definition()), &ours), Step::Refuse { lost: vec!["v1 spec.list".to_owned()] });
        let retyped = with(&format!("{SPEC}/properties/a"), json!({"type": "integer"}));
        assert_eq!(
            step(Some(&definition()), &retyped),
            Step::Refuse { lost: vec!["v1 spec.a of type string".to_owned()] }
        );
    }
}
