//! The decision of a sync, as tables: what is applied, what is removed, and when the guard holds removals back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    acknowledge::acknowledges,
    apply::{SYNC_LABEL, desired},
    kinds::{Kinds, ObjectKey},
    ledger::Owned,
    live::LiveObject,
    load::{Manifests, load},
    plan_sync::{Facts, Plan, Why, is_guarded, plan},
};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

fn kinds() -> Kinds {
    Kinds::of(&crate::api::crds())
}

fn collection(name: &str, client: &str) -> String {
    format!(
        "apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {{name: {name}}}\nspec: {{clients: [{client}]}}\n---\n"
    )
}

fn declare(files: &[(&str, String)]) -> Manifests {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        std::fs::write(root.path().join(path), text).unwrap();
    }
    load(root.path(), &kinds()).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("Collection", "default", name)
}

/// A world in which some manifests were applied, and then things happened.
struct World {
    manifests: Manifests,
    ledger: BTreeMap<ObjectKey, Owned>,
    live: BTreeMap<ObjectKey, LiveObject>,
    acknowledged: Vec<String>,
    pausing: BTreeSet<ObjectKey>,
    unsettled: BTreeSet<ObjectKey>,
}

impl World {
    /// Everything of these files was applied by this sync.
    fn after(files: &[(&str, String)]) -> Self {
        let manifests = declare(files);
        let mut world = Self {
            manifests,
            ledger: BTreeMap::new(),
            live: BTreeMap::new(),
            acknowledged: Vec::new(),
            pausing: BTreeSet::new(),
            unsettled: BTreeSet::new(),
        };
        for loaded in world.manifests.objects.clone() {
            let uid = format!("uid of {}", loaded.key);
            let mut object = desired(&loaded, "git", REVISION);
            object["metadata"]["uid"] = json!(uid);
            object["spec"]["suspend"] = json!(false);
            let live = LiveObject::of(&serde_json::from_value(object).unwrap());
            let owned = Owned::applied(&loaded, &live, true);
            world.ledger.insert(loaded.key.clone(), owned);
            world.live.insert(loaded.key, live);
        }
        world
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let live = self.live.get_mut(&key(name)).unwrap();
        change(&mut live.content);
        live.digest = crate::content::digest::Digest::of(live.content.to_string().as_bytes());
        live.sync = live.content["metadata"]["labels"][SYNC_LABEL].as_str().map(str::to_owned);
    }

    fn plan(&self) -> Plan {
        let facts = Facts {
            sync: "git",
            revision: REVISION,
            manifests: &self.manifests,
            ledger: &self.ledger,
            live: &self.live,
            acknowledged: &self.acknowledged,
            pausing: &self.pausing,
            unsettled: &self.unsettled,
        };
        plan(&facts, &kinds())
    }

    fn writes(&self) -> Vec<(String, Why)> {
        let plan = self.plan();
        let writes = plan.apply.iter().flatten();
        writes.map(|(index, why)| (self.manifests.objects[*index].key.name.clone(), *why)).collect()
    }

    fn removes(&self) -> Vec<String> {
        self.plan().remove.into_iter().map(|(key, _)| key.name).collect()
    }
}

fn many(names: impl Iterator<Item = usize>) -> String {
    names.map(|n| collection(&format!("c{n}"), "a")).collect()
}

#[test]
fn what_is_as_declared_is_not_written() {
    let world = World::after(&[("a.yaml", many(0..3))]);
    let plan = world.plan();
    assert!(!plan.has_writes());
    assert_eq!((plan.guard, plan.owned), (None, 3));
}

#[test]
fn what_is_missing_changed_or_edited_is_written_once() {
    let mut world = World::after(&[("a.yaml", many(0..5))]);
    world.live.remove(&key("c0"));
    world.ledger.get_mut(&key("c1")).unwrap().manifest = crate::content::digest::Digest::of(b"older");
    world.edit("c2", |content| content["spec"]["clients"] = json!(["a", "b"]));
    world.edit("c3", |content| content["spec"]["query"] = json!("true"));
    world.edit("c4", |content| content["metadata"]["labels"] = json!(null));
    assert_eq!(
        world.writes(),
        [
            ("c0".to_owned(), Why::Missing),
            ("c1".to_owned(), Why::Changed),
            ("c2".to_owned(), Why::Edited),
            ("c4".to_owned(), Why::Edited),
        ],
        "c3 has a field more than its file, which is the editor's"
    );
    world.pausing.insert(key("c0"));
    world.live.get_mut(&key("c2")).unwrap().deleting = true;
    assert_eq!(world.writes().len(), 2);
}

#[test]
fn kinds_are_applied_in_waves_and_removed_the_other_way_round() {
    let of = |kind: &str, name: &str| {
        format!("apiVersion: waybill.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n")
    };
    let text = ["Advertisement", "Program", "Package", "Site", "Distribution"].map(|kind| of(kind, "x")).concat();
    let mut world = World::after(&[("a.yaml", text), ("b.yaml", many(0..20))]);
    let applied = world.live.clone();
    world.live.clear();
    let kinds_of = |plan: &Plan| -> Vec<String> {
        plan.apply.iter().map(|wave| world.manifests.objects[wave[0].0].key.kind.clone()).collect()
    };
    let plan = world.plan();
    assert_eq!(kinds_of(&plan), ["Site", "Collection", "Package", "Program", "Distribution", "Advertisement"]);
    assert_eq!(plan.namespaces, BTreeSet::from(["default".to_owned()]));

    world.live = applied;
    world.manifests = declare(&[("b.yaml", many(0..20))]);
    let removed: Vec<String> = world.plan().remove.into_iter().map(|(key, _)| key.kind).collect();
    assert_eq!(removed, ["Advertisement", "Distribution", "Program", "Package", "Site"]);
}

#[test]
fn the_guard_by_numbers() {
    for (removals, owned, guarded) in [
        (0, 0, false),
        (0, 100, false),
        (1, 1, true),
        (4, 5, false),
        (5, 5, true),
        (10, 11, false),
        (11, 12, true),
        (10, 50, false),
        (11, 50, true),
        (12, 60, false),
        (13, 60, true),
        (200, 1000, false),
        (201, 1000, true),
        (1000, 1000, true),
    ] {
        assert_eq!(is_guarded(removals, owned), guarded, "{removals} of {owned}");
    }
}

#[test]
fn a_guarded_revision_removes_nothing_until_it_is_acknowledged() {
    let mut world = World::after(&[("a.yaml", many(0..30)), ("b.yaml", many(30..60))]);
    world.manifests = declare(&[("a.yaml", many(0..30)), ("c.yaml", collection("new", "a"))]);
    let plan = world.plan();
    let guard = plan.guard.unwrap();
    assert_eq!((guard.revision.as_deref(), guard.removals.len(), guard.owned), (Some(REVISION), 30, 60));
    assert_eq!(plan.remove, []);
    assert_eq!(world.writes(), [("new".to_owned(), Why::Missing)], "the rest of the revision is applied");

    for (written, opens) in [("another", false), ("012345", false), ("0123456", true), (REVISION, true), ("", false)] {
        world.acknowledged = vec![written.to_owned()];
        assert_eq!(world.removes().len(), if opens { 30 } else { 0 }, "{written}");
        assert_eq!(acknowledges(written, REVISION), opens);
    }
}

#[test]
fn an_empty_tree_removes_nothing_by_itself() {
    let mut world = World::after(&[("a.yaml", many(0..3))]);
    world.manifests = declare(&[]);
    let plan = world.plan();
    assert_eq!((plan.remove.len(), plan.guard.map(|guard| guard.removals.len())), (0, Some(3)));
}

/// What a revision brings was applied when its removals are looked at again.
#[test]
fn what_comes_with_a_guarded_revision_does_not_make_it_harmless() {
    let mut world = World::after(&[("a.yaml", many(0..40)), ("b.yaml", many(40..210))]);
    world.manifests = declare(&[("b.yaml", many(40..210))]);
    assert_eq!((world.plan().guard, world.plan().remove.len()), (None, 40), "one part of a large whole");
    for number in 40..210 {
        world.ledger.get_mut(&key(&format!("c{number}"))).unwrap().settled = false;
    }
    let plan = world.plan();
    assert_eq!((plan.remove.len(), plan.guard.map(|guard| guard.removals.len())), (0, Some(40)));
}

#[test]
fn one_package_with_all_that_belongs_to_it_passes_the_guard() {
    let mut world = World::after(&[("a.yaml", many(0..4)), ("b.yaml", collection("all", "a"))]);
    world.manifests = declare(&[("b.yaml", collection("all", "a"))]);
    assert_eq!(world.removes(), ["c0", "c1", "c2", "c3"]);
    world.unsettled = BTreeSet::from([key("c1")]);
    world.pausing = BTreeSet::from([key("c2")]);
    assert_eq!(world.removes(), ["c0", "c3"]);
}

#[test]
fn a_broken_file_keeps_its_objects_and_so_does_a_file_they_may_have_moved_to() {
    let mut world = World::after(&[("a.yaml", many(0..3)), ("b.yaml", many(3..6))]);
    world.manifests = declare(&[("a.yaml", "kind: [".to_owned()), ("b.yaml", many(3..6))]);
    assert!(!world.plan().has_writes());
    // c3 moves into the broken file, c4 goes for good.
    world.manifests = declare(&[("a.yaml", format!("{}kind: [", collection("c3", "a"))), ("b.yaml", many(5..6))]);
    assert_eq!(world.removes(), ["c4"]);
    // The ledger is lost: the annotation on the object still names the file.
    world.ledger.clear();
    assert_eq!(world.removes(), ["c4"]);
}

#[test]
fn what_others_made_is_never_removed() {
    let mut world = World::after(&[("a.yaml", many(0..6))]);
    world.edit("c0", |content| content["metadata"]["labels"] = json!({SYNC_LABEL: "other"}));
    // Deleted and made anew by somebody, without our label.
    world.edit("c1", |content| content["metadata"]["labels"] = json!(null));
    world.live.get_mut(&key("c1")).unwrap().uid = "another".to_owned();
    // Ours, but somebody took the label away.
    world.edit("c2", |content| content["metadata"]["labels"] = json!(null));
    world.live.get_mut(&key("c3")).unwrap().deleting = true;
    world.live.remove(&key("c4"));
    world.manifests = declare(&[("a.yaml", many(5..6))]);
    assert_eq!(world.removes(), ["c2"]);
    assert_eq!(world.plan().forget, [key("c4")]);
    assert_eq!(world.plan().owned, 2);
}
