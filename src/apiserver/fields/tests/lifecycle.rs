//! The life of managedFields.

use super::*;

#[test]
fn only_a_list_of_one_blank_entry_clears_and_then_updates_add_none() {
    let mut story = Story::new();
    story.update("m", |o| o["spec"] = json!({"command": "run"}));
    for keeps in [json!([]), json!(null), json!([{"manager": "x", "operation": "Sing"}])] {
        story.update("m", |o| o["metadata"]["managedFields"] = keeps);
        assert_eq!(story.entries().len(), 1);
    }
    story.update("m", |o| o["metadata"]["managedFields"] = json!([{}]));
    assert!(story.entries().is_empty());
    story.update("m", |o| o["spec"]["priority"] = json!(1));
    assert!(story.entries().is_empty());
    let failure = story.try_apply("one", &object(json!({"priority": 2})), false).cloned().unwrap_err();
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using example.dev/v1: .spec.priority"
    );
    story.apply("one", json!({"priority": 1}));
    assert_eq!(story.owned("before-first-apply/Update")["f:spec"]["f:command"], json!({}));
}

#[test]
fn more_than_ten_update_managers_become_ancient_changes() {
    let mut story = Story::new();
    for i in 0..12 {
        let now = format!("2026-01-01T00:00:{i:02}Z");
        let manager = format!("m{i:02}");
        story.update_as(at(&now, &manager), |o| o["metadata"]["labels"][format!("l{i}")] = json!("x"));
    }
    assert_eq!(story.entries().len(), 10);
    let ancient = story.entry("ancient-changes/Update");
    assert_eq!(ancient["fieldsV1"]["f:metadata"]["f:labels"]["f:l2"], json!({}));
    assert_eq!(ancient["time"], "2026-01-01T00:00:02Z");
}

#[test]
fn entries_are_ordered_apply_first_then_by_time_then_by_manager() {
    let mut story = Story::new();
    story.update_as(at("2026-01-01T00:00:01Z", "u"), |o| o["spec"] = json!({"command": "run"}));
    story.apply_as(at("2026-01-01T00:00:03Z", "z"), &object(json!({"priority": 1})), false).unwrap();
    story.apply_as(at("2026-01-01T00:00:02Z", "b"), &object(json!({"flag": true})), false).unwrap();
    let order: Vec<_> = story.entries().iter().map(|e| e["manager"].as_str().unwrap().to_owned()).collect();
    assert_eq!(order, ["b", "z", "u"]);
}

#[test]
fn time_moves_with_values_only_and_sharing_makes_an_entry_without_time() {
    let mut story = Story::new();
    story.apply_as(at("2026-01-01T00:00:01Z", "one"), &object(json!({"priority": 1})), false).unwrap();
    story.apply_as(at("2026-01-01T00:00:02Z", "two"), &object(json!({"priority": 1})), false).unwrap();
    assert!(story.entry("two/Apply")["time"].is_null());
    story.apply_as(at("2026-01-01T00:00:03Z", "one"), &object(json!({"priority": 1})), false).unwrap();
    assert_eq!(story.entry("one/Apply")["time"], "2026-01-01T00:00:01Z");
}

#[test]
fn an_apply_that_changes_neither_values_nor_sets_changes_nothing() {
    let mut story = Story::new();
    let spec = json!({"command": "run", "steps": [{"name": "s"}], "vars": {}, "note": null});
    let before = story.apply("one", spec.clone()).clone();
    story.schema.default(story.live.as_mut().unwrap());
    assert_eq!(story.apply_as(at("2026-02-02T00:00:00Z", "one"), &object(spec), false).unwrap(), &before);
}

#[test]
fn one_manager_may_have_an_entry_per_operation_and_subresource() {
    let mut story = Story::new();
    story.apply("ctl", json!({"command": "run"}));
    let status = json!({"apiVersion": GV, "kind": "Program", "metadata": {"name": "a"}, "status": {"phase": "Ready"}});
    story.apply_as(status_writer("ctl"), &status, false).unwrap();
    story.update_as(status_writer("ctl"), |o| o["status"]["count"] = json!(1));
    assert_eq!(story.owned("ctl/Apply/status"), json!({"f:status": {"f:phase": {}}}));
    assert_eq!(story.owned("ctl/Update/status"), json!({"f:status": {"f:count": {}}}));
    assert_eq!(story.owned("ctl/Apply"), json!({"f:spec": {"f:command": {}}}));
}

#[test]
fn a_removal_by_update_takes_the_field_from_everyone_and_its_default_is_the_removers() {
    let mut story = Story::new();
    story.apply("one", json!({"command": "run", "mode": "Always", "priority": 1}));
    story.update("editor", |o| {
        o["spec"].as_object_mut().unwrap().retain(|name, _| name == "command");
    });
    assert_eq!(story.owned("one/Apply"), json!({"f:spec": {"f:command": {}}}));
    assert_eq!(story.owned("editor/Update"), json!({"f:spec": {"f:mode": {}}}));
}
