//! What an apply is refused for.

use super::*;

#[test]
fn managed_fields_in_an_applied_object_are_refused() {
    let failure = Story::new().try_apply("m", &meta(json!({"managedFields": [{}]})), false).cloned().unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (400, "metadata.managedFields must be nil"));
}

#[test]
fn conflicts_name_every_field_grouped_by_manager() {
    let mut story = Story::new();
    story.apply("one", json!({"command": "run", "priority": 5}));
    story.update("up", |o| o["spec"]["flag"] = json!(true));
    let failure = story
        .try_apply("two", &object(json!({"command": "x", "priority": 6, "flag": false})), false)
        .cloned()
        .unwrap_err();
    assert_eq!((failure.code, failure.reason), (409, "Conflict"));
    assert_eq!(
        failure.message,
        "Apply failed with 3 conflicts: conflicts with \"one\":\n- .spec.command\n- .spec.priority\n\
         conflicts with \"up\" using example.dev/v1:\n- .spec.flag"
    );
    let details = failure.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("", ""));
    assert_eq!(details.causes[0].reason, "FieldManagerConflict");
    assert_eq!(details.causes[0].field, ".spec.command");
    assert_eq!(details.causes[0].message, "conflict with \"one\"");
}

#[test]
fn a_conflict_with_a_subresource_and_with_an_owner_reference_says_so() {
    let mut story = Story::new();
    story
        .try_apply(
            "one",
            &meta(json!({"ownerReferences": [{"apiVersion": "v1", "kind": "C", "name": "c", "uid": "1"}]})),
            false,
        )
        .unwrap();
    let other = meta(json!({"ownerReferences": [{"apiVersion": "v1", "kind": "C", "name": "d", "uid": "1"}]}));
    let failure = story.try_apply("two", &other, false).cloned().unwrap_err();
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"one\": .metadata.ownerReferences[uid=\"1\"]"
    );

    let status = |phase: &str| json!({"apiVersion": GV, "kind": "Program", "metadata": {"name": "a"}, "status": {"phase": phase}});
    story.apply_as(status_writer("ctl"), &status("A"), false).unwrap();
    let failure = story.apply_as(status_writer("ctl2"), &status("B"), false).cloned().unwrap_err();
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"ctl\" with subresource \"status\": .status.phase"
    );
}

#[test]
fn force_takes_the_field_and_sharing_the_same_value_is_no_conflict() {
    let mut story = Story::new();
    story.apply("one", json!({"priority": 5, "command": "run"}));
    story.apply("two", json!({"priority": 5}));
    story.try_apply("three", &object(json!({"priority": 6})), true).unwrap();
    assert_eq!(story.owned("one/Apply"), json!({"f:spec": {"f:command": {}}}));
    assert!(story.owned("two/Apply").is_null(), "a manager without fields is forgotten");
}

#[test]
fn the_manager_of_a_request() {
    assert_eq!(manager_of("m", "kubectl/v1"), "m");
    assert_eq!(manager_of("", "my-tool/v1.2 (linux) x"), "my-tool");
    assert_eq!(manager_of("", ""), "unknown");
}
