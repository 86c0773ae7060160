//! Events: of transitions, about objects, counted up when they repeat themselves, and never one a client.

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::DeleteParams};
use serde_json::json;

use super::condition;
use crate::{
    api_level::{ADMIN, RealApi},
    tenure::site::Place,
};

const ROUNDS: i32 = 3;

#[test]
fn events_tell_of_transitions_once_and_count_repetitions_and_none_is_about_a_client() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let site = place.serve();
    place.declare();
    let clients = ["client-1", "client-2", "client-3"];
    let _agents = clients.map(|name| place.join(&site, name, &json!({})));
    place.until_lines(&["ran 1"; 3]);

    // A program without its package, and with it, again and again.
    place.apply("Program", "odd", &json!({"packageRef": "odd", "argv": ["run.sh"]}));
    let stands = |status: &str| condition(&place.object("Program", "odd"), "Ready", "status") == status;
    for _ in 0..ROUNDS {
        place.until("it says what is missing", || stands("False"));
        place.apply("Package", "odd", &json!({"source": {"directory": {"path": "tool"}}}));
        place.until("it is there", || stands("True"));
        place.block_on(place.objects("Package").delete("odd", &DeleteParams::default())).unwrap();
    }
    place.until("it says what is missing", || stands("False"));

    let events: Api<Event> = Api::all(place.block_on(api.client(&ADMIN, "default")));
    let events = || place.block_on(events.list(&Default::default())).unwrap().items;
    let count = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
    let about = |event: &Event| {
        let object = event.regarding.clone().unwrap();
        (object.kind.unwrap(), object.name.unwrap(), object.uid.unwrap())
    };
    let uid = place.object("Program", "odd")["metadata"]["uid"].as_str().unwrap().to_owned();
    let odd = ("Program".to_owned(), "odd".to_owned(), uid);
    place.until("the last one is told", || {
        let told: i32 =
            events().iter().filter(|e| about(e) == odd && e.type_.as_deref() == Some("Warning")).map(count).sum();
        told == ROUNDS + 1
    });
    let events = events();
    let ours = events.iter().filter(|event| event.reporting_controller.as_deref() == Some("waybill"));
    let mut told: BTreeMap<_, i32> = BTreeMap::new();
    for event in ours {
        let (kind, name, uid) = about(event);
        let type_ = event.type_.clone().unwrap();
        let reason = event.reason.clone().unwrap();
        assert!(type_ == "Warning" || type_ == "Normal", "{event:?}");
        assert!(reason.chars().all(|letter| letter.is_ascii_alphanumeric()), "{reason}");
        assert!(
            !["Progressing", "ProgressingWithRetry"].contains(&reason.as_str()),
            "progress alone is none: {event:?}"
        );
        let note = event.note.clone().unwrap();
        assert!(event.regarding.as_ref().unwrap().api_version.as_deref() == Some("waybill.dev/v1alpha1"), "{event:?}");
        *told.entry((kind, name, uid, reason, note)).or_default() += 1;
    }
    let twice: Vec<_> = told.iter().filter(|(_, objects)| **objects > 1).collect();
    assert!(twice.is_empty(), "told again instead of counted: {twice:?}");
    // Three clients ran it, and nobody counted them in events.
    let offered = told.keys().filter(|(kind, ..)| kind == "Advertisement").count();
    assert!(offered <= 2, "{told:?}");
    assert!(told.keys().any(|(kind, name, ..)| kind == "Package" && name == "tool"), "{told:?}");
}
