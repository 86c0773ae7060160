//! The end of a package: content first, then the object; but a point that is gone for good holds no namespace for ever.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::json;

use super::condition;
use crate::{
    api_level::{ADMIN, RealApi},
    tenure::site::{Instance, Place},
};

/// Takes the place of 72 hours.
const DEADLINE: Duration = Duration::from_secs(12);

#[test]
fn a_point_that_is_gone_is_waited_for_until_the_deadline_and_no_longer() {
    let Some(api) = RealApi::start_collecting() else { return };
    let place = Place::new(&api).within("team");
    let namespaces: Api<Namespace> = Api::all(place.block_on(api.client(&ADMIN, "default")));
    let team = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    place.block_on(namespaces.create(&Default::default(), &team)).unwrap();
    place.source(1);
    let mut site = Instance::start(&place, "first", &["--removal-deadline", "12s"]);
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    let spec = json!({"source": {"directory": {"path": "tool"}}, "deletionPolicy": "Orphan"});
    place.apply("Package", "kept", &spec);
    place.apply("Distribution", "kept", &json!({"package": "kept", "distributionPoints": {"all": {}}}));
    let _agent = place.join(&site, "client", &json!({}));
    let point = place.point(&site, "branch");
    place.until_lines(&["ran 1"]);
    let installed = |name: &str| place.object("Package", name)["status"]["distribution"]["installed"].clone();
    place.until("both points hold both", || installed("tool") == 2 && installed("kept") == 2);
    assert_eq!((place.held("first"), place.held("branch")), (1, 1));
    drop(point);

    // What may stay where it is waits for nobody.
    let gone = |name: &str| place.object("Package", name).is_null();
    let began = Instant::now();
    place.block_on(place.objects("Package").delete("kept", &DeleteParams::default())).unwrap();
    place.until("the orphan's package is gone", || gone("kept"));
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());

    let began = Instant::now();
    place.block_on(namespaces.delete("team", &DeleteParams::default())).unwrap();
    let waits = "waiting for branch to confirm the removal";
    place.until("it says whom it waits for", || {
        condition(&place.object("Package", "tool"), "Ready", "message") == waits
    });
    assert_eq!(condition(&place.object("Package", "tool"), "Reconciling", "reason"), "RemovalPending");
    place.until("its content here is gone", || place.held("first") == 0);
    let namespace = place.block_on(namespaces.get("team")).unwrap();
    assert_eq!(namespace.status.unwrap().phase.as_deref(), Some("Terminating"));
    place.until("the namespace is gone", || place.block_on(namespaces.get_opt("team")).unwrap().is_none());
    let took = began.elapsed();
    // Times of objects are whole seconds, and the namespace's own end takes some.
    assert!(took > DEADLINE - Duration::from_secs(2) && took < DEADLINE * 2, "{took:?}");
    let said = site.log();
    assert!(said.contains("was not confirmed in time") && said.contains("branch"), "{said}");

    // It comes back, and does what it was not there for.
    assert_eq!(place.held("branch"), 1);
    let _point = place.point(&site, "branch");
    place.until("its copy is gone", || place.held("branch") == 0);
}
