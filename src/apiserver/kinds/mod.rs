//! What the server serves: every kind with its names, schema, columns and verbs. Made once, at start, from CRD
//! documents and the built-in kinds; it holds no objects.

pub(super) mod builtin;
mod definition;
mod events;
mod rules;
mod scale;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use super::{metadata::NameRule, schema::Schema};

pub(super) use definition::NAME;
pub(super) use events::{from_stored, selector_to_stored, served, to_stored};
pub(super) use rules::{check, disown_given, prepare, undecodable};
pub(super) use scale::Scale;

/// Verbs of a kind that can be written, in discovery's order.
pub(super) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The same for custom kinds, whose discovery has an order of its own.
pub(super) const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Fields that a field selector may name of every kind.
const SELECTABLE: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// What makes a kind different from a plain custom kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// Described by a CRD.
    Custom,
    /// `v1 Namespace`: ends by being emptied.
    Namespace,
    Secret,
    ConfigMap,
    /// `v1 Event`, the form in which events are stored.
    Event,
    /// `events.k8s.io/v1 Event`: another view of the same objects.
    NewEvent,
    Lease,
    /// CustomResourceDefinition: read only, set when the server starts.
    Definition,
    /// A question that is answered and not stored.
    Review,
    /// Served from elsewhere: the index among the fleet's resources.
    Fleet(usize),
}

/// One printer column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) format: String,
    pub(super) description: String,
    pub(super) json_path: String,
    /// 0 is always shown, 1 with `-o wide`.
    pub(super) priority: i64,
}

/// One served kind.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) namespaced: bool,
    pub(super) status_subresource: bool,
    /// Name of its objects in the store; the two kinds of events share one.
    pub(super) resource: Arc<str>,
    pub(super) schema: Schema,
    /// The schema as it is published in OpenAPI.
    pub(super) open_api: Value,
    /// The schemas that it refers to by name.
    pub(super) definitions: Map<String, Value>,
    pub(super) columns: Vec<Column>,
    /// Fields that a field selector may name.
    pub(super) selectable: Vec<String>,
    /// Where a kind that can be scaled has its numbers.
    pub(super) scale: Scale,
    pub(super) verbs: &'static [&'static str],
    pub(super) names: NameRule,
    pub(super) nature: Nature,
}

impl Kind {
    /// `group/version`, or the version alone for the core group.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of its group version, without slashes at the ends: `apis/waybill.dev/v1alpha1`.
    pub(super) fn prefix(&self) -> String {
        if self.group.is_empty() { format!("api/{}", self.version) } else { format!("apis/{}", self.api_version()) }
    }

    pub(super) fn gvk(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }

    /// The selectable fields that not every kind has.
    pub(super) fn own_selectable(&self) -> impl Iterator<Item = &str> {
        self.selectable.iter().map(String::as_str).filter(|field| !SELECTABLE.contains(field))
    }

    pub(super) fn is_custom(&self) -> bool {
        self.nature == Nature::Custom
    }

    /// Whether objects of this kind lie in the store.
    pub(super) fn is_stored(&self) -> bool {
        !matches!(self.nature, Nature::Review | Nature::Fleet(_))
    }
}

/// All kinds, in discovery's order.
#[derive(Debug)]
pub(super) struct Kinds {
    all: Vec<Arc<Kind>>,
}

/// A CRD document that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct BadDefinition {
    pub(super) name: String,
    pub(super) reason: String,
}

impl Kinds {
    /// The built-in kinds, those of the CRD documents, and `more` (the fleet's).
    pub(super) fn new(builtin: Vec<Kind>, crds: &[Value], more: Vec<Kind>) -> Result<Kinds, BadDefinition> {
        let mut all: Vec<Arc<Kind>> = builtin.into_iter().map(Arc::new).collect();
        let own = crds.iter().map(definition::kind).collect::<Result<Vec<_>, _>>()?;
        let mut own: Vec<Arc<Kind>> = own.into_iter().chain(more).map(Arc::new).collect();
        // of two groups with a kind of one name clients take the first: the order must not hang on that of files
        own.sort_by(|a, b| a.group.cmp(&b.group));
        all.extend(own);
        let mut seen = BTreeSet::new();
        for kind in &all {
            if !seen.insert((kind.group.clone(), kind.plural.clone())) {
                let name = format!("{}.{}", kind.plural, kind.group);
                return Err(BadDefinition { name, reason: "is defined twice; remove one of the documents".into() });
            }
        }
        Ok(Kinds { all })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.iter()
    }

    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.all.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// Group and version of everything served, in discovery's order, once each.
    pub(super) fn group_versions(&self) -> Vec<(&str, &str)> {
        let mut out: Vec<(&str, &str)> = vec![];
        for kind in &self.all {
            let one = (kind.group.as_str(), kind.version.as_str());
            if !out.contains(&one) {
                out.push(one);
            }
        }
        out
    }

    /// The kind in whose form objects of a store resource are kept.
    pub(super) fn stored_as(&self, resource: &str) -> Option<&Arc<Kind>> {
        self.all.iter().find(|k| &*k.resource == resource && k.is_stored())
    }

    /// Kinds that have objects of their own in the store: one per store resource.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.iter().filter(|k| k.is_stored() && k.nature != Nature::NewEvent)
    }
}

/// Turns stored bytes into what the present schema serves: fields it no longer has go, new defaults come.
pub(super) fn view(kind: &Kind, object: &mut Value) {
    if kind.is_custom() {
        kind.schema.prune(object);
        kind.schema.default(object);
    }
}
