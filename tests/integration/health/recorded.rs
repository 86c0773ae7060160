//! Objects in their states, as files: `tests/fixtures/health/KIND.yaml` has a document for each state. Left out of them is what
//! differs from run to run and what no health check looks at.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// How far the site is with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum State {
    /// No site has looked at it.
    New,
    /// It was changed, and no site has looked at it since.
    Edited,
    /// Work is under way, or something has to come first.
    Working,
    /// All is done.
    Done,
    /// All is done that it lets be done.
    Suspended,
    /// What it names does not exist, or not yet.
    Astray,
    /// Somebody has to act.
    Stalled,
    /// It was deleted, and something holds it.
    Deleting,
    /// It was deleted, and somebody has to act before it goes.
    DeletingStalled,
}

impl State {
    /// What Argo CD shows.
    pub(crate) fn in_argocd(self) -> &'static str {
        match self {
            Self::New | Self::Edited | Self::Working | Self::Deleting => "Progressing",
            Self::Done => "Healthy",
            Self::Suspended => "Suspended",
            Self::Astray | Self::Stalled | Self::DeletingStalled => "Degraded",
        }
    }

    /// What Flux waits for, or not.
    pub(crate) fn in_flux(self) -> &'static str {
        match self {
            // Flux gives up at once on what has failed; of what it applies together, one comes before the other.
            Self::New | Self::Edited | Self::Working | Self::Deleting | Self::Astray => "InProgress",
            Self::Done | Self::Suspended => "Current",
            Self::Stalled | Self::DeletingStalled => "Failed",
        }
    }
}

/// An object in a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) state: State,
    pub(crate) object: Value,
}

/// The states that objects of a kind come into.
pub(crate) fn states(kind: &str) -> Vec<State> {
    let everywhere = [State::New, State::Edited, State::Done, State::Suspended, State::Deleting];
    let more: &[State] = match kind {
        "Package" => &[State::Working, State::Stalled, State::DeletingStalled],
        "Program" => &[State::Astray, State::Stalled],
        "Distribution" => &[State::Working, State::Astray],
        "Advertisement" => &[State::Working, State::Astray, State::Stalled],
        "DistributionPoint" => &[State::Working, State::Stalled],
        // These are looked at once and done, or not.
        _ => &[State::Stalled],
    };
    let mut states = [&everywhere[..], more].concat();
    states.sort();
    states
}

/// Every kind of ours.
pub(crate) fn kinds() -> Vec<String> {
    waybill::api::crds().iter().map(|crd| crd.spec.names.kind.clone()).collect()
}

fn file(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/health/{}.yaml", kind.to_lowercase()))
}

/// The recorded objects of a kind, by state.
pub(crate) fn read(kind: &str) -> Vec<Recorded> {
    let text = fs::read_to_string(file(kind)).unwrap_or_else(|error| panic!("{kind} is not recorded: {error}"));
    serde_yaml::from_multiple(&text).unwrap()
}

/// All recorded objects.
pub(crate) fn all() -> Vec<Recorded> {
    let all: Vec<Recorded> = kinds().iter().flat_map(|kind| read(kind)).collect();
    assert!(all.len() >= kinds().len() * 6, "{} objects are recorded", all.len());
    all
}

pub(super) fn write(kind: &str, objects: &[Recorded]) {
    let documents: Vec<String> = objects.iter().map(|one| serde_yaml::to_string(one).unwrap()).collect();
    let head = "# Recorded by `UPDATE=1 cargo test --test integration health::live`.\n";
    fs::create_dir_all(file(kind).parent().unwrap()).unwrap();
    fs::write(file(kind), format!("{head}{}", documents.join("---\n"))).unwrap();
}

/// What of an object is recorded.
pub(super) fn essence(object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut metadata = Map::new();
    for field in ["name", "namespace", "generation", "finalizers"] {
        if !meta[field].is_null() {
            metadata.insert(field.into(), meta[field].clone());
        }
    }
    if !meta["deletionTimestamp"].is_null() {
        metadata.insert("deletionTimestamp".into(), json!(TIME));
    }
    let mut status = Map::from_iter([("observedGeneration".into(), object["status"]["observedGeneration"].clone())]);
    if let Some(conditions) = object["status"]["conditions"].as_array() {
        let mut conditions = conditions.clone();
        conditions.iter_mut().for_each(|one| one["lastTransitionTime"] = json!(TIME));
        status.insert("conditions".into(), json!(conditions));
    }
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "spec": object["spec"],
        "status": status})
}

/// Every time that is recorded.
const TIME: &str = "2026-01-01T00:00:00Z";
