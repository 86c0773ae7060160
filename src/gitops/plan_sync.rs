//! What a revision asks to apply and to remove, given what is owned and what is live. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    acknowledge::acknowledges,
    kinds::{Kinds, ObjectKey},
    ledger::Owned,
    live::LiveObject,
    load::{Loaded, Manifests},
};

/// A revision may always remove so many objects: one package with all that belongs to it, and some more.
pub const GUARD_FLOOR: usize = 10;
/// A revision may remove this share of what the sync owns, in percent.
pub const GUARD_PERCENT: usize = 20;

/// Everything the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The name of this sync, as in the label of its objects.
    pub sync: &'a str,
    /// The revision the manifests are from.
    pub revision: &'a str,
    /// What the revision declares.
    pub manifests: &'a Manifests,
    /// What the ledger says this sync owns.
    pub ledger: &'a BTreeMap<ObjectKey, Owned>,
    /// What the API server holds of our kinds.
    pub live: &'a BTreeMap<ObjectKey, LiveObject>,
    /// Revisions that somebody acknowledged, as written.
    pub acknowledged: &'a [String],
    /// Objects whose last write failed and whose pause is not over.
    pub pausing: &'a BTreeSet<ObjectKey>,
    /// Objects that have been missing from the tree for so short a time that an editor may just be saving them.
    pub unsettled: &'a BTreeSet<ObjectKey>,
}

/// Why an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// The file changed, or the object was never applied by this sync.
    Changed,
    /// Somebody else changed a field that the file sets.
    Edited,
}

/// Removals that are held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The revision to acknowledge; none if the source could not be read at all, which only mending it cures.
    pub revision: Option<String>,
    /// What would be removed, in order.
    pub removals: Vec<ObjectKey>,
    /// How many objects the sync owns.
    pub owned: usize,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Namespaces that the objects to be applied live in.
    pub namespaces: BTreeSet<String>,
    /// Indices into the manifests' objects, in waves: a wave begins when the one before it is done.
    pub apply: Vec<Vec<(usize, Why)>>,
    /// What to delete, with the identity it must have, in order.
    pub remove: Vec<(ObjectKey, String)>,
    /// Ledger entries of objects that are gone.
    pub forget: Vec<ObjectKey>,
    /// Set if removals are held back.
    pub guard: Option<Guard>,
    /// How many objects the sync owns before the plan is carried out.
    pub owned: usize,
}

impl Plan {
    /// Whether anything is to be written to the API.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.apply.is_empty() || !self.remove.is_empty()
    }
}

/// Decides. Removals of a revision are all or nothing but for those that have to wait.
#[must_use]
pub fn plan(facts: &Facts<'_>, kinds: &Kinds) -> Plan {
    let vanished = vanished(facts);
    let owned = owned(facts).count();
    let mut plan = Plan { owned, ..Plan::default() };

    let mut waves: BTreeMap<usize, Vec<(usize, Why)>> = BTreeMap::new();
    for (index, loaded) in facts.manifests.objects.iter().enumerate() {
        if let Some(why) = needs_write(facts, loaded) {
            waves.entry(kinds.rank(&loaded.key.kind)).or_default().push((index, why));
            plan.namespaces.extend(loaded.key.namespace.clone());
        }
    }
    plan.apply = waves.into_values().collect();

    let mut removals: Vec<ObjectKey> = vanished.into_iter().collect();
    removals.sort_by_key(|key| (std::cmp::Reverse(kinds.rank(&key.kind)), key.clone()));
    let acknowledged = facts.acknowledged.iter().any(|written| acknowledges(written, facts.revision));
    if is_guarded(removals.len(), settled(facts, &removals)) && !acknowledged {
        plan.guard = Some(Guard { revision: Some(facts.revision.to_owned()), removals, owned });
    } else {
        let ready = removals.into_iter().filter(|key| !facts.pausing.contains(key) && !facts.unsettled.contains(key));
        plan.remove = ready.filter_map(|key| Some((key.clone(), facts.live.get(&key)?.uid.clone()))).collect();
    }
    let declared: BTreeSet<&ObjectKey> = facts.manifests.objects.iter().map(|loaded| &loaded.key).collect();
    let gone = facts.ledger.keys().filter(|key| !facts.live.contains_key(key) && !declared.contains(key));
    plan.forget = gone.cloned().collect();
    plan
}

/// Whether so many removals need an acknowledgement.
#[must_use]
pub fn is_guarded(removals: usize, owned: usize) -> bool {
    removals > 0 && (removals == owned || removals > GUARD_FLOOR.max(owned * GUARD_PERCENT / 100))
}

/// How many objects removals are held against: what is there besides that came while they were held back does not count.
fn settled(facts: &Facts<'_>, removals: &[ObjectKey]) -> usize {
    let removed: BTreeSet<&ObjectKey> = removals.iter().collect();
    let is_settled = |key: &ObjectKey| facts.ledger.get(key).is_none_or(|owned| owned.settled);
    owned(facts).filter(|key| is_settled(key) || removed.contains(key)).count()
}

/// The live objects that this sync owns: those it labelled, and those of its ledger whose label somebody took away.
/// Objects on their way out no longer count.
pub fn owned<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a ObjectKey> {
    let (sync, ledger) = (facts.sync.to_owned(), facts.ledger);
    let ours = move |key: &ObjectKey, object: &LiveObject| {
        object.sync.as_deref() == Some(&sync)
            || object.sync.is_none() && ledger.get(key).is_some_and(|owned| owned.uid == object.uid)
    };
    facts.live.iter().filter(move |(key, object)| !object.deleting && ours(key, object)).map(|(key, _)| key)
}

/// The owned objects that the tree does not declare any more.
#[must_use]
pub fn vanished(facts: &Facts<'_>) -> BTreeSet<ObjectKey> {
    let declared: BTreeSet<&ObjectKey> = facts.manifests.objects.iter().map(|loaded| &loaded.key).collect();
    owned(facts)
        .filter(|key| {
            let file = facts.ledger.get(key).map(|owned| owned.file.as_str());
            !declared.contains(key) && !facts.manifests.may_declare(key, file.or_else(|| annotated_file(facts, key)))
        })
        .cloned()
        .collect()
}

/// The file that an object says it came from, for when the ledger was lost.
fn annotated_file<'a>(facts: &Facts<'a>, key: &ObjectKey) -> Option<&'a str> {
    let annotations = facts.live.get(key)?.content.get("metadata")?.get("annotations")?;
    annotations.get(super::apply::FILE_ANNOTATION)?.as_str()
}

fn needs_write(facts: &Facts<'_>, loaded: &Loaded) -> Option<Why> {
    if facts.pausing.contains(&loaded.key) {
        return None;
    }
    let Some(live) = facts.live.get(&loaded.key) else { return Some(Why::Missing) };
    if live.deleting {
        return None;
    }
    let applied = facts.ledger.get(&loaded.key).filter(|owned| owned.uid == live.uid);
    let Some(applied) = applied.filter(|applied| applied.manifest == loaded.digest) else {
        return Some(Why::Changed);
    };
    let untouched = live.digest == applied.live;
    let labelled = live.sync.as_deref() == Some(facts.sync);
    (!untouched && (!labelled || !holds_manifest(&live.content, &loaded.object))).then_some(Why::Edited)
}

/// Whether a live object is as its manifest says: labels, annotations and everything outside `metadata`.
fn holds_manifest(live: &Value, manifest: &Value) -> bool {
    let parts = ["labels", "annotations"].map(|map| format!("/metadata/{map}"));
    let metadata = parts.iter().all(|part| match (live.pointer(part), manifest.pointer(part)) {
        (_, None) => true,
        (Some(have), Some(wanted)) => holds(have, wanted),
        (None, Some(wanted)) => is_empty(wanted),
    });
    let Some(fields) = manifest.as_object() else { return false };
    let mut others = fields.iter().filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"));
    metadata && others.all(|(field, wanted)| holds(live.get(field).unwrap_or(&Value::Null), wanted))
}

/// Whether a live value has every field of the manifest's at the manifest's value. More fields are fine: defaults, and
/// what others set. Items of lists are compared one by one, since a list that files set belongs to the files.
fn holds(live: &Value, manifest: &Value) -> bool {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => manifest.iter().all(|(field, wanted)| {
            live.get(field).map_or(wanted.is_null() || is_empty(wanted), |have| holds(have, wanted))
        }),
        (Value::Array(live), Value::Array(manifest)) => {
            live.len() == manifest.len() && live.iter().zip(manifest).all(|(have, wanted)| holds(have, wanted))
        }
        (Value::Number(live), Value::Number(manifest)) => live.as_f64() == manifest.as_f64(),
        (_, Value::Null) => true,
        (live, manifest) => live == manifest,
    }
}

/// An empty map is not always kept by a server.
fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}
