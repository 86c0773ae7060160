//! Merge patch (RFC 7386) and JSON patch (RFC 6902) with the API server's answers to broken ones.

use super::failure::Failure;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::Value;

/// More operations than this in one JSON patch are refused: each costs time, and no client needs as many.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// Bytes of JSON that the copies of one patch may add, as with the real server.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// `object` after a merge patch given as the request's body.
pub fn merge_patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    let patch = parse(body)?;
    if patch.is_null() {
        return Err(Failure::bad_request("Invalid JSON Patch"));
    }
    if !patch.is_object() {
        return Err(mistyped(&patch, "map[string]interface {}"));
    }
    let mut object = object.clone();
    json_patch::merge(&mut object, &patch);
    Ok(object)
}

/// `object` after a JSON patch given as the request's body. Which operation fails is not told, as by the real server.
pub fn json_patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    // a test compares numbers as they are written
    let operations = match super::decode::json_as_written(body).map_err(undecodable)? {
        Value::Array(operations) => operations,
        Value::Null => vec![],
        other => return Err(mistyped(&other, "[]handlers.jsonPatchOp")),
    };
    let count = operations.len();
    if count > MAX_JSON_PATCH_OPERATIONS {
        let limit = MAX_JSON_PATCH_OPERATIONS;
        return Err(Failure::too_large(format!(
            "The allowed maximum operations in a JSON patch is {limit}, got {count}"
        )));
    }
    operations.iter().try_for_each(decodable)?;
    let (mut object, mut copied) = (object.clone(), 0);
    for mut operation in operations {
        complete(&mut operation, &object);
        let operation = serde_json::from_value(operation).map_err(|_| Failure::unprocessable())?;
        copied += copied_bytes(&object, &operation);
        if copied > MAX_COPIED_BYTES {
            return Err(Failure::unprocessable());
        }
        step(&mut object, operation)?;
    }
    super::decode::whole(&mut object);
    Ok(object)
}

/// Whether an operation has the members that one has, of their types. Null is an operation that fails.
fn decodable(operation: &Value) -> Result<(), Failure> {
    if !operation.is_object() && !operation.is_null() {
        return Err(mistyped(operation, "handlers.jsonPatchOp"));
    }
    for member in ["op", "from", "path"] {
        let value = &operation[member];
        if !value.is_string() && !value.is_null() {
            return Err(Failure::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{member} of type string",
                super::body::word(value)
            )));
        }
    }
    Ok(())
}

/// Liberties that are of the operation alone: a path begins at its first slash: an operation without a value means null, and a negative index counts from a list's end.
fn complete(operation: &mut Value, object: &Value) {
    let Some(members) = operation.as_object_mut() else { return };
    let verb = members.get("op").and_then(Value::as_str).unwrap_or_default().to_owned();
    if matches!(verb.as_str(), "add" | "replace" | "test") {
        members.entry("value").or_insert(Value::Null);
    }
    for (member, beyond) in [("from", 0), ("path", usize::from(matches!(verb.as_str(), "add" | "move" | "copy")))] {
        let Some(Value::String(path)) = members.get_mut(member) else { continue };
        if let Some(slash) = path.find('/') {
            path.drain(..slash);
        }
        let Some((parent, back)) = path.rsplit_once("/-") else { continue };
        let length = object.pointer(parent).and_then(Value::as_array).map(Vec::len);
        if let (Some(length), Ok(back)) = (length, back.parse::<usize>())
            && let Some(index) = (length + beyond).checked_sub(back)
        {
            *path = format!("{parent}/{index}");
        }
    }
}

/// How many bytes of JSON an operation copies.
fn copied_bytes(object: &Value, operation: &PatchOperation) -> usize {
    let PatchOperation::Copy(copy) = operation else { return 0 };
    object.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len())
}

/// Two liberties of the real server: a missing member passes a test for null, and `replace` of a missing member adds it.
fn step(object: &mut Value, operation: PatchOperation) -> Result<(), Failure> {
    let operation = match operation {
        // a patch is of an object's members, not a new object
        PatchOperation::Add(AddOperation { path, .. }) if path.as_str().is_empty() => {
            return Err(Failure::unprocessable());
        }
        PatchOperation::Test(test) if test.value.is_null() && object.pointer(test.path.as_str()).is_none() => {
            return match missing_member(object, test.path.as_str()) {
                true => Ok(()),
                false => Err(Failure::unprocessable()),
            };
        }
        PatchOperation::Replace(replace) if missing_member(object, replace.path.as_str()) => {
            PatchOperation::Add(AddOperation { path: replace.path, value: replace.value })
        }
        other => other,
    };
    json_patch::patch(object, &Patch(vec![operation])).map_err(|_| Failure::unprocessable())
}

/// Whether a path leads to a member that its parent object lacks.
fn missing_member(object: &Value, path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    object.pointer(path).is_none() && object.pointer(parent).is_some_and(Value::is_object)
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    super::decode::json(body).map(|d| d.object).map_err(undecodable)
}

fn undecodable(fault: super::decode::Fault) -> Failure {
    Failure::bad_request(format!("error decoding patch: {fault}"))
}

fn mistyped(value: &Value, wanted: &str) -> Failure {
    let found = super::body::word(value);
    Failure::bad_request(format!("error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: Value, operations: Value) -> Result<Value, u16> {
        json_patch(&object, operations.to_string().as_bytes()).map_err(|failure| failure.code)
    }

    #[test]
    fn replace_of_a_missing_member_adds_it() {
        let out = patched(json!({"spec": {}}), json!([{"op": "replace", "path": "/spec/flag", "value": true}]));
        assert_eq!(out, Ok(json!({"spec": {"flag": true}})));
        assert_eq!(patched(json!({}), json!([{"op": "replace", "path": "/spec/flag", "value": true}])), Err(422));
    }

    /// Each copy of the whole into itself doubles it: a few kilobytes of operations would fill any memory.
    #[test]
    fn what_is_copied_has_a_limit() {
        let object = json!({"metadata": {"a": "x".repeat(1000)}});
        let copies = |count: usize| -> Value {
            (0..count).map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/k{n}")})).collect()
        };
        assert!(patched(object.clone(), copies(10)).unwrap().to_string().len() > 1_000_000);
        assert_eq!(patched(object, copies(40)), Err(422));
    }

    #[test]
    fn a_test_of_a_missing_member_with_null_passes() {
        let operations = json!([{"op": "test", "path": "/a", "value": null}, {"op": "add", "path": "/b", "value": 1}]);
        assert_eq!(patched(json!({}), operations), Ok(json!({"b": 1})));
        assert_eq!(patched(json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": null}])), Err(422));
    }

    #[test]
    fn a_negative_index_counts_from_the_end_and_a_missing_value_is_null() {
        let list = |operations| patched(json!({"l": [1, 2]}), operations).map(|o| o["l"].clone());
        assert_eq!(list(json!([{"op": "remove", "path": "/l/-1"}])), Ok(json!([1])));
        assert_eq!(list(json!([{"op": "add", "path": "/l/-1", "value": 3}])), Ok(json!([1, 2, 3])));
        assert_eq!(list(json!([{"op": "replace", "path": "/l/-2", "value": 3}])), Ok(json!([3, 2])));
        assert_eq!(list(json!([{"op": "add", "path": "/l/-"}])), Ok(json!([1, 2, null])));
        assert_eq!(list(json!([{"op": "remove", "path": "/l/-3"}])), Err(422));
        assert_eq!(patched(json!({"-1": 5}), json!([{"op": "remove", "path": "/-1"}])), Ok(json!({})));
        assert_eq!(patched(json!({}), json!([{"op": "add", "path": "", "value": {}}])), Err(422));
        assert_eq!(patched(json!({"a": 1}), Value::Null), Ok(json!({"a": 1})));
    }

    #[test]
    fn a_number_is_tested_as_it_is_written_and_stored_as_what_it_is() {
        let test = |number: &str| {
            let body = format!(r#"[{{"op": "test", "path": "/a", "value": {number}}}]"#);
            json_patch(&json!({"a": 1}), body.as_bytes()).map_err(|failure| failure.code)
        };
        assert_eq!(test("1"), Ok(json!({"a": 1})));
        assert_eq!(test("1.0"), Err(422));
        let set = br#"[{"op": "add", "path": "/a", "value": 2.0}, {"op": "test", "path": "/a", "value": 2.0}]"#;
        assert_eq!(json_patch(&json!({}), set).unwrap().to_string(), r#"{"a":2}"#);
    }

    #[test]
    fn any_failing_operation_is_the_same_422() {
        for operation in [
            json!({"op": "test", "path": "/a", "value": 2}),
            json!({"op": "remove", "path": "/none"}),
            json!({"op": "add", "path": "/none/x", "value": 1}),
            json!({"op": "replace", "path": "/l/9", "value": 1}),
            json!({"op": "frobnicate", "path": "/a"}),
            json!({"op": "add", "value": 1}),
            json!({"op": "remove", "path": ""}),
        ] {
            let body = json!([operation]).to_string();
            let failure = json_patch(&json!({"a": 1, "l": [1]}), body.as_bytes()).unwrap_err();
            assert_eq!((failure.code, failure.reason), (422, "Invalid"), "{operation}");
            assert_eq!(failure.message, "the server rejected our request due to an error in our request");
            assert_eq!(failure.to_status()["details"], json!({}));
        }
    }

    #[test]
    fn more_than_ten_thousand_operations_are_413() {
        let one = json!({"op": "test", "path": "/a", "value": null});
        assert_eq!(patched(json!({}), json!(vec![one.clone(); 10_000])), Ok(json!({})));
        assert_eq!(patched(json!({}), json!(vec![one; 10_001])), Err(413));
    }

    #[test]
    fn a_patch_that_is_none_is_a_400() {
        let message = |body: &str| merge_patch(&json!({}), body.as_bytes()).unwrap_err().message;
        assert_eq!(
            message("[1]"),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(message("{\"spec\":"), "error decoding patch: unexpected end of JSON input");
        assert_eq!(
            message("spec:\n  a: 6\n"),
            "error decoding patch: invalid character 's' looking for beginning of value"
        );
        let object = json_patch(&json!({}), b"{}").unwrap_err().message;
        assert_eq!(
            object,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_by_null() {
        let out =
            merge_patch(&json!({"a": {"b": 1, "c": 2}, "l": [1, 2]}), br#"{"a": {"b": null}, "l": [3]}"#).unwrap();
        assert_eq!(out, json!({"a": {"c": 2}, "l": [3]}));
    }
}
