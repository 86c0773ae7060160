//! The kinds that manifests may hold, taken from the CRDs, and the order in which they are applied. Does not validate.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ApiResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::api::{FLEET_GROUP as SERVED_GROUP, GROUP};

/// Kinds in the order in which they are applied: what is referred to comes first. A kind that is missing here comes
/// last. Removal runs the other way, so that an offer goes before the content it offers.
const APPLY_ORDER: [&str; 9] = [
    "Site",
    "ClientAgentConfig",
    "DistributionPoint",
    "Collection",
    "Package",
    "Program",
    "MaintenanceWindow",
    "Distribution",
    "Advertisement",
];

/// One kind of our group.
#[derive(Debug, Clone)]
pub struct Kind {
    /// How the API names it.
    pub resource: ApiResource,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// Position in the order of applying.
    pub rank: usize,
    /// Its OpenAPI v3 schema, as in the CRD.
    pub schema: Value,
}

/// All kinds of our group, by kind.
#[derive(Debug, Clone, Default)]
pub struct Kinds(BTreeMap<String, Kind>);

impl Kinds {
    /// The kinds of these CRDs, each at its first served version. CRDs of other groups are left out.
    #[must_use]
    pub fn of(crds: &[CustomResourceDefinition]) -> Self {
        let ours = crds.iter().filter(|crd| crd.spec.group == GROUP);
        Self(ours.filter_map(|crd| Some((crd.spec.names.kind.clone(), kind(crd)?))).collect())
    }

    /// A kind by its name.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Kind> {
        self.0.get(kind)
    }

    /// All kinds in the order of applying.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Kind> {
        let mut kinds: Vec<&Kind> = self.0.values().collect();
        kinds.sort_by(|a, b| (a.rank, &a.resource.kind).cmp(&(b.rank, &b.resource.kind)));
        kinds
    }

    /// The position of a kind in the order of applying.
    #[must_use]
    pub fn rank(&self, kind: &str) -> usize {
        self.0.get(kind).map_or(usize::MAX, |kind| kind.rank)
    }
}

fn kind(crd: &CustomResourceDefinition) -> Option<Kind> {
    let version = crd.spec.versions.iter().find(|version| version.served)?;
    let names = &crd.spec.names;
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    Some(Kind {
        resource: ApiResource {
            group: crd.spec.group.clone(),
            version: version.name.clone(),
            api_version: format!("{}/{}", crd.spec.group, version.name),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
        },
        namespaced: crd.spec.scope == "Namespaced",
        rank: APPLY_ORDER.iter().position(|kind| *kind == names.kind).unwrap_or(APPLY_ORDER.len()),
        schema: serde_json::to_value(schema).unwrap_or(Value::Null),
    })
}

/// What one object of our group is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// The kind.
    pub kind: String,
    /// The namespace; none for a cluster-scoped kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// An object in a namespace.
    #[must_use]
    pub fn namespaced(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// An object outside namespaces.
    #[must_use]
    pub fn cluster(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}
