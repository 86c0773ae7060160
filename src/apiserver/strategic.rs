//! Strategic merge patch for the built-in kinds, as kubectl sends it when it applies or edits them.
//! Lists that merge by key exist only where these kinds have them: owner references and conditions.

use serde_json::{Map, Value};

use super::failure::Failure;

/// Lists of objects that are merged by a key member; lists of texts that are merged as sets.
const KEYED: &[(&str, &str)] = &[("ownerReferences", "uid"), ("conditions", "type")];
const SETS: &[&str] = &["finalizers"];

/// `object` after the patch.
pub(super) fn patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    let patch: Value =
        serde_json::from_slice(body).map_err(|e| Failure::bad_request(format!("error decoding patch: {e}")))?;
    let Value::Object(patch) = patch else { return Err(Failure::bad_request("error decoding patch: it is no object")) };
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        merge(members, patch);
    }
    Ok(object)
}

fn merge(object: &mut Map<String, Value>, mut patch: Map<String, Value>) {
    match patch.remove("$patch").as_ref().and_then(Value::as_str) {
        Some("replace") => object.clear(),
        Some("delete") => return object.clear(),
        _ => {}
    }
    if let Some(Value::Array(kept)) = patch.remove("$retainKeys") {
        object.retain(|name, _| kept.iter().any(|k| k == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(items)) = object.get_mut(list) {
                items.retain(|i| !gone.contains(i));
            }
            continue;
        }
        if name.starts_with("$setElementOrder/") {
            continue;
        }
        match value {
            Value::Null => {
                object.remove(&name);
            }
            Value::Object(inner) => {
                let slot = object.entry(name).or_insert_with(|| Map::new().into());
                if !slot.is_object() {
                    *slot = Map::new().into();
                }
                if let Some(members) = slot.as_object_mut() {
                    merge(members, inner);
                }
            }
            Value::Array(items) => {
                let merged = merge_list(&name, object.remove(&name), items);
                object.insert(name, merged.into());
            }
            scalar => {
                object.insert(name, scalar);
            }
        }
    }
}

fn merge_list(name: &str, live: Option<Value>, items: Vec<Value>) -> Vec<Value> {
    let mut list = match live {
        Some(Value::Array(list)) => list,
        _ => vec![],
    };
    if SETS.contains(&name) {
        for item in items {
            if !list.contains(&item) {
                list.push(item);
            }
        }
        return list;
    }
    let Some((_, key)) = KEYED.iter().find(|(n, _)| *n == name) else { return items };
    for item in items {
        let at = list.iter().position(|i| i[*key] == item[*key]);
        let deletes = item["$patch"] == "delete";
        match (at, item) {
            (Some(at), _) if deletes => {
                list.remove(at);
            }
            (Some(at), Value::Object(inner)) => {
                if let Some(members) = list[at].as_object_mut() {
                    merge(members, inner);
                }
            }
            (None, item) if !deletes => list.push(item),
            _ => {}
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_lists_merge_by_key_and_nulls_remove() {
        let live = json!({"data": {"a": "1", "b": "2"}, "metadata": {"finalizers": ["x"],
            "ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}]}});
        let change = json!({"data": {"a": null, "c": "3"}, "metadata": {"finalizers": ["y"],
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "ownerReferences": [{"uid": "2", "$patch": "delete"}, {"uid": "1", "name": "z"}]}});
        let after = patch(&live, change.to_string().as_bytes()).unwrap();
        assert_eq!(after["data"], json!({"b": "2", "c": "3"}));
        assert_eq!(after["metadata"]["ownerReferences"], json!([{"uid": "1", "name": "z"}]));
        assert_eq!(after["metadata"]["finalizers"], json!(["y"]));
    }
}
