//! ObjectMeta: strict decoding, and the limits on names, labels, annotations, finalizers and owner references. What the
//! server itself sets (uid, times, versions) is the store's business.

mod decode;
pub(super) mod names;
#[cfg(test)]
mod tests;

use super::failure::Cause;
use super::shown;
use serde_json::{Value, json};

/// What a kind's objects may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Lower-case DNS subdomain of at most 253 characters: nearly every kind.
    Subdomain,
    /// Lower-case DNS label of at most 63 characters: namespaces.
    Label,
}

impl NameRule {
    fn wrong(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => names::subdomain(name),
            Self::Label => names::label(name),
        }
    }
}

/// All annotations of an object together, keys and values: what etcd-sized objects can bear (the API's own limit).
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
/// The longest manager's name in managedFields (the API's own limit).
const MAX_MANAGER_BYTES: u64 = 128;
/// The longest subresource's name in managedFields (the API's own limit).
const MAX_SUBRESOURCE_BYTES: u64 = 256;
/// A generated name is as long as a label, of which the suffix takes five.
const MAX_GENERATED_PREFIX_BYTES: usize = 58;

/// Decodes `object.metadata` in place as the typed ObjectMeta does: another JSON type is an error, the decoder's sentence;
/// nulls, empty strings, maps and lists vanish; times become UTC; unknown members are dropped and answered as paths
/// (`metadata.colour`).
pub fn decode(object: &mut Value) -> Result<Vec<String>, String> {
    let Some(members) = object.as_object_mut() else { return Ok(Vec::new()) };
    decode::decode(members.entry("metadata").or_insert(Value::Null))
}

/// Drops members that ObjectMeta lacks and answers their paths.
pub(super) fn drop_unknown(object: &mut Value) -> Vec<String> {
    object.get_mut("metadata").map(decode::drop_unknown).unwrap_or_default()
}

/// The faults of a new object's metadata, after names were generated.
pub fn validate(object: &Value, rule: NameRule, namespaced: bool) -> Vec<Cause> {
    let meta = &object["metadata"];
    let text = |name: &str| meta[name].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    let prefix = text("generateName");
    if !prefix.is_empty() {
        let wrong = rule.wrong(&masked(prefix));
        faults.extend(wrong.iter().map(|why| Cause::invalid("metadata.generateName", &json!(prefix), why)));
    }
    match text("name") {
        "" => faults.push(Cause::required("metadata.name", "name or generateName is required")),
        name => faults.extend(rule.wrong(name).iter().map(|why| Cause::invalid("metadata.name", &json!(name), why))),
    }
    match (namespaced, text("namespace")) {
        (true, "") => faults.push(Cause::required("metadata.namespace", "")),
        (true, namespace) => {
            let wrong = names::label(namespace);
            faults.extend(wrong.iter().map(|why| Cause::invalid("metadata.namespace", &json!(namespace), why)));
        }
        (false, "") => {}
        (false, _) => faults.push(Cause::forbidden("metadata.namespace", "not allowed on this type")),
    }
    faults.extend(common(meta));
    faults.extend(finalizers(&meta["finalizers"]));
    faults
}

/// A dash at a prefix's end is fine, since the suffix follows; for the check it goes with the character before it.
fn masked(prefix: &str) -> String {
    match prefix.len().checked_sub(2).and_then(|end| prefix.get(..end)) {
        Some(start) if prefix.ends_with('-') => format!("{start}a"),
        _ => prefix.to_owned(),
    }
}

/// The faults of a change of metadata: what never changes, no new finalizers while the object is being deleted, and what
/// [`validate`] says of labels, annotations, finalizers and owners. As in the real server's answers each is listed as often
/// as it is checked on the way; the sentence of the whole refusal tells it once.
pub fn validate_update(object: &Value, old: &Value) -> Vec<Cause> {
    let mut faults = common(&object["metadata"]);
    faults.extend(finalizers(&object["metadata"]["finalizers"]));
    let changes = changes(&object["metadata"], &old["metadata"]);
    faults.extend(changes.iter().cloned());
    faults.extend(changes);
    faults
}

fn changes(meta: &Value, before: &Value) -> Vec<Cause> {
    const FIXED: [&str; 6] =
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    let mut faults = Vec::new();
    if !before["deletionTimestamp"].is_null() {
        faults.extend(new_finalizers(meta, before));
    }
    for name in FIXED.iter().filter(|name| meta[**name] != before[**name]) {
        faults.push(Cause::invalid(format!("metadata.{name}"), &meta[*name], "field is immutable"));
    }
    faults.extend(common(meta));
    faults
}

fn new_finalizers(meta: &Value, before: &Value) -> Option<Cause> {
    let mut new: Vec<_> =
        texts(&meta["finalizers"]).filter(|one| !texts(&before["finalizers"]).any(|old| old == *one)).collect();
    new.sort_unstable();
    new.dedup();
    if new.is_empty() {
        return None;
    }
    let new: Vec<_> = new.into_iter().map(shown::quoted).collect();
    let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
    Some(Cause::forbidden("metadata.finalizers", format!("{why} []string{{{}}}", new.join(", "))))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn common(meta: &Value) -> Vec<Cause> {
    let mut faults = Vec::new();
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        let wrong = |text: &str, why: Vec<String>| -> Vec<Cause> {
            why.iter().map(|why| Cause::invalid("metadata.labels", &json!(text), why)).collect()
        };
        let value = value.as_str().unwrap_or_default();
        faults.extend(wrong(key, names::qualified(key)));
        faults.extend(wrong(value, names::label_value(value)));
    }
    faults.extend(annotations(&meta["annotations"]));
    faults.extend(owners(&meta["ownerReferences"]));
    for (i, entry) in meta["managedFields"].as_array().into_iter().flatten().enumerate() {
        faults.extend(managed_entry(entry, &format!("metadata.managedFields[{i}]")));
    }
    faults
}

fn annotations(annotations: &Value) -> Vec<Cause> {
    let mut faults = Vec::new();
    for key in annotations.as_object().into_iter().flatten().map(|(key, _)| key) {
        let wrong = names::qualified(&key.to_lowercase());
        faults.extend(wrong.iter().map(|why| Cause::invalid("metadata.annotations", &json!(key), why)));
    }
    if !annotations_fit(annotations) {
        faults.push(Cause::too_long("metadata.annotations", MAX_ANNOTATIONS_BYTES as u64));
    }
    faults
}

/// Whether annotations keep their limit, keys and values together.
pub fn annotations_fit(annotations: &Value) -> bool {
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().unwrap_or_default().len();
    annotations.as_object().into_iter().flatten().map(size).sum::<usize>() <= MAX_ANNOTATIONS_BYTES
}

fn owners(list: &Value) -> Vec<Cause> {
    const FIELD: &str = "metadata.ownerReferences";
    let mut faults = Vec::new();
    let mut controller: Option<String> = None;
    for owner in list.as_array().into_iter().flatten() {
        let text = |name: &str| owner[name].as_str().unwrap_or_default();
        let mut empty = |name: &str, why: &str| {
            faults.push(Cause::invalid(format!("{FIELD}.{name}"), &json!(text(name)), why));
        };
        if text("apiVersion").is_empty() || text("apiVersion").matches('/').count() > 1 {
            empty("apiVersion", "version must not be empty");
        }
        for name in ["kind", "name", "uid"].into_iter().filter(|name| text(name).is_empty()) {
            empty(name, "must not be empty");
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            faults.push(Cause::invalid_bare(FIELD, format!("{}: {why}", owner_text(owner))));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let all: Vec<_> = list.as_array().into_iter().flatten().map(owner_text).collect();
                    let why = "Only one reference can have Controller set to true. Found \"true\" in references for";
                    faults.push(Cause::invalid_bare(FIELD, format!("[{}]: {why} {first} and {name}", all.join(","))));
                }
            }
        }
    }
    faults
}

/// An owner reference as JSON in the order of its Go fields, as messages show it.
fn owner_text(owner: &Value) -> String {
    let always = ["apiVersion", "kind", "name", "uid"];
    let mut parts: Vec<_> =
        always.iter().map(|n| format!("\"{n}\":{}", json!(owner[*n].as_str().unwrap_or_default()))).collect();
    let optional = ["controller", "blockOwnerDeletion"];
    parts.extend(optional.iter().filter(|n| owner[**n].is_boolean()).map(|n| format!("\"{n}\":{}", owner[*n])));
    format!("{{{}}}", parts.join(","))
}

fn finalizers(list: &Value) -> Vec<Cause> {
    const FIELD: &str = "metadata.finalizers";
    let wrong = |text: &str| -> Vec<Cause> {
        names::qualified(text).iter().map(|why| Cause::invalid(FIELD, &json!(text), why)).collect()
    };
    let mut faults: Vec<_> = texts(list).flat_map(wrong).collect();
    let has = |wanted: &str| texts(list).any(|text| text == wanted);
    if has("orphan") && has("foregroundDeletion") {
        faults.push(Cause::invalid(FIELD, list, "finalizer orphan and foregroundDeletion cannot be both set"));
    }
    faults
}

fn managed_entry(entry: &Value, path: &str) -> Vec<Cause> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    if !matches!(text("operation"), "Apply" | "Update") {
        let field = format!("{path}.operation");
        faults.push(Cause::invalid(field, &json!(text("operation")), "must be `Apply` or `Update`"));
    }
    if !matches!(text("fieldsType"), "" | "FieldsV1") {
        faults.push(Cause::invalid(format!("{path}.fieldsType"), &json!(text("fieldsType")), "must be `FieldsV1`"));
    }
    faults.extend(field_manager(text("manager"), &format!("{path}.manager")));
    if text("subresource").len() as u64 > MAX_SUBRESOURCE_BYTES {
        faults.push(Cause::too_long(format!("{path}.subresource"), MAX_SUBRESOURCE_BYTES));
    }
    faults
}

/// The faults of a manager's name: at most 128 bytes, printable.
pub fn field_manager(name: &str, field: &str) -> Vec<Cause> {
    let mut faults = Vec::new();
    if name.len() as u64 > MAX_MANAGER_BYTES {
        faults.push(Cause::too_long(field, MAX_MANAGER_BYTES));
    }
    // positions are counted in bytes
    for (i, c) in name.char_indices().filter(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        let why = format!("invalid character U+{:04X} (at position {i})", c as u32);
        faults.push(Cause::invalid(field, &json!(name), why));
    }
    faults
}

/// What is said to the creator of an object; owner references that are there twice are merged.
pub fn warnings(object: &mut Value) -> Vec<String> {
    let merged = merge_owners(object);
    merged.into_iter().chain(lone_finalizers(object, None)).collect()
}

/// What is said to the writer of a changed object: of finalizers only those that the write adds.
pub fn warnings_update(object: &mut Value, old: &Value) -> Vec<String> {
    let merged = merge_owners(object);
    merged.into_iter().chain(lone_finalizers(object, Some(old))).collect()
}

/// Finalizers without a proper domain.
fn lone_finalizers(object: &Value, old: Option<&Value>) -> Vec<String> {
    let before = |one: &str| old.is_some_and(|old| texts(&old["metadata"]["finalizers"]).any(|text| text == one));
    let mut added: Vec<_> = texts(&object["metadata"]["finalizers"]).filter(|one| !before(one)).collect();
    added.sort_unstable();
    added.dedup();
    let lone = |one: &&str| !one.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(one);
    let say = |one: &str| {
        let path = if one.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} \
             to avoid accidental conflicts with other finalizer writers",
            shown::quoted(one)
        )
    };
    added.into_iter().filter(lone).map(say).collect()
}

/// Merges owner references that say the same twice; what is then said to the client.
fn merge_owners(object: &mut Value) -> Option<String> {
    let list = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let mut kept: Vec<Value> = Vec::new();
    let mut twice: Vec<String> = Vec::new();
    for owner in list.drain(..) {
        if kept.contains(&owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *list = kept;
    twice.sort();
    twice.dedup();
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// A name from `generateName` and a random suffix of five characters, cut so that both fit 63.
pub fn generated_name(prefix: &str, suffix: &str) -> String {
    let mut end = prefix.len().min(MAX_GENERATED_PREFIX_BYTES);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &prefix[..end])
}
