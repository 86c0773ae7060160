//! What `Ready` means of each kind: that the site has done its part. It waits for as many points as were asked for, and never for a
//! machine.

use serde_json::json;

use super::condition;
use crate::{api_level::RealApi, tenure::site::Place};

#[test]
fn ready_means_that_the_site_has_done_its_part_and_waits_for_no_machine() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let site = place.serve();
    // A machine that is known and switched off, and a point that is known and switched off.
    let machine = place.join(&site, "client", &json!({}));
    place.until("the site exists", || !place.object("Site", "main").is_null());
    place.until("the machine is known", || place.site()["status"]["clients"] == 1);
    drop(machine);
    let point = place.point(&site, "branch");
    let ready = |kind: &str, name: &str| -> (String, String) {
        let object = place.object(kind, name);
        (condition(&object, "Ready", "status").to_owned(), condition(&object, "Ready", "reason").to_owned())
    };
    place.until("the point is there", || ready("DistributionPoint", "branch").0 == "True");
    drop(point);

    place.declare();
    let enough = |count: u32| json!({"package": "tool", "distributionPoints": {"all": {}}, "minAvailable": count});
    place.apply("Distribution", "tool", &enough(2));
    place.until("the package is stored", || ready("Package", "tool").0 == "True");
    place.until("one point has it", || place.object("Distribution", "tool")["status"]["installed"] == 1);
    assert_eq!(ready("Distribution", "tool").0, "Unknown", "one of two points that were asked for");
    // Of a collection: evaluated as it is declared now.
    place.until("the collection is evaluated", || ready("Collection", "tool").0 == "True");
    assert_eq!(place.object("Collection", "tool")["status"]["memberCount"], 1);
    // Of an advertisement: in the policy of its clients; whoever runs it, and when, is told by its counts.
    place.until("it is offered", || ready("Advertisement", "tool").0 == "True");
    assert_eq!(place.succeeded(), 0);

    place.apply("Distribution", "tool", &enough(1));
    place.until("one point is enough", || ready("Distribution", "tool").0 == "True");
    place.apply("Distribution", "tool", &enough(2));
    place.until("it is not", || ready("Distribution", "tool").0 == "Unknown");
    let _point = place.point(&site, "branch");
    place.until("both have it", || ready("Distribution", "tool").0 == "True");
    assert_eq!(place.succeeded(), 0);
}
