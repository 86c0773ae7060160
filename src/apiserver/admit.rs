//! What an object passes on its way into the store: unknown fields, what the server sets, defaults, owners,
//! validation, and whether the write is the object's end. Pure but for random names and the clock.

use serde_json::{Map, Value, json};

use super::{
    body::{Decoded, OBJECT_BYTES},
    call::Call,
    failure::{Cause, Failure},
    fields::{self, Writer},
    kinds::{self, Kind, Nature},
    metadata,
    options::{Validation, WriteOptions},
    schema::Scope,
    store::Key,
};

/// What an admitted change does.
pub(super) enum Outcome {
    /// Nothing differs from what is stored.
    Same,
    Put(Value),
    /// The last finalizer of a terminating object went: it ends. The object is what the caller is answered.
    Gone(Value),
}

/// How unknown fields are refused: a patch shows the whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    Body,
    Patched,
}

/// The present moment as objects carry it: RFC 3339, whole seconds.
pub(super) fn now() -> String {
    crate::clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name from `generateName` and five random characters, none of which can make a word.
pub(super) fn made_up_name(prefix: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4();
    let suffix: String =
        random.as_bytes()[..5].iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect();
    metadata::generated_name(prefix, &suffix)
}

/// Drops what the schema does not know, and says so or refuses, as the caller asked.
pub(super) fn fields(
    call: &Call<'_>,
    decoded: Decoded,
    options: &WriteOptions,
    source: Fields,
    warnings: &mut Vec<String>,
) -> Result<Value, Failure> {
    let kind = call.kind;
    let Decoded { mut object, duplicates } = decoded;
    // what has items is a list to the real server, whose members it does not look at
    let is_list = kind.is_custom() && !object["items"].is_null();
    let sent = (source == Fields::Patched).then(|| object.clone());
    let refused = |why: String| match &sent {
        Some(whole) => {
            let cause = Cause::invalid("patch", &json!(whole.to_string()), why);
            Failure::invalid("", "", "", vec![cause])
        }
        None => undecodable(kind, &why),
    };
    let mut faults = duplicate_warnings(&duplicates);
    let unknown = prune(kind, &mut object);
    let metadata = metadata::decode(&mut object).map_err(refused)?;
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    faults.extend(metadata.into_iter().chain(unknown).map(|path| format!("unknown field {path:?}")));
    if is_list {
        faults.clear();
    }
    match options.validation {
        _ if faults.is_empty() => {}
        Validation::Ignore => {}
        Validation::Warn => warnings.extend(faults),
        Validation::Strict => {
            return Err(refused(format!("strict decoding error: {}", faults.join(", "))));
        }
    }
    Ok(object)
}

/// Drops the members that are not known, and names them. Of another version of the kind nothing is known; what is of another kind
/// is not looked into, as it is refused for that.
fn prune(kind: &Kind, object: &mut Value) -> Vec<String> {
    let (version, sent) = (kind.api_version(), object["apiVersion"].as_str().unwrap_or_default());
    let group = sent.split_once('/').map_or("", |(group, _)| group);
    if !kind.is_custom() || (sent == version && object["kind"] == kind.kind.as_str()) {
        return kind.schema.prune(object);
    }
    if group != kind.group || object["kind"] != kind.kind.as_str() {
        return vec![];
    }
    let mut unknown = vec![];
    if let Some(members) = object.as_object_mut() {
        unknown.extend(
            members.keys().filter(|name| !["apiVersion", "kind", "metadata"].contains(&name.as_str())).cloned(),
        );
        members.retain(|name, _| !unknown.contains(name));
    }
    unknown
}

/// 400: the body is no object of the kind.
pub(super) fn undecodable(kind: &Kind, why: &str) -> Failure {
    Failure::bad_request(format!("{0} in version {1:?} cannot be handled as a {0}: {why}", kind.kind, kind.version))
}

/// What is said of keys that occur twice.
pub(super) fn duplicate_warnings(duplicates: &[String]) -> Vec<String> {
    duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect()
}

/// The namespace that a new object of the call needs.
pub(super) fn place_of(call: &Call<'_>) -> Option<Key> {
    call.kind.namespaced.then(|| Key::new(&"namespaces".into(), "", &call.request.namespace))
}

/// Why a namespace takes no new object: it is missing, or it is being deleted.
pub(super) fn no_place(call: &Call<'_>, name: &str) -> Failure {
    let namespace = &call.request.namespace;
    let exists = place_of(call).is_some_and(|key| call.server.store.get(&key).is_some());
    if !exists {
        return Failure::not_found("", "namespaces", namespace);
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    Failure::forbidden(&call.kind.group, &call.kind.plural, name, &why).with_causes(vec![Cause {
        reason: "NamespaceTerminating",
        field: "metadata.namespace".into(),
        message: format!("namespace {namespace} is being terminated"),
    }])
}

/// A new object, complete and valid but for its version, and the warnings about it.
pub(super) fn new_object(
    call: &Call<'_>,
    mut object: Value,
    name: Option<String>,
    writer: Option<Writer<'_>>,
) -> Result<(Value, Vec<String>), Failure> {
    let kind = call.kind;
    if let Some(place) = place_of(call) {
        let alive = call.server.store.get(&place).is_some_and(|n| n["metadata"]["deletionTimestamp"].is_null());
        if !alive {
            return Err(no_place(call, object["metadata"]["name"].as_str().unwrap_or_default()));
        }
    }
    // what is no version at all is none
    if object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).is_some_and(|v: u64| v != 0) {
        return Err(Failure::internal("resourceVersion should not be set on objects to be created"));
    }
    let owner = members(&mut object);
    for set_by_server in
        ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        owner.remove(set_by_server);
    }
    owner.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    owner.insert("creationTimestamp".into(), now().into());
    if let Some(name) = name {
        owner.insert("name".into(), name.into());
    }
    match kind.namespaced {
        true => owner.insert("namespace".into(), call.request.namespace.clone().into()),
        false => owner.remove("namespace"),
    };
    if has_generation(kind) {
        owner.insert("generation".into(), 1.into());
    }
    if kind.status_subresource
        && let Some(root) = object.as_object_mut()
    {
        root.remove("status");
    }
    let mut warnings = metadata::warnings(&mut object);
    kind_fault(kind, &object)?;
    kinds::prepare(kind, &mut object, None)?;
    kind.schema.default(&mut object);
    if let Some(writer) = writer {
        fields::track_update(&kind.schema, None, &mut object, writer);
        kinds::disown_given(kind, &mut object);
    }
    let causes = metadata::validate(&object, kind.names, kind.namespaced);
    let mut causes = kind.schema.validate_after(causes, &object, None, Scope::Main);
    causes.extend(kinds::check(kind, &object, None));
    refuse(kind, &object, causes)?;
    check_size(&object)?;
    warnings.dedup();
    Ok((object, warnings))
}

/// A change of `live`, complete and valid, and the warnings about it.
pub(super) fn changed_object(
    call: &Call<'_>,
    mut object: Value,
    live: &Value,
    scope: Scope,
    writer: Option<Writer<'_>>,
) -> Result<(Outcome, Vec<String>), Failure> {
    let kind = call.kind;
    check_precondition(call, &object, live)?;
    kind_fault(kind, &object)?;
    keep(kind, &mut object, live, scope);
    let warnings = metadata::warnings_update(&mut object, live);
    kinds::prepare(kind, &mut object, Some(live))?;
    kind.schema.default(&mut object);
    if has_generation(kind) {
        let generation = live["metadata"]["generation"].as_i64().unwrap_or(1);
        let grown = generation + i64::from(content(kind, &object) != content(kind, live));
        members(&mut object).insert("generation".into(), grown.into());
    }
    if let Some(writer) = writer {
        fields::track_update(&kind.schema, Some(live), &mut object, writer);
    }
    let causes = metadata::validate_update(&object, live);
    let mut causes = kind.schema.validate_after(causes, &object, Some(live), scope);
    causes.extend(kinds::check(kind, &object, Some(live)));
    refuse(kind, &object, causes)?;
    check_size(&object)?;
    let version = live["metadata"]["resourceVersion"].clone();
    members(&mut object).insert("resourceVersion".into(), version);
    let outcome = match () {
        () if is_over(kind, &object) => Outcome::Gone(object),
        () if same(&object, live) => Outcome::Same,
        () => Outcome::Put(object),
    };
    Ok((outcome, warnings))
}

/// Whether a terminating object has nothing left to wait for.
pub(super) fn is_over(kind: &Kind, object: &Value) -> bool {
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    object["metadata"]["deletionTimestamp"].is_string()
        && none(&object["metadata"]["finalizers"])
        && (kind.nature != Nature::Namespace || none(&object["spec"]["finalizers"]))
}

/// A version in the body is a precondition; kinds that may be replaced blindly need none.
fn check_precondition(call: &Call<'_>, object: &Value, live: &Value) -> Result<(), Failure> {
    let kind = call.kind;
    let blind = matches!(
        kind.nature,
        Nature::ConfigMap | Nature::Secret | Nature::Namespace | Nature::Event | Nature::NewEvent
    );
    match object["metadata"]["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if blind => Ok(()),
        "" | "0" => {
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            let mut failure = Failure::invalid(&kind.group, &kind.kind, &call.request.name, vec![cause]);
            // of all invalid objects this one alone is told by its plural
            if let Some(details) = failure.details.as_mut() {
                details.kind.clone_from(&kind.plural);
            }
            failure.message = failure.message.replacen(&format!("{}.", kind.kind), &format!("{}.", kind.plural), 1);
            Err(failure)
        }
        sent if live["metadata"]["resourceVersion"] == sent => Ok(()),
        sent if sent.parse::<u64>().is_err() => {
            Err(Failure::internal(format!("strconv.ParseUint: parsing {sent:?}: invalid syntax")))
        }
        _ => Err(Failure::stale(&kind.group, &kind.plural, &call.request.name)),
    }
}

fn kind_fault(kind: &Kind, object: &Value) -> Result<(), Failure> {
    if object["kind"] == kind.kind.as_str() {
        return Ok(());
    }
    let cause = Cause::invalid("kind", &object["kind"], format!("must be {}", kind.kind));
    let sent = object["kind"].as_str().unwrap_or_default();
    Err(Failure::invalid(&kind.group, sent, object["metadata"]["name"].as_str().unwrap_or_default(), vec![cause]))
}

/// Puts back what this write may not touch: through /status everything but the status, otherwise the status, and
/// always what the server sets where the caller left it out.
fn keep(kind: &Kind, object: &mut Value, live: &Value, scope: Scope) {
    match scope {
        Scope::Status => {
            let (status, managed) = (object["status"].take(), object["metadata"]["managedFields"].take());
            *object = live.clone();
            put_or_remove(object, "status", status);
            if !managed.is_null() {
                object["metadata"]["managedFields"] = managed;
            }
        }
        Scope::Main if kind.status_subresource => put_or_remove(object, "status", live["status"].clone()),
        Scope::Main => {}
    }
    let owner = members(object);
    owner.remove("selfLink");
    for set_by_server in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace"] {
        let have = &live["metadata"][set_by_server];
        if !have.is_null() && owner.get(set_by_server).is_none_or(|v| v.is_null() || v == "") {
            owner.insert(set_by_server.into(), have.clone());
        }
    }
    // nobody's claim about an object's birth is heard
    owner.insert("creationTimestamp".into(), live["metadata"]["creationTimestamp"].clone());
    if !has_generation(kind) {
        owner.remove("generation");
    }
}

fn put_or_remove(object: &mut Value, member: &str, value: Value) {
    let Some(root) = object.as_object_mut() else { return };
    match value {
        Value::Null => root.remove(member),
        value => root.insert(member.into(), value),
    };
}

/// The metadata's members; made if there are none.
fn members(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(members) => members,
        _ => unreachable!("it was made an object above"),
    }
}

/// Whether objects of the kind count the changes of their content.
pub(super) fn has_generation(kind: &Kind) -> bool {
    kind.is_custom() || kind.nature == Nature::Definition
}

/// What the generation counts: all but metadata, and the status where it has a life of its own.
fn content<'a>(kind: &Kind, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let counts = |name: &str| name != "metadata" && !(name == "status" && kind.status_subresource);
    object.as_object().into_iter().flatten().filter(|(name, _)| counts(name)).collect()
}

/// Whether two objects differ in nothing but the times of their managers.
fn same(a: &Value, b: &Value) -> bool {
    let timeless = |o: &Value| {
        let mut o = o.clone();
        for entry in o["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        o
    };
    a == b || timeless(a) == timeless(b)
}

fn refuse(kind: &Kind, object: &Value, causes: Vec<Cause>) -> Result<(), Failure> {
    if causes.is_empty() {
        return Ok(());
    }
    // a typed kind cannot even be decoded with a value of another type
    if !kind.is_custom()
        && let Some(cause) = causes.iter().find(|c| c.reason == "FieldValueTypeInvalid")
    {
        return Err(kinds::undecodable(kind, cause));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    // events of both groups are told as the older one's
    let group = if kind.nature == Nature::NewEvent { "" } else { &kind.group };
    Err(Failure::invalid(group, &kind.kind, name, causes))
}

fn check_size(object: &Value) -> Result<(), Failure> {
    // the text is made again when it is stored; only unusually large objects pay for it here
    let size = object.to_string().len();
    if size <= OBJECT_BYTES {
        return Ok(());
    }
    // the words of the real server, whose store has this limit
    Err(Failure::internal("etcdserver: request is too large"))
}
