//! What people ask of an object by an annotation or a field: look at it now, and leave it alone.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{KINDS, condition, name_of};
use crate::{
    api_level::RealApi,
    tenure::site::{Instance, Place},
};

const OWN: &str = "waybill.dev/reconcile-at";
const FLUX: &str = "reconcile.fluxcd.io/requestedAt";

fn merge(place: &Place, kind: &str, change: &Value) {
    let params = PatchParams::default();
    place.block_on(place.objects(kind).patch(name_of(kind), &params, &Patch::Merge(change))).unwrap();
}

/// A site that serves one object of every kind.
fn with_all(place: &Place) -> Instance<'_> {
    place.source(1);
    let mut site = Instance::start(place, "first", &[]);
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    place.apply("ClientAgentConfig", "main", &json!({"enabled": true}));
    let is_ready = |kind: &str| condition(&place.object(kind, name_of(kind)), "Ready", "status") == "True";
    place.until("all are ready", || KINDS.iter().all(|(kind, _)| is_ready(kind)));
    site
}

#[test]
fn whoever_asks_for_a_look_gets_an_echo_by_either_annotation_from_every_kind() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    let _site = with_all(&place);
    let asked = |annotation: &str, token: &str| {
        for (kind, _) in KINDS {
            let before = place.object(kind, name_of(kind));
            merge(&place, kind, &json!({"metadata": {"annotations": {annotation: token}}}));
            place.until(&format!("{kind} echoes {token}"), || {
                place.object(kind, name_of(kind))["status"]["lastHandledReconcileAt"] == token
            });
            let after = place.object(kind, name_of(kind));
            assert_eq!(
                after["metadata"]["generation"], before["metadata"]["generation"],
                "{kind}: nothing was declared"
            );
            assert_eq!(condition(&after, "Ready", "status"), "True", "{kind}: a look is no change");
            assert_eq!(
                condition(&after, "Ready", "lastTransitionTime"),
                condition(&before, "Ready", "lastTransitionTime")
            );
        }
    };
    // Any other text asks again; none has to be a time.
    asked(FLUX, "2026-01-01T00:00:00Z");
    asked(FLUX, "again");
    asked(OWN, "by our own");
}

#[test]
fn every_kind_can_be_suspended_says_so_and_goes_on() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    let _site = with_all(&place);
    for (kind, _) in KINDS {
        let before = place.object(kind, name_of(kind));
        merge(&place, kind, &json!({"spec": {"suspend": true}}));
        place.until(&format!("{kind} is suspended"), || {
            condition(&place.object(kind, name_of(kind)), "Ready", "reason").ends_with("Suspended")
        });
        let suspended = place.object(kind, name_of(kind));
        assert_eq!(suspended["status"]["observedGeneration"], suspended["metadata"]["generation"], "{kind}");
        // What is known of it stays.
        for (field, value) in before["status"].as_object().unwrap() {
            if !["conditions", "observedGeneration"].contains(&field.as_str()) && !value.is_object() {
                assert!(suspended["status"].get(field).is_some(), "{kind}: {field} is gone");
            }
        }
        merge(&place, kind, &json!({"spec": {"suspend": false}}));
        place.until(&format!("{kind} goes on"), || {
            let object = place.object(kind, name_of(kind));
            condition(&object, "Ready", "status") == "True"
                && !condition(&object, "Ready", "reason").ends_with("Suspended")
        });
    }
    // A suspended package is not read: its change arrives afterwards, once.
    merge(&place, "Package", &json!({"spec": {"suspend": true}}));
    place.until("it is suspended", || condition(&place.object("Package", "tool"), "Ready", "reason") == "Suspended");
    place.source(2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(place.object("Package", "tool")["status"]["sourceVersion"], 1);
    merge(&place, "Package", &json!({"spec": {"suspend": false}}));
    place.until("it is read", || place.object("Package", "tool")["status"]["sourceVersion"] == 2);
}
