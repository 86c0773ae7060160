//! Merge patch (RFC 7386) and JSON patch (RFC 6902) with the API server's answers to broken ones.

use super::failure::Failure;
use serde_json::Value;

/// More operations than this in one JSON patch are refused: each costs time, and no client needs as many.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// `object` after a merge patch given as the request's body.
pub fn merge_patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    let patch: Value =
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let mut object = object.clone();
    json_patch::merge(&mut object, &patch);
    Ok(object)
}

/// `object` after a JSON patch given as the request's body.
pub fn json_patch(object: &Value, body: &[u8]) -> Result<Value, Failure> {
    let patch: json_patch::Patch =
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?;
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).map_err(|_| Failure::unprocessable())?;
    Ok(object)
}
