//! Rules of the built-in kinds that a schema cannot say: what the server fills in and what it refuses.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Kind, Nature};
use crate::apiserver::failure::{Cause, Failure};

/// Keys and values of one ConfigMap or Secret together; the real server's limit, which keeps objects out of etcd's way.
const DATA_BYTES: usize = 1 << 20;

/// Longest key of a ConfigMap or Secret.
const KEY_BYTES: usize = 253;

/// Fills in what the server decides; before validation. A body that cannot be this kind is a 400.
pub(in super::super) fn prepare(kind: &Kind, object: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
    match kind.nature {
        Nature::Namespace => prepare_namespace(object, old),
        Nature::Secret => return prepare_secret(kind, object),
        Nature::ConfigMap => {
            drop_empty(object, &["data", "binaryData"]);
            return base64_members(kind, &object["binaryData"]);
        }
        Nature::Lease => return prepare_lease(object),
        Nature::Event => {
            always(object, &["reportingComponent", "reportingInstance"], &json!(""));
            always(object, &["source"], &json!({}));
        }
        Nature::NewEvent => always(object, &["deprecatedSource"], &json!({})),
        _ => {}
    }
    Ok(())
}

/// Fills in members that the kind's type always has.
fn always(object: &mut Value, names: &[&str], empty: &Value) {
    for name in names {
        if object[name].is_null() {
            object[name] = empty.clone();
        }
    }
}

/// Drops members that the kind's type leaves out when they hold nothing.
fn drop_empty(object: &mut Value, names: &[&str]) {
    if let Some(members) = object.as_object_mut() {
        members
            .retain(|name, value| !names.contains(&name.as_str()) || value.as_object().is_none_or(|m| !m.is_empty()));
    }
}

fn prepare_namespace(object: &mut Value, old: Option<&Value>) {
    let name = object["metadata"]["name"].clone();
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    match old {
        // spec.finalizers changes through /finalize only, the phase by deletion only
        Some(old) => object["spec"] = old["spec"].clone(),
        None => object["spec"] = json!({"finalizers": ["kubernetes"]}),
    }
    if old.is_none() {
        object["status"] = json!({"phase": "Active"});
    }
}

fn prepare_secret(kind: &Kind, object: &mut Value) -> Result<(), Failure> {
    if let Some(Value::Object(texts)) = object.as_object_mut().and_then(|o| o.remove("stringData")) {
        if !object["data"].is_object() {
            object["data"] = Value::Object(Map::new());
        }
        for (key, text) in texts {
            let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
            object["data"][key] = encoded.into();
        }
    }
    if object["type"].as_str().is_none_or(str::is_empty) {
        object["type"] = "Opaque".into();
    }
    drop_empty(object, &["data"]);
    base64_members(kind, &object["data"])
}

/// Values that must be base64: broken ones cannot be decoded, which is a 400.
fn base64_members(kind: &Kind, data: &Value) -> Result<(), Failure> {
    for text in data.as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str()) {
        if let Err(e) = STANDARD.decode(text) {
            let at = match e {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len(),
            };
            return Err(Failure::bad_request(format!(
                "{0} in version \"{1}\" cannot be handled as a {0}: illegal base64 data at input byte {at}",
                kind.kind, kind.version
            )));
        }
    }
    Ok(())
}

fn prepare_lease(object: &mut Value) -> Result<(), Failure> {
    always(object, &["spec"], &json!({}));
    // behind gates that the real server has closed: dropped without a word
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|member, _| member != "preferredHolder" && member != "strategy");
    }
    for field in ["acquireTime", "renewTime"] {
        let Some(text) = object["spec"][field].as_str() else { continue };
        let micro =
            text.rsplit_once('.').is_some_and(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count() == 6);
        if !micro || text.parse::<jiff::Timestamp>().is_err() {
            return Err(Failure::bad_request(format!(
                "Lease in version \"v1\" cannot be handled as a Lease: parsing time {text:?} as \
                 \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {:?} as \".000000\"",
                text.get(19..).unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Takes from the owners of a new object what its type always has: nobody made that.
pub(in super::super) fn disown_given(kind: &Kind, object: &mut Value) {
    let given: &[&str] = match kind.nature {
        Nature::Custom | Nature::Secret | Nature::ConfigMap => return,
        Nature::Event => &["f:source", "f:reportingComponent", "f:reportingInstance"],
        Nature::NewEvent => &["f:deprecatedSource"],
        _ => &["f:spec"],
    };
    for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
        let Some(fields) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) else { continue };
        for member in given {
            let Some(inner) = fields.get_mut(*member).and_then(Value::as_object_mut) else { continue };
            inner.remove(".");
            if kind.nature == Nature::Namespace {
                inner.remove("f:finalizers");
            }
            if inner.is_empty() {
                fields.remove(*member);
            }
        }
    }
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) else { return };
    entries.retain(|entry| entry["fieldsV1"].as_object().is_none_or(|fields| !fields.is_empty()));
    if entries.is_empty() {
        metadata.remove("managedFields");
    }
}

/// The faults of a built-in object that is to be stored.
pub(in super::super) fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = kind.scale.faults(object);
    match kind.nature {
        Nature::Secret => {
            check_data(object, "data", &mut causes);
            check_secret(object, old, &mut causes);
            check_immutable(object, old, &["data"], &mut causes);
        }
        Nature::ConfigMap => {
            check_data(object, "data", &mut causes);
            check_data(object, "binaryData", &mut causes);
            for key in object["data"].as_object().into_iter().flatten().map(|(k, _)| k) {
                if !object["binaryData"][key].is_null() {
                    let why = "duplicate of key present in binaryData";
                    causes.push(Cause::invalid(format!("data[{key}]"), &json!(key), why));
                }
            }
            check_immutable(object, old, &["data", "binaryData"], &mut causes);
        }
        Nature::Lease => {
            for field in ["leaseDurationSeconds", "leaseTransitions"] {
                let value = &object["spec"][field];
                let least = i64::from(field == "leaseDurationSeconds");
                if value.as_i64().is_some_and(|n| n < least) {
                    let why = if least == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
                    causes.push(Cause::invalid(format!("spec.{field}"), value, why));
                }
            }
        }
        Nature::NewEvent if old.is_none() => check_new_event(object, &mut causes),
        Nature::Event => {
            let involved = object["involvedObject"]["namespace"].as_str().unwrap_or_default();
            let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
            // events of cluster-scoped objects lie in default
            if involved != own && !(involved.is_empty() && own == "default") {
                let why = "does not match event.namespace";
                causes.push(Cause::invalid("involvedObject.namespace", &json!(involved), why));
            }
        }
        _ => {}
    }
    causes
}

/// What `events.k8s.io` asks of a new event, in its order; `v1` asks for none of it.
fn check_new_event(object: &Value, causes: &mut Vec<Cause>) {
    let empty = |field: &str| object[field].as_str().is_none_or(str::is_empty);
    if object["eventTime"].is_null() {
        causes.push(Cause::required("eventTime", ""));
    }
    for field in ["reportingController", "reportingInstance", "action", "reason"] {
        if empty(field) {
            causes.push(Cause::required(field, ""));
        }
    }
    let kind = object["type"].as_str().unwrap_or_default();
    if !["Normal", "Warning"].contains(&kind) {
        causes.push(Cause::invalid("type", &json!(""), format!("has invalid value: {kind}")));
    }
}

fn check_data(object: &Value, member: &str, causes: &mut Vec<Cause>) {
    let mut total = 0;
    for (key, value) in object[member].as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        total += if member == "data" && object["kind"] == "ConfigMap" { text.len() } else { text.len() / 4 * 3 };
        let legal = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !legal || key.is_empty() {
            let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
            causes.push(Cause::invalid(format!("{member}[{key}]"), &json!(key), why));
        } else if key.len() > KEY_BYTES {
            causes.push(Cause::invalid(format!("{member}[{key}]"), &json!(key), "must be no more than 253 characters"));
        } else if key == "." || key == ".." || key.starts_with("..") {
            causes.push(Cause::invalid(format!("{member}[{key}]"), &json!(key), "must not start with '..'"));
        }
    }
    if total > DATA_BYTES {
        let field = if object["kind"] == "ConfigMap" { "[]" } else { member };
        causes.push(Cause::too_long(field, DATA_BYTES as u64));
    }
}

fn check_secret(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if old.is_some_and(|o| o["type"] != object["type"]) {
        causes.push(Cause::invalid("type", &object["type"], "field is immutable"));
    }
    let missing = |key: &&&str| object["data"][**key].is_null();
    let (needed, any): (&[&str], bool) = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => (&["tls.crt", "tls.key"], false),
        "kubernetes.io/basic-auth" => (&["username", "password"], true),
        "kubernetes.io/ssh-auth" => (&["ssh-privatekey"], false),
        "kubernetes.io/dockercfg" => (&[".dockercfg"], false),
        "kubernetes.io/dockerconfigjson" => (&[".dockerconfigjson"], false),
        _ => (&[], false),
    };
    if !any || needed.iter().all(|key| missing(&key)) {
        causes.extend(needed.iter().filter(missing).map(|key| Cause::required(format!("data[{key}]"), "")));
    }
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    if object["type"] == "kubernetes.io/service-account-token"
        && object["metadata"]["annotations"][ACCOUNT].as_str().is_none_or(str::is_empty)
    {
        causes.push(Cause::required(format!("metadata.annotations[{ACCOUNT}]"), ""));
    }
}

/// An immutable object keeps its data, and stays immutable.
fn check_immutable(object: &Value, old: Option<&Value>, members: &[&str], causes: &mut Vec<Cause>) {
    let Some(old) = old.filter(|o| o["immutable"] == true) else { return };
    let why = "field is immutable when `immutable` is set";
    if object["immutable"] != true {
        causes.push(Cause::forbidden("immutable", why));
    }
    for member in members {
        if old[member] != object[member] {
            causes.push(Cause::forbidden(*member, why));
        }
    }
}

/// A typed kind cannot even be decoded with a value of another type: the words of the decoder, from the schema's fault.
pub(in super::super) fn undecodable(kind: &Kind, cause: &Cause) -> Failure {
    // `Invalid value: "integer": data.k in body must be of type string: "integer"`
    let quoted = |n: usize| cause.message.split('"').nth(n).unwrap_or_default();
    let found = match quoted(1) {
        "integer" | "number" => "number",
        "boolean" => "bool",
        other => other,
    };
    let wanted = match cause.message.split("must be of type ").nth(1).and_then(|rest| rest.split(':').next()) {
        Some("integer") => "int32",
        Some("boolean") => "bool",
        Some("object") => "map[string]string",
        Some(other) => other,
        None => "string",
    };
    // the innermost type has the word; members of a map are told by the map
    let owner = match (kind.nature, cause.field.split_once('.')) {
        (Nature::Lease, Some(("spec", _))) => "LeaseSpec",
        _ => kind.kind.as_str(),
    };
    let field = cause.field.split('.').next().filter(|f| *f == "data" || *f == "binaryData").unwrap_or(&cause.field);
    Failure::bad_request(format!(
        "{0} in version {1:?} cannot be handled as a {0}: json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {wanted}",
        kind.kind, kind.version
    ))
}
