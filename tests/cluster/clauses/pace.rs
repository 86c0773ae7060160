//! How hard a site works an API server: a bounded number of writes at once, an object that fails is tried ever more rarely, and none
//! has to wait for another.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;

use super::condition;
use crate::{
    api_level::RealApi,
    chart::SITE,
    faults::proxy::{Faults, Proxy},
    tenure::site::{Instance, Place},
};

const LEASE: Duration = Duration::from_secs(30);
/// What the controllers do at once of one kind.
const AT_ONCE: usize = 16;

fn behind(api: &RealApi) -> (Proxy, Place) {
    let proxy = Proxy::start(api, &SITE);
    let place = Place::new(api).through(proxy.kubeconfig(api)).with_lease(LEASE);
    (proxy, place)
}

#[test]
fn of_one_kind_so_many_are_written_at_once_and_no_more() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let mut site = Instance::start(&place, "first", &[]);
    site.until_it_serves();
    proxy.set(Faults { slow: Some(Duration::from_millis(500)), ..Faults::default() });
    let names: Vec<String> = (0..4 * AT_ONCE).map(|number| format!("c{number}")).collect();
    names.iter().for_each(|name| place.apply("Collection", name, &json!({"query": "true"})));
    let ready = |name: &String| condition(&place.object("Collection", name), "Ready", "status") == "True";
    place.until("all are ready", || names.iter().all(ready));
    assert_eq!(proxy.most_at_once("collections"), AT_ONCE);
}

#[test]
fn an_object_that_fails_is_tried_ever_more_rarely_and_holds_no_other_up() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let mut site = Instance::start(&place, "first", &[]);
    site.until_it_serves();
    let bad = "/collections/bad/status";
    proxy.set(Faults { forbidden: vec![(Method::PATCH, bad)], ..Faults::default() });
    place.apply("Collection", "bad", &json!({"query": "true"}));
    place.until("it is tried", || proxy.tries(bad).len() > 3);
    // Others come and are ready meanwhile, each at once.
    for name in ["one", "two", "three"] {
        let began = Instant::now();
        place.apply("Collection", name, &json!({"query": "true"}));
        place.until("it is ready", || condition(&place.object("Collection", name), "Ready", "status") == "True");
        assert!(began.elapsed() < Duration::from_secs(2), "{name} waited {:?}", began.elapsed());
    }
    place.until("it is tried on", || proxy.tries(bad).len() > 5);
    let tries = proxy.tries(bad);
    let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Another event of the object is a try of its own; from then on each pause is about twice the one before.
    let doubled = pauses.windows(2).filter(|pair| pair[1] > pair[0].mul_f32(1.5)).count();
    assert!(doubled >= 3, "{pauses:?}");
    proxy.set(Faults::default());
    place.until("it is written", || condition(&place.object("Collection", "bad"), "Ready", "status") == "True");
}
