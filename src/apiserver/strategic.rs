//! Strategic merge patch for the built-in kinds, as kubectl sends it when it applies or edits them.
//! Lists that merge by key exist only where these kinds have them: owner references and conditions.

use serde_json::{Map, Value};

use super::{
    failure::{Cause, Failure},
    shown,
};

/// Lists of objects that are merged by a key member; lists of texts that are merged as sets.
const KEYED: &[(&str, &str)] = &[("ownerReferences", "uid"), ("conditions", "type")];
const SETS: &[&str] = &["finalizers"];

/// `object` after the patch.
pub(super) fn patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    let decoded = super::decode::json(body);
    let patch = decoded.map_err(|fault| Failure::bad_request(format!("error decoding patch: {fault}")))?.object;
    let Value::Object(patch) = patch else {
        let found = super::body::word(&patch);
        let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(Failure::bad_request(why));
    };
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        merge(members, patch);
    }
    Ok(object)
}

/// A refusal of what a patch leads to, as it is told of this kind of patch: about the patch, not about the object.
pub(super) fn retold(refused: Failure, body: &[u8]) -> Failure {
    let about = |why: &str| {
        let patch = super::decode::json(body).map(|d| d.object).unwrap_or_default();
        let cause = Cause::invalid("patch", &Value::String(shown::go(&patch)), why);
        Failure::invalid("", "", "", vec![cause])
    };
    const STRICT: &str = "strict decoding error: ";
    match (refused.code, refused.message.find(STRICT)) {
        (422, Some(at)) => about(&refused.message[at..]),
        (400, _) if refused.message.ends_with(" of type string") => {
            let found = refused.message.split("json: cannot unmarshal ").nth(1).and_then(|rest| rest.split(' ').next());
            match found {
                Some("number") => about("cannot convert int64 to string"),
                Some("bool") => about("unrecognized type: string"),
                _ => refused,
            }
        }
        _ => refused,
    }
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
            Value::Object(inner) if inner.get("$patch").is_some_and(|verb| verb == "delete") => {
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
        return ordered(list, items, |a, b| a == b);
    }
    let Some((_, key)) = KEYED.iter().find(|(n, _)| *n == name) else { return items };
    let order: Vec<Value> = items.iter().filter(|item| item["$patch"].is_null()).cloned().collect();
    let before = list.clone();
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
    // the items are merged; what is left is to put them into their order
    let same = |a: &Value, b: &Value| a[*key] == b[*key];
    let place = ordered(before, order, same);
    list.sort_by_key(|item| place.iter().position(|other| same(item, other)));
    list
}

/// The items of both lists, each once: those of the patch in its order, the others of the live list where they were beside
/// what both have. What only the patch has comes first.
fn ordered(live: Vec<Value>, patch: Vec<Value>, same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    let place = |item: &Value| live.iter().position(|other| same(item, other));
    let others: Vec<&Value> = live.iter().filter(|item| !patch.iter().any(|other| same(item, other))).collect();
    let mut others = others.into_iter().peekable();
    let mut out: Vec<Value> = vec![];
    for item in patch {
        let before = |other: &&&Value| place(&item).is_some_and(|here| place(other).is_some_and(|there| there < here));
        while let Some(other) = others.next_if(|other| before(&other)) {
            out.push(other.clone());
        }
        if !out.iter().any(|other| same(other, &item)) {
            out.push(item);
        }
    }
    out.extend(others.cloned());
    out
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
