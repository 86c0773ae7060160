//! Conditions as kstatus reads them, in every state that objects go through: recorded from before they exist, by watches of the test's
//! own.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, WatchEvent, WatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{KINDS, condition, name_of};
use crate::{api_level::RealApi, tenure::site::Place};

/// What kstatus takes an object for.
fn kstatus(object: &Value) -> &'static str {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = object["status"]["observedGeneration"].as_i64();
    if observed.is_some_and(|observed| Some(observed) != object["metadata"]["generation"].as_i64()) {
        return "InProgress";
    }
    // The first one that is true decides.
    for one in conditions.iter().filter(|condition| condition["status"] == "True") {
        match one["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match condition(object, "Ready", "status") {
        "False" | "Unknown" => "InProgress",
        // It does not take the absence of every condition for a sign of work.
        _ => "Current",
    }
}

/// What health checks of GitOps tools take it for, by the expressions that the documentation gives.
fn health(object: &Value) -> &'static str {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return "InProgress";
    }
    match (condition(object, "Stalled", "status"), condition(object, "Ready", "status")) {
        ("True", _) => "Failed",
        (_, "True") => "Current",
        _ => "InProgress",
    }
}

/// What is wrong about the conditions of an object; nothing, if nothing is.
fn faults(object: &Value) -> Vec<&'static str> {
    let status = &object["status"];
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let types: BTreeSet<&str> = conditions.iter().filter_map(|one| one["type"].as_str()).collect();
    let of = |type_: &str| condition(object, type_, "status");
    let reads = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    let checks = [
        (types.len() == conditions.len(), "a type stands twice"),
        (["", "True"].contains(&of("Reconciling")), "Reconciling is there and not true"),
        (["", "True"].contains(&of("Stalled")), "Stalled is there and not true"),
        (of("Reconciling").is_empty() || of("Stalled").is_empty(), "Reconciling and Stalled together"),
        ((of("Ready") == "Unknown") == (of("Reconciling") == "True"), "Ready is unknown exactly while reconciling"),
        ((of("Ready") == "False") == (of("Stalled") == "True"), "Ready is false exactly when stalled"),
        (status["observedGeneration"] == -1 || !of("Ready").is_empty(), "observed, and no Ready"),
        (status["observedGeneration"] != -1 || conditions.is_empty(), "not observed, and conditions"),
        (
            conditions.iter().all(|one| one["observedGeneration"] == status["observedGeneration"]),
            "a condition of another generation than the status",
        ),
        (conditions.iter().all(|one| reads(one["reason"].as_str().unwrap_or_default())), "a reason that is no word"),
        (conditions.iter().all(|one| one["message"].as_str().is_some_and(|text| !text.is_empty())), "no message"),
        (kstatus(object) == health(object) || kstatus(object) == "Terminating", "kstatus and health checks differ"),
    ];
    checks.iter().filter(|(holds, _)| !holds).map(|(_, fault)| *fault).collect()
}

/// Every version of every object of our kinds from now on.
struct Recording(Arc<Mutex<Vec<Value>>>);

impl Recording {
    fn start(place: &Place, client: &kube::Client) -> Recording {
        let all = Arc::<Mutex<Vec<Value>>>::default();
        for (kind, _) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("waybill.dev", "v1alpha1", kind));
            let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let into = all.clone();
            place.spawn(async move {
                let mut events = objects.watch(&WatchParams::default(), "0").await.unwrap().boxed();
                while let Some(event) = events.try_next().await.unwrap() {
                    if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                        into.lock().unwrap().push(serde_json::to_value(object).unwrap());
                    }
                }
            });
        }
        Recording(all)
    }

    /// What objects of this kind and name were taken for, one after the other.
    fn states(&self, kind: &str, name: &str) -> Vec<&'static str> {
        let all = self.0.lock().unwrap();
        let mut states: Vec<_> = all
            .iter()
            .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .map(kstatus)
            .collect();
        states.dedup();
        states
    }
}

#[test]
fn every_state_that_objects_go_through_is_one_that_kstatus_reads_as_it_is_meant() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let recording = Recording::start(&place, &place.client());
    // Nobody serves them yet: not to be taken for done.
    place.declare();
    place.apply("ClientAgentConfig", "main", &json!({"enabled": true}));
    place.apply("Program", "odd", &json!({"packageRef": "odd", "argv": ["run.sh"]}));
    for (kind, _) in KINDS.iter().filter(|(kind, _)| *kind != "DistributionPoint") {
        let object = place.object(kind, name_of(kind));
        assert_eq!(
            (kstatus(&object), object["status"]["observedGeneration"].clone()),
            ("InProgress", json!(-1)),
            "{kind}"
        );
    }

    let site = place.serve();
    let is = |kind: &str, name: &str, state: &str| {
        place.until(&format!("{kind} {name} is {state}"), || kstatus(&place.object(kind, name)) == state);
    };
    KINDS.iter().for_each(|(kind, _)| is(kind, name_of(kind), "Current"));
    // Somebody has to do something, and does it.
    is("Program", "odd", "Failed");
    place.apply("Package", "odd", &json!({"source": {"directory": {"path": "nowhere"}}}));
    place.until("it says what is wrong", || !condition(&place.object("Package", "odd"), "Ready", "message").is_empty());
    assert_ne!(kstatus(&place.object("Package", "odd")), "Current");
    place.apply("Package", "odd", &json!({"source": {"directory": {"path": "tool"}}}));
    is("Package", "odd", "Current");
    is("Program", "odd", "Current");
    place.apply("Site", "main", &json!({"namespaces": []}));
    is("Advertisement", "tool", "Failed");
    place.apply("Site", "main", &json!({"namespaces": [{"name": "default"}]}));
    is("Advertisement", "tool", "Current");
    // Changed by its owner: of another generation until it was looked at.
    let _agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);
    place.apply("Collection", "tool", &json!({"query": "client.hostname != ''"}));
    is("Collection", "tool", "Current");
    place.block_on(place.objects("Package").delete("odd", &DeleteParams::default())).unwrap();
    place.until("it is gone", || place.object("Package", "odd").is_null());
    is("Program", "odd", "Failed");

    let all = recording.0.lock().unwrap().clone();
    let wrong: Vec<_> =
        all.iter().map(|object| (faults(object), object)).filter(|(faults, _)| !faults.is_empty()).collect();
    assert!(wrong.is_empty(), "{:#?}", wrong.first());
    assert_eq!(recording.states("Program", "odd"), ["InProgress", "Failed", "Current", "Failed"]);
    assert_eq!(recording.states("Package", "odd").last(), Some(&"Terminating"));
    assert_eq!(recording.states("Collection", "tool"), ["InProgress", "Current", "InProgress", "Current"]);
    // As it is made, looked at, and done; how often it is written in between is the server's pace.
    assert!(all.len() >= 3 * KINDS.len(), "{} versions recorded", all.len());
}
