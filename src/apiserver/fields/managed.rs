//! `metadata.managedFields`: who owns what, read from and written to an object, and its life cycle rules.

use super::Writer;
use super::set::{Set, Unreadable};
use serde_json::{Value, json};

/// More entries of update managers than this are merged, the oldest first, so that a fleet of short-lived tools does not
/// grow every object.
const MAX_UPDATE_MANAGERS: usize = 10;

/// The manager that the oldest entries are merged into.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By server-side apply: what it applied last.
    Apply,
    /// By create, replace or patch: what it changed.
    Update,
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    /// RFC 3339; absent when the manager has only ever shared existing values.
    pub time: Option<String>,
    pub fields: Set,
}

impl Entry {
    pub(super) fn of(writer: Writer<'_>, operation: Operation) -> Self {
        Self {
            manager: if writer.manager.is_empty() { "unknown".into() } else { writer.manager.into() },
            operation,
            api_version: writer.api_version.into(),
            subresource: writer.subresource.into(),
            time: None,
            fields: Set::default(),
        }
    }

    /// Whether both are the same manager's; appliers are the same across versions.
    pub(super) fn same_manager(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        let names = self.manager == other.manager && self.subresource == other.subresource;
        version && names && self.operation == other.operation
    }

    fn decode(value: &Value) -> Result<Self, Unreadable> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return Err(Unreadable),
        };
        if text("apiVersion").is_empty() || value["fieldsType"] != "FieldsV1" {
            return Err(Unreadable);
        }
        let fields = match &value["fieldsV1"] {
            Value::Null => Set::default(),
            fields => Set::decode(fields)?,
        };
        Ok(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            fields,
        })
    }

    fn encode(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut out = json!({
            "operation": operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.encode(),
        });
        let optional =
            [("manager", Some(&self.manager)), ("subresource", Some(&self.subresource)), ("time", self.time.as_ref())];
        for (name, text) in optional {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                out[name] = json!(text);
            }
        }
        out
    }
}

/// All managers of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Managed {
    pub entries: Vec<Entry>,
}

impl Managed {
    fn decode(list: &Value) -> Result<Self, Unreadable> {
        let mut entries: Vec<Entry> = Vec::new();
        for value in list.as_array().into_iter().flatten() {
            let entry = Entry::decode(value)?;
            entries.retain(|other| !other.same_manager(&entry));
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// What the stored object says; what cannot be read counts as nothing.
    pub(super) fn of(object: &Value) -> Self {
        Self::decode(&object["metadata"]["managedFields"]).unwrap_or_default()
    }

    /// What an update starts from: what the client sent, if it can be read and is not empty, else what is stored. Only
    /// `[{}]` clears. Through a subresource the client has no say.
    pub(super) fn of_update(stored: Option<&Value>, sent: &Value, subresource: &str) -> Self {
        let stored = || stored.map(Self::of).unwrap_or_default();
        let list = &sent["metadata"]["managedFields"];
        if !subresource.is_empty() {
            return stored();
        }
        if list.as_array().is_some_and(|list| list.len() == 1 && is_blank(&list[0])) {
            return Self::default();
        }
        match Self::decode(list) {
            Ok(managed) if !managed.entries.is_empty() => managed,
            _ => stored(),
        }
    }

    pub(super) fn find(&self, entry: &Entry) -> Option<&Entry> {
        self.entries.iter().find(|other| other.same_manager(entry))
    }

    /// Puts an entry in the place of the same manager's.
    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.retain(|other| !other.same_manager(&entry));
        self.entries.push(entry);
    }

    /// Managers who own nothing any more are forgotten.
    pub(super) fn forget_idle(&mut self) {
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// Merges the oldest update entries of a version until no more than the limit are left.
    pub(super) fn cap(&mut self) {
        let updates = |entry: &Entry| entry.operation == Operation::Update;
        let mut oldest: Vec<Entry> = self.entries.iter().filter(|entry| updates(entry)).cloned().collect();
        let mut count = oldest.len();
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        oldest.sort_by(|a, b| (&a.time, &a.manager, &a.subresource).cmp(&(&b.time, &b.manager, &b.subresource)));
        let mut first_of: Vec<Entry> = Vec::new();
        for entry in oldest {
            if count <= MAX_UPDATE_MANAGERS {
                break;
            }
            let Some(first) = first_of.iter().find(|first| first.api_version == entry.api_version).cloned() else {
                first_of.push(entry);
                continue;
            };
            let mut bucket = Entry { manager: ANCIENT.into(), subresource: String::new(), ..first.clone() };
            match self.find(&bucket) {
                Some(found) => bucket = found.clone(),
                None => self.entries.retain(|other| !other.same_manager(&first)),
            }
            bucket.fields = bucket.fields.union(&entry.fields);
            bucket.time.clone_from(&entry.time);
            self.entries.retain(|other| !other.same_manager(&entry));
            self.put(bucket);
            count -= 1;
        }
    }

    /// Writes the entries: appliers first, then by time, then by name.
    pub(super) fn write(mut self, object: &mut Value) {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        self.entries.sort_by(|a, b| {
            let key = |e: &Entry| {
                (e.operation, e.time.clone(), e.manager.clone(), e.api_version.clone(), e.subresource.clone())
            };
            key(a).cmp(&key(b))
        });
        match self.entries.is_empty() {
            true => metadata.remove("managedFields"),
            false => metadata.insert("managedFields".into(), self.entries.iter().map(Entry::encode).collect()),
        };
    }
}

/// An entry that says nothing.
fn is_blank(entry: &Value) -> bool {
    entry.as_object().is_some_and(|entry| entry.values().all(|value| value.is_null() || value == ""))
}
