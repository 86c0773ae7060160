//! Whether a body is about the object that its path names: apiVersion, kind, namespace, name, uid.

use serde_json::Value;

use super::{
    call::Call,
    failure::{Cause, Failure},
    read::place,
    shown,
};

/// The body's apiVersion must be the path's.
pub(super) fn check_version(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let (sent, expected) = (object["apiVersion"].as_str().unwrap_or_default(), call.kind.api_version());
    if sent == expected {
        return Ok(());
    }
    Err(Failure::bad_request(format!(
        "the API version in the data ({sent}) does not match the expected API version ({expected})"
    )))
}

/// What a patch leaves must still be of the path's apiVersion.
pub(super) fn check_patched_version(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let (sent, expected) = (&object["apiVersion"], call.kind.api_version());
    if object["kind"].as_str().is_none_or(str::is_empty) {
        let whole = shown::json(object);
        let why = format!("Object 'Kind' is missing in '{whole}'");
        return Err(Failure::invalid("", "", "", vec![Cause::invalid("patch", &Value::String(whole), why)]));
    }
    if sent.is_null() {
        let why = "Internal error occurred: Object 'apiVersion' is missing in 'object has no apiVersion field'";
        return Err(Failure::plain(500, "InternalError", why));
    }
    if *sent == *expected {
        return Ok(());
    }
    let cause = Cause::invalid("apiVersion", sent, format!("must be {expected}"));
    Err(Failure::invalid("", &call.kind.kind, &call.request.name, vec![cause]))
}

/// The body's namespace, if it has one, must be the path's; cluster-scoped kinds drop it.
pub(super) fn check_namespace(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let sent = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !call.kind.namespaced || sent.is_empty() || sent == call.request.namespace {
        return Ok(());
    }
    Err(Failure::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// The body's name must be the path's.
pub(super) fn check_name(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    match object["metadata"]["name"].as_str().unwrap_or_default() {
        "" => Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.request.name
        ))),
        name if name == call.request.name => Ok(()),
        name => Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.request.name
        ))),
    }
}

/// A PUT that names another uid is about another object.
pub(super) fn check_uid(call: &Call<'_>, object: &Value, live: &Value) -> Result<(), Failure> {
    let (sent, have) = (&object["metadata"]["uid"], &live["metadata"]["uid"]);
    match sent.as_str() {
        None | Some("") => Ok(()),
        Some(_) if sent == have => Ok(()),
        Some(sent) => {
            let have = have.as_str().unwrap_or_default();
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
                 UID in precondition: {sent}, UID in object meta: {have}",
                registry_key(call)
            );
            Err(Failure::conflict(&call.kind.group, &call.kind.plural, &call.request.name, &why))
        }
    }
}

/// Where the real server keeps the object that the path names; it tells that of an object that is not the one meant.
fn registry_key(call: &Call<'_>) -> String {
    let group = if call.kind.is_custom() { call.kind.group.as_str() } else { "" };
    let parts = ["/registry", group, &call.kind.plural, place(call), &call.request.name];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// An applied object must be of the path's kind, name and namespace, and name no managers.
pub(super) fn check_applied(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    if version != call.kind.api_version() || kind != call.kind.kind {
        let version = if version.is_empty() { "/" } else { &version };
        return Err(Failure::bad_request(format!("invalid object type: {version}, Kind={kind}")));
    }
    if object["metadata"]["managedFields"].as_array().is_some_and(|m| !m.is_empty()) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    check_namespace(call, object)?;
    // who leaves the name out means the object that the path names, if there is one
    if object["metadata"]["name"].is_null() { Ok(()) } else { check_name(call, object) }
}

/// An apply that names a uid is about an object that exists.
pub(super) fn check_applied_uid(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    match object["metadata"]["uid"].as_str() {
        None | Some("") => Ok(()),
        Some(uid) => {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            Err(Failure::conflict(&call.kind.group, &call.kind.plural, &call.request.name, &why))
        }
    }
}
