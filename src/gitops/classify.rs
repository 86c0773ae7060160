//! What one YAML document is: an object of ours, one that cannot be applied, or somebody else's. Looks at names and
//! metadata only; schemas are the business of the API server and of `validate`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    diagnostic::{Diagnostic, Severity},
    document::{Document, Places},
    foreign,
    kinds::{GROUP, Kinds, ObjectKey, SERVED_GROUP},
};
use crate::content::digest::Digest;

/// The namespace of an object that names none, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";
/// The fields of `metadata` that a manifest may set; the rest belongs to the server.
const METADATA_FIELDS: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// One object of a manifest.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it is called.
    pub key: ObjectKey,
    /// The object, with its namespace filled in.
    pub object: Value,
    /// The file, relative to the root of the tree.
    pub file: String,
    /// Where its fields stand.
    pub places: Places,
    /// Digest of the object and its file; equal digests need no second write.
    pub digest: Digest,
    /// The whole text of the file, for showing the line of a problem.
    pub text: Arc<str>,
}

impl Loaded {
    /// A problem at one of its fields, with the source line.
    pub fn diagnose(&self, severity: Severity, field: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(severity, &self.file, &self.text, self.places.of(field), message)
    }

    /// The line on which the object begins, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.places.of("").line
    }
}

/// What a document is to us.
pub(crate) enum Classified {
    /// One of our objects.
    Object(Box<Loaded>),
    /// One of our objects that cannot be applied.
    Faulty(ObjectKey, Vec<Diagnostic>),
    /// One of our objects, nobody knows which, or meant to be one.
    Unnamed(Diagnostic),
    /// Not ours.
    Foreign(Diagnostic),
}

/// What a document of a file is, and what is wrong with it.
pub(crate) fn classify(document: Document, file: &str, text: &Arc<str>, kinds: &Kinds) -> Classified {
    let Document { mut value, places } = document;
    let diagnose =
        |severity, field: &str, message: String| Diagnostic::at(severity, file, text, places.of(field), message);
    let field = |pointer| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind_name, name) = (field("/apiVersion"), field("/kind"), field("/metadata/name"));

    let group = api_version.as_deref().and_then(|api_version| api_version.split_once('/')).map(|(group, _)| group);
    if group == Some(SERVED_GROUP) {
        let message = format!("objects of {SERVED_GROUP} are served by the site and cannot be declared");
        return Classified::Foreign(diagnose(Severity::Error, "apiVersion", message));
    }
    if group != Some(GROUP) {
        if let Some(slip) = foreign::slip(api_version.as_deref(), kind_name.as_deref(), kinds) {
            return Classified::Unnamed(diagnose(Severity::Error, "apiVersion", slip));
        }
        let what = match (&kind_name, &api_version) {
            (Some(kind), Some(api_version)) => format!("{kind} of {api_version}"),
            _ => "this document".to_owned(),
        };
        return Classified::Foreign(diagnose(Severity::Note, "", format!("{what} is not of {GROUP} and is ignored")));
    }
    let Some(kind) = kind_name.as_deref().and_then(|kind| kinds.get(kind)) else {
        let known: Vec<&str> = kinds.in_order().iter().map(|kind| kind.resource.kind.as_str()).collect();
        let message = match kind_name {
            Some(kind) => format!("{GROUP} has no kind {kind}; it has {}", known.join(", ")),
            None => format!("`kind` is missing; {GROUP} has {}", known.join(", ")),
        };
        return Classified::Unnamed(diagnose(Severity::Error, "kind", message));
    };
    let Some(name) = name else {
        let what = if places.has("metadata.name") { "must be text: quote it" } else { "is missing" };
        return Classified::Unnamed(diagnose(Severity::Error, "metadata.name", format!("`metadata.name` {what}")));
    };

    let mut problems = metadata_problems(&value);
    if api_version.as_deref() != Some(&kind.resource.api_version) {
        problems.push(("apiVersion".to_owned(), format!("the served version is {}", kind.resource.api_version)));
    }
    let namespace = field("/metadata/namespace");
    if !kind.namespaced && places.has("metadata.namespace") {
        let message = format!("{} is cluster-scoped: remove the namespace", kind.resource.kind);
        problems.push(("metadata.namespace".to_owned(), message));
    }
    let namespace = kind.namespaced.then(|| namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()));
    let key = ObjectKey { kind: kind.resource.kind.clone(), namespace, name };
    if !problems.is_empty() {
        let diagnostics = problems.into_iter().map(|(field, message)| diagnose(Severity::Error, &field, message));
        return Classified::Faulty(key, diagnostics.collect());
    }
    if let (Some(namespace), Some(metadata)) =
        (&key.namespace, value.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let digest = Digest::of(format!("{file}\0{value}").as_bytes());
    Classified::Object(Box::new(Loaded {
        digest,
        key,
        object: value,
        file: file.to_owned(),
        places,
        text: text.clone(),
    }))
}

/// Fields that only the server or the controllers write, and labels that are not text: (field, message).
fn metadata_problems(object: &Value) -> Vec<(String, String)> {
    let empty = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut problems: Vec<(String, String)> = metadata
        .keys()
        .filter(|field| !METADATA_FIELDS.contains(&field.as_str()))
        .map(|field| (format!("metadata.{field}"), format!("`metadata.{field}` is not for manifests: remove it")))
        .collect();
    if metadata.get("namespace").is_some_and(|namespace| !namespace.is_string()) {
        problems.push(("metadata.namespace".to_owned(), "`metadata.namespace` must be text: quote it".to_owned()));
    }
    for map in ["labels", "annotations"] {
        match metadata.get(map) {
            None | Some(Value::Null) => {}
            Some(Value::Object(entries)) => {
                let odd = entries.iter().filter(|(_, value)| !value.is_string());
                problems.extend(odd.map(|(key, _)| {
                    (format!("metadata.{map}.{key}"), format!("the value of `{key}` must be text: quote it"))
                }));
            }
            Some(_) => problems.push((format!("metadata.{map}"), format!("`metadata.{map}` must be a map"))),
        }
    }
    if object.get("status").is_some() {
        problems.push(("status".to_owned(), "`status` is written by the site: remove it".to_owned()));
    }
    problems
}
