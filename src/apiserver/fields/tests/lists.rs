//! Keyed lists, sets, what goes when it is released, and what an apply may not contain.

use super::*;

#[test]
fn a_key_with_a_default_is_filled_in_before_matching_and_recorded_without() {
    let mut story = Story::new();
    story.apply("one", json!({"ports": [{"port": 80, "protocol": "TCP", "label": "x"}]}));
    story.apply("two", json!({"ports": [{"port": 80}]}));
    assert_eq!(story.spec()["ports"].as_array().unwrap().len(), 1);
    assert_eq!(
        story.owned("two/Apply"),
        json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}})
    );
}

#[test]
fn the_order_of_items_is_a_merge_in_which_the_applied_order_wins() {
    let named = |names: &str| json!(names.split(' ').map(|n| json!({"name": n})).collect::<Vec<_>>());
    let merged = |live: &str, applied: &str| {
        let schema = schema();
        let (live, applied) = (object(json!({"steps": named(live)})), object(json!({"steps": named(applied)})));
        let out = merge::merge(schema.owned(), &live, &applied);
        let steps = out["spec"]["steps"].as_array().unwrap().clone();
        steps.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(merged("s1 s2", "s3 s1"), "s3 s1 s2");
    assert_eq!(merged("s3 s1", "s4 s1"), "s3 s4 s1");
    assert_eq!(merged("a b c", "c a"), "b c a");
    assert_eq!(merged("a b", "b a"), "b a");
}

#[test]
fn sets_merge_in_the_same_order() {
    let mut story = Story::new();
    story.apply("one", json!({"tags": ["x", "y", "z"]}));
    story.apply("two", json!({"tags": ["w", "x"]}));
    assert_eq!(story.spec()["tags"], json!(["w", "x", "y", "z"]));
}

#[test]
fn what_a_manager_releases_goes_with_its_containers_and_unowned_neighbours() {
    let mut story = Story::new();
    story.apply(
        "one",
        json!({
            "command": "run", "vars": {"a": "1"}, "nested": {"a": {"c": "1"}}, "steps": [{"name": "q"}], "tags": ["t"],
            "free": {"x": {"y": 1}}, "window": {"from": "1"},
        }),
    );
    assert_eq!(story.spec()["nested"]["a"]["b"], "deep");
    story.apply("one", json!({"command": "run"}));
    assert_eq!(story.spec(), &json!({"command": "run", "mode": "Once"}));
}

#[test]
fn what_others_own_is_put_back() {
    let mut story = Story::new();
    story.apply("one", json!({"steps": [{"name": "s1", "run": "a"}, {"name": "s2"}], "vars": {"a": "1"}}));
    story.apply("two", json!({"steps": [{"name": "s1", "retries": 9}], "vars": {"b": "2"}}));
    story.apply("one", json!({"command": "run"}));
    assert_eq!(story.spec()["steps"], json!([{"name": "s1", "retries": 9}]));
    assert_eq!(story.spec()["vars"], json!({"b": "2"}));
}

#[test]
fn another_managers_empty_container_becomes_null_which_validation_refuses() {
    let mut story = Story::new();
    story.apply("one", json!({"command": "run", "vars": {"a": "1"}}));
    story.apply("two", json!({"vars": {}}));
    story.apply("one", json!({"command": "run"}));
    assert_eq!(story.spec().get("vars"), Some(&Value::Null));
}

#[test]
fn duplicate_items_and_missing_keys_in_an_apply_are_plain_500s() {
    let refusal = |spec: Value| Story::new().try_apply("m", &object(spec), false).cloned().unwrap_err();
    let failure = refusal(json!({"steps": [{"name": "s1"}, {"name": "s1"}]}));
    assert_eq!((failure.code, failure.reason), (500, ""));
    assert_eq!(
        failure.message,
        "failed to create typed patch object (n/a; example.dev/v1, Kind=Program): .spec.steps: duplicate entries for key [name=\"s1\"]"
    );
    assert!(refusal(json!({"steps": [{"run": "x"}]})).message.ends_with(
        ".spec.steps: element 0: associative list with keys has an element that omits all key fields [\"name\"] \
         (and doesn't have default values for any key fields)"
    ));
    assert!(refusal(json!({"tags": ["x", "x"]})).message.ends_with(".spec.tags: duplicate entries for key [=\"x\"]"));
}

#[test]
fn apply_never_prunes_an_undeclared_field_is_a_500() {
    let failure = Story::new().try_apply("m", &object(json!({"colour": "red"})), false).cloned().unwrap_err();
    assert_eq!(failure.code, 500);
    assert!(failure.message.ends_with("): .spec.colour: field not declared in schema"), "{}", failure.message);
}

#[test]
fn null_in_an_apply_stays_for_validation_to_refuse() {
    let mut story = Story::new();
    let out = story.apply("m", json!({"command": "run", "note": null, "flag": null})).clone();
    assert_eq!(out["spec"]["note"], Value::Null);
    assert!(out["spec"].as_object().unwrap().contains_key("flag"));
}
