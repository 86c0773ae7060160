//! What is in a field set.

use super::*;

#[test]
fn update_entries_hold_a_dot_for_every_container_they_made_and_the_defaults() {
    let mut story = Story::new();
    story.update("m", |o| {
        o["spec"] = json!({"command": "run", "vars": {"x": "1"}, "steps": [{"name": "s", "run": "r"}], "tags": ["t"]});
        o["metadata"]["labels"] = json!({"l": "1"});
        o["metadata"]["finalizers"] = json!(["example.dev/x"]);
    });
    assert_eq!(
        story.owned("m/Update"),
        json!({
            "f:metadata": {
                "f:labels": {".": {}, "f:l": {}},
                "f:finalizers": {".": {}, "v:\"example.dev/x\"": {}},
            },
            "f:spec": {
                ".": {}, "f:command": {}, "f:mode": {}, "f:vars": {".": {}, "f:x": {}}, "f:tags": {".": {}, "v:\"t\"": {}},
                "f:steps": {".": {}, "k:{\"name\":\"s\"}": {".": {}, "f:name": {}, "f:run": {}, "f:retries": {}}},
            },
        })
    );
}

#[test]
fn apply_entries_hold_what_was_applied_and_no_dot_on_maps_and_structs() {
    let mut story = Story::new();
    story.apply(
        "m",
        json!({"command": "run", "vars": {"x": "1"}, "steps": [{"name": "s"}], "tags": ["t"], "window": {"from": "1"}, "args": ["p"]}),
    );
    assert_eq!(
        story.owned("m/Apply"),
        json!({"f:spec": {
            "f:command": {}, "f:vars": {"f:x": {}}, "f:tags": {"v:\"t\"": {}}, "f:window": {}, "f:args": {},
            "f:steps": {"k:{\"name\":\"s\"}": {".": {}, "f:name": {}}},
        }})
    );
}

#[test]
fn below_preserve_unknown_fields_nested_maps_get_a_dot_and_lists_are_atomic() {
    let mut story = Story::new();
    story.apply("m", json!({"free": {"x": {"y": 1}, "l": [1, 2]}}));
    assert_eq!(story.owned("m/Apply"), json!({"f:spec": {"f:free": {"f:x": {".": {}, "f:y": {}}, "f:l": {}}}}));
}

#[test]
fn owner_references_are_keyed_by_uid_and_generate_name_is_owned() {
    let mut story = Story::new();
    let applied = meta(
        json!({"generateName": "g-", "ownerReferences": [{"apiVersion": "v1", "kind": "C", "name": "c", "uid": "1"}]}),
    );
    story.try_apply("m", &applied, false).unwrap();
    assert_eq!(
        story.owned("m/Apply"),
        json!({"f:metadata": {"f:generateName": {}, "f:ownerReferences": {"k:{\"uid\":\"1\"}": {}}}})
    );
}

#[test]
fn status_never_appears_in_a_main_entry_nor_spec_in_a_status_entry() {
    let mut story = Story::new();
    let mut both = object(json!({"command": "run"}));
    both["status"] = json!({"phase": "Ready"});
    story.try_apply("one", &both, false).unwrap();
    assert_eq!(story.owned("one/Apply"), json!({"f:spec": {"f:command": {}}}));
    assert!(story.live.as_ref().unwrap()["status"].is_null(), "a status in a main apply is dropped");

    both["spec"]["command"] = json!("other");
    both["metadata"]["labels"] = json!({"x": "y"});
    story.apply_as(status_writer("ctl"), &both, false).unwrap();
    assert_eq!(story.owned("ctl/Apply/status"), json!({"f:status": {"f:phase": {}}}));
    assert_eq!(story.spec()["command"], "run");
    assert!(story.live.as_ref().unwrap()["metadata"]["labels"].is_null());

    story.update("one", |o| o["status"]["phase"] = json!("Pending"));
    assert_eq!(story.owned("ctl/Apply/status"), json!({"f:status": {"f:phase": {}}}));
}

#[test]
fn a_status_in_a_main_apply_cannot_conflict() {
    let mut story = Story::new();
    story.apply("one", json!({"command": "run"}));
    let status = json!({"apiVersion": GV, "kind": "Program", "metadata": {"name": "a"}, "status": {"phase": "Ready"}});
    story.apply_as(status_writer("ctl"), &status, false).unwrap();
    let mut both = object(json!({"command": "run"}));
    both["status"] = json!({"phase": "Pending"});
    story.try_apply("two", &both, false).unwrap();
    assert_eq!(story.live.as_ref().unwrap()["status"]["phase"], "Ready");
}
