//! Who owns which field: users what they declare, the site the status of it and its own finalizer.

use serde_json::{Value, json};

use super::{KINDS, condition, name_of};
use crate::{api_level::RealApi, tenure::site::Place};

/// The paths of a managed set: `f:status`, and of the rest one more level, as `f:metadata f:finalizers`.
fn paths(fields: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (first, below) in fields.as_object().unwrap() {
        match first.as_str() {
            // An empty `spec`, as the definition gives it to an object without one, is nobody's.
            "f:metadata" | "f:spec" => {
                all.extend(below.as_object().unwrap().keys().map(|second| format!("{first} {second}")))
            }
            _ => all.push(first.clone()),
        }
    }
    all
}

#[test]
fn the_site_owns_status_and_its_finalizer_under_one_name_and_nothing_that_users_declare() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let site = place.serve();
    place.declare();
    place.apply("ClientAgentConfig", "main", &json!({"enabled": true}));
    let _agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);
    for (kind, _) in KINDS {
        place.until(kind, || condition(&place.object(kind, name_of(kind)), "Ready", "status") == "True");
        let object = place.object(kind, name_of(kind));
        let managers = object["metadata"]["managedFields"].as_array().unwrap();
        let mut ours = Vec::new();
        for manager in managers.iter().filter(|manager| manager["manager"] != "test") {
            assert_eq!(manager["manager"], "waybill", "{kind}: {manager}");
            ours.extend(paths(&manager["fieldsV1"]));
        }
        ours.sort();
        ours.dedup();
        let expected: &[&str] = match kind {
            "Package" => &["f:metadata f:finalizers", "f:status"],
            // Nobody declared it: it was made for the built-in point, with the defaults of its definition.
            "DistributionPoint" => &["f:spec .", "f:spec f:scrubInterval", "f:spec f:suspend", "f:status"],
            _ => &["f:status"],
        };
        assert!(ours.iter().all(|path| expected.contains(&path.as_str())), "{kind}: {ours:?}");
        assert!(ours.contains(&"f:status".to_owned()), "{kind}: {ours:?}");
        assert_eq!(object["metadata"]["ownerReferences"], Value::Null, "{kind}");
        let finalizers = if kind == "Package" { json!(["waybill.dev/content"]) } else { Value::Null };
        assert_eq!(
            object["metadata"]["finalizers"], finalizers,
            "{kind}: a finalizer only where something is to be undone"
        );
        // The site itself is changed by the test, to grant.
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        assert!(generation <= if kind == "Site" { 2 } else { 1 }, "{kind}: somebody wrote its spec: {generation}");
    }
}
