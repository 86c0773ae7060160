//! DELETE of one object and of a collection: preconditions, finalizers, the policy about dependents, dry run.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    admit,
    answer::Answer,
    body,
    call::Call,
    failure::{Cause, Failure},
    kinds::{Kind, Nature},
    options, protobuf,
    read::{self, place, show},
    store::{Effect, Key, Object, Refusal, Store, Write, version_of},
};

/// Times a deletion is computed again because another write came first.
const ATTEMPTS: usize = 1000;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// Namespaces that every client may count on.
const LASTING: &[&str] = &["default", "kube-system", "kube-public"];

/// What a deletion asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Deletion {
    pub(super) dry_run: bool,
    pub(super) policy: Option<Policy>,
    uid: Option<String>,
    version: Option<String>,
}

/// What becomes of the dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Background,
    Foreground,
    Orphan,
}

impl Deletion {
    /// Of an object as it is here, and not after another write.
    pub(super) fn unchanged(object: &Value) -> Deletion {
        let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Deletion { version, ..Deletion::default() }
    }
}

/// What became of an object.
pub(super) enum Deleted {
    /// It is gone; this is how it last was.
    Gone(Object),
    /// It waits for its finalizers.
    Waiting(Object),
}

/// DELETE of a named object.
pub(super) async fn one(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let deletion = deletion(call, bytes)?;
    let key = Key::new(&call.kind.resource, place(call), &call.request.name);
    if call.kind.nature == Nature::Namespace && LASTING.contains(&call.request.name.as_str()) {
        return Err(Failure::forbidden("", "namespaces", &call.request.name, "this namespace may not be deleted"));
    }
    match delete(&call.server.store, call.kind, &key, &deletion).await? {
        // a namespace is answered as it ends
        Deleted::Waiting(object) => show(call, 200, &object),
        Deleted::Gone(object) => gone(call.kind, &object),
    }
}

/// The answer when nothing is left of an object.
pub(super) fn gone(kind: &Kind, object: &Value) -> Result<Answer, Failure> {
    let mut details = json!({"name": object["metadata"]["name"], "kind": kind.plural});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    if let Some(uid) = object["metadata"]["uid"].as_str() {
        details["uid"] = json!(uid);
    }
    Answer::json(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
}

/// DELETE of a collection: answered with the objects as they were.
pub(super) async fn collection(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let deletion = deletion(call, bytes)?;
    let page = read::page(call).await?;
    for object in &page.items {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = Key::new(&call.kind.resource, place(call), name);
        match delete(&call.server.store, call.kind, &key, &deletion).await {
            Ok(_) => {}
            // somebody else was faster
            Err(f) if f.code == 404 => {}
            Err(f) => return Err(f),
        }
    }
    read::show_list(call, &page)
}

/// Deletes one object, or marks it as terminating.
pub(super) async fn delete(store: &Store, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<Deleted, Failure> {
    let name = key.path.rsplit('/').next().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let live = store.get(key).ok_or_else(|| Failure::not_found(&kind.group, &kind.plural, name))?;
        check_preconditions(kind, name, &live, deletion)?;
        let marked = marked(kind, &live, deletion.policy);
        let ends = admit::is_over(kind, &marked);
        if deletion.dry_run {
            return Ok(if ends { Deleted::Gone(live) } else { Deleted::Waiting(Arc::new(marked)) });
        }
        if !ends && marked == *live {
            return Ok(Deleted::Waiting(live));
        }
        let effect = if ends { Effect::Remove } else { Effect::Put(marked) };
        let write = Write { key: key.clone(), expected: Some(version_of(&live)), effect, within: None };
        match store.write(write).await {
            Ok(object) if ends => return Ok(Deleted::Gone(object)),
            Ok(object) => return Ok(Deleted::Waiting(object)),
            Err(Refusal::Raced) => {}
            Err(e) => return Err(Failure::internal(e.to_string())),
        }
    }
    Err(Failure::stale(&kind.group, &kind.plural, name))
}

fn check_preconditions(kind: &Kind, name: &str, live: &Value, deletion: &Deletion) -> Result<(), Failure> {
    let faults = [("UID", "uid", &deletion.uid), ("ResourceVersion", "resourceVersion", &deletion.version)];
    for (word, field, asked) in faults {
        let have = live["metadata"][field].as_str().unwrap_or_default();
        if let Some(asked) = asked.as_ref().filter(|a| *a != have) {
            let why = format!(
                "the {word} in the precondition ({asked}) does not match the {word} in record ({have}). \
                 The object might have been deleted and then recreated"
            );
            let why = if word == "UID" { why } else { why.replace("deleted and then recreated", "modified") };
            // told by the kind, where every other conflict is told by the plural
            return Err(Failure::conflict(&kind.group, &kind.kind, name, &why));
        }
    }
    Ok(())
}

/// The object as its deletion leaves it if it has to wait.
fn marked(kind: &Kind, live: &Value, policy: Option<Policy>) -> Value {
    let mut object = live.clone();
    let mut finalizers: Vec<Value> = live["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if let Some(policy) = policy {
        finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
        match policy {
            Policy::Foreground => finalizers.push(FOREGROUND.into()),
            Policy::Orphan => finalizers.push(ORPHAN.into()),
            Policy::Background => {}
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match finalizers.is_empty() {
            true => metadata.remove("finalizers"),
            false => metadata.insert("finalizers".into(), finalizers.into()),
        };
        if !metadata.contains_key("deletionTimestamp") {
            metadata.insert("deletionTimestamp".into(), admit::now().into());
            metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
            if admit::has_generation(kind) {
                let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(1);
                metadata.insert("generation".into(), (generation + 1).into());
            }
        }
    }
    if kind.nature == Nature::Namespace {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("deletionGracePeriodSeconds");
        }
        object["status"]["phase"] = "Terminating".into();
    }
    object
}

/// Reads the options from the body, or from the query if there is none.
fn deletion(call: &Call<'_>, bytes: &[u8]) -> Result<Deletion, Failure> {
    let query = call.query;
    if bytes.is_empty() {
        query.number("gracePeriodSeconds")?;
    }
    let given = match bytes {
        [] => json!({
            "dryRun": query.all("dryRun").collect::<Vec<_>>(),
            "propagationPolicy": query.has("propagationPolicy").then(|| query.get("propagationPolicy")),
            "orphanDependents": query.has("orphanDependents").then(|| query.flag("orphanDependents")),
        }),
        bytes => read_options(call, bytes)?,
    };
    let runs: Vec<&str> = given["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // a dry run in the query counts too, whatever the body says: better no deletion than one nobody wanted
    let runs: Vec<&str> = if runs.is_empty() { query.all("dryRun").collect() } else { runs };
    let mut causes: Vec<Cause> = options::dry_run_fault(&runs).into_iter().collect();
    let policy = policy(&given, &mut causes);
    if !causes.is_empty() {
        return Err(Failure::invalid_options("DeleteOptions", causes));
    }
    let text = |v: &Value| v.as_str().map(str::to_owned);
    Ok(Deletion {
        dry_run: !runs.is_empty(),
        policy,
        uid: text(&given["preconditions"]["uid"]),
        version: text(&given["preconditions"]["resourceVersion"]).or_else(|| {
            (call.request.verb == "deletecollection")
                .then(|| text(&json!(query.get("resourceVersion"))))?
                .filter(|v| !v.is_empty() && v != "0")
        }),
    })
}

/// A field of the options, whether a value can be one, and what the real server calls its type.
type Typed = (&'static str, fn(&Value) -> bool, &'static str);

const OPTIONS: [Typed; 6] = [
    ("gracePeriodSeconds", Value::is_i64, "int64"),
    ("orphanDependents", Value::is_boolean, "bool"),
    ("propagationPolicy", Value::is_string, "v1.DeletionPropagation"),
    ("dryRun", Value::is_array, "[]string"),
    ("preconditions.uid", Value::is_string, "types.UID"),
    ("preconditions.resourceVersion", Value::is_string, "string"),
];

fn read_options(call: &Call<'_>, bytes: &[u8]) -> Result<Value, Failure> {
    if bytes.starts_with(protobuf::MAGIC) {
        return protobuf::read(bytes).map_err(|e| Failure::bad_request(e.to_string()));
    }
    let mut decoded = body::decode_options(bytes, call.content_type())?;
    if decoded["kind"].is_string() && decoded["kind"] != "DeleteOptions" {
        return Err(Failure::bad_request(format!(
            "no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
            decoded["kind"], decoded["apiVersion"]
        )));
    }
    match &decoded {
        Value::Null => decoded = json!({}),
        Value::Object(_) => {}
        other => return Err(Failure::bad_request(body::no_object(other))),
    }
    // an option or a precondition that cannot be read must not become none
    for (field, is_one, of_type) in OPTIONS {
        let value = decoded.pointer(&format!("/{}", field.replace('.', "/"))).unwrap_or(&Value::Null);
        if !value.is_null() && !is_one(value) {
            let owner = if field.contains('.') { "Preconditions" } else { "DeleteOptions" };
            // a number that could be one but for its fraction is told
            let told = match value {
                Value::Number(n) if of_type == "int64" => format!("number {n}"),
                other => body::word(other).to_owned(),
            };
            let why = format!("json: cannot unmarshal {told} into Go struct field {owner}.{field} of type {of_type}");
            return Err(Failure::bad_request(why));
        }
    }
    Ok(decoded)
}

fn policy(given: &Value, causes: &mut Vec<Cause>) -> Option<Policy> {
    let orphan = given["orphanDependents"].as_bool();
    let named = given["propagationPolicy"].as_str();
    if orphan.is_some() && named.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(Cause::invalid("propagationPolicy", &given["propagationPolicy"], why));
    }
    match (named, orphan) {
        (Some("Background"), _) | (None, Some(false)) => Some(Policy::Background),
        (Some("Foreground"), _) => Some(Policy::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Policy::Orphan),
        (Some(other), _) => {
            let known = ["Foreground", "Background", "Orphan", "nil"].map(|s| format!("{s:?}"));
            causes.push(Cause::not_supported("propagationPolicy", &json!(other), &known));
            None
        }
        (None, None) => None,
    }
}
