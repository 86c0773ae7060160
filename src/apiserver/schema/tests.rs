//! Pruning, defaults and validation as the real API server was seen to do them; each test says what it holds to.

use super::*;
use serde_json::json;

fn program() -> Value {
    let text = json!({"type": "string"});
    let short = json!({"type": "string", "maxLength": 16});
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["command"], "properties": {
            "command": {"type": "string", "minLength": 1, "maxLength": 8, "pattern": "^[a-z]"},
            "mode": {"type": "string", "enum": ["Once", "Always"], "default": "Once"},
            "priority": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 10},
            "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 0.5},
            "size": {"type": "integer", "format": "int64"},
            "at": {"type": "string", "format": "date-time"},
            "limit": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "note": {"type": "string", "nullable": true}, "flag": {"type": "boolean"},
            "vars": {"type": "object", "additionalProperties": short, "maxProperties": 2},
            "steps": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": text, "run": short, "retries": {"type": "integer", "default": 3}}}},
            "tags": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "set", "items": short},
            "args": {"type": "array", "items": short},
            "source": {"type": "object", "properties": {"dir": text, "url": text},
                "oneOf": [{"required": ["dir"]}, {"required": ["url"]}]},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed may not change"}]},
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "nested": {"type": "object", "properties": {"a": {"type": "object", "properties": {
                "b": {"type": "string", "default": "deep"}, "c": text}}}},
        }, "x-kubernetes-validations": [
            {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
             "messageExpression": "'min exceeds max in ' + self.command", "reason": "FieldValueForbidden", "fieldPath": ".min"},
            {"rule": "!has(self.steps) || self.steps.all(s, s.name != 'no')", "message": "no step may be called no"},
        ]},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string", "enum": ["Pending", "Ready"]}, "count": {"type": "integer", "minimum": 0}}},
    }})
}

fn schema() -> Schema {
    Schema::new(&program()).unwrap()
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.dev/v1", "kind": "Program", "metadata": {"name": "a"}, "spec": spec})
}

fn faults(spec: Value) -> Vec<String> {
    shown(&schema().validate(&object(spec), None, Scope::Main))
}

/// `reason | field | message`
fn shown(causes: &[Cause]) -> Vec<String> {
    causes
        .iter()
        .map(|c| format!("{} | {} | {}", c.reason.trim_start_matches("FieldValue"), c.field, c.message))
        .collect()
}

const STOPPED: &str = "Invalid | <nil> | Invalid value: null: some validation rules were not checked because the object was \
                       invalid; correct the existing errors to complete validation";

#[track_caller]
fn one(spec: Value, fault: &str) {
    assert_eq!(faults(spec), [fault.to_owned()]);
}

#[track_caller]
fn one_stopping(spec: Value, fault: &str) {
    assert_eq!(faults(spec), [fault.to_owned(), STOPPED.to_owned()]);
}

// What is said of faults of the schema.

#[test]
fn faults_that_stop_rules_say_so() {
    one_stopping(json!({}), "Required | spec.command | Required value");
    one_stopping(
        json!({"command": "run", "priority": "5"}),
        "TypeInvalid | spec.priority | Invalid value: \"string\": spec.priority in body must be of type integer: \"string\"",
    );
    one_stopping(
        json!({"command": "run", "mode": "No"}),
        "NotSupported | spec.mode | Unsupported value: \"No\": supported values: \"Once\", \"Always\"",
    );
    one_stopping(json!({"command": "x".repeat(9)}), "TooLong | spec.command | Too long: may not be more than 8 bytes");
    one_stopping(
        json!({"command": "run", "tags": ["a", "b", "c", "d", "e"]}),
        "TooMany | spec.tags | Too many: 5: must have at most 4 items",
    );
    one_stopping(
        json!({"command": "run", "vars": {"a": "", "b": "", "c": ""}}),
        "TooMany | spec.vars | Too many: 3: must have at most 2 items",
    );
    one_stopping(
        json!({"command": "run", "at": "soon"}),
        "TypeInvalid | spec.at | Invalid value: \"soon\": spec.at in body must be of type date-time: \"soon\"",
    );
    one_stopping(
        json!({"command": "run", "args": [null]}),
        "TypeInvalid | spec.args[0] | Invalid value: \"null\": spec.args[0] in body must be of type string: \"null\"",
    );
}

#[test]
fn other_faults_let_rules_run() {
    one(
        json!({"command": "1x"}),
        "Invalid | spec.command | Invalid value: \"1x\": spec.command in body should match '^[a-z]'",
    );
    one(
        json!({"command": ""}),
        "Invalid | spec.command | Invalid value: \"\": spec.command in body should be at least 1 chars long",
    );
    one(
        json!({"command": "run", "priority": -1}),
        "Invalid | spec.priority | Invalid value: -1: spec.priority in body should be greater than or equal to 0",
    );
    one(
        json!({"command": "run", "priority": 101}),
        "Invalid | spec.priority | Invalid value: 101: spec.priority in body should be less than or equal to 100",
    );
    // a whole number makes the factor whole, and 0.5 is none then: so does the real server
    assert_eq!(
        faults(json!({"command": "run", "ratio": 0})),
        [
            "Invalid | spec.ratio | Invalid value: 0: factor MultipleOf declared for spec.ratio must be positive: 0",
            "Invalid | spec.ratio | Invalid value: 0: spec.ratio in body should be greater than 0",
        ]
    );
    one(
        json!({"command": "run", "ratio": 0.7}),
        "Invalid | spec.ratio | Invalid value: 0.7: spec.ratio in body should be a multiple of 0.5",
    );
    one(json!({"command": "run", "tags": ["a", "a"]}), "Duplicate | spec.tags[1] | Duplicate value: \"a\"");
    one(
        json!({"command": "run", "steps": [{"name": "s"}, {"name": "s"}]}),
        "Duplicate | spec.steps[1] | Duplicate value: {\"name\":\"s\"}",
    );
    assert_eq!(faults(json!({"command": "1", "min": 2, "max": 1})).len(), 2);
}

#[test]
fn a_failed_one_of_is_a_fault_of_the_whole_object() {
    assert_eq!(
        faults(json!({"command": "run", "source": {}})),
        [
            "Invalid | <nil> | Invalid value: \"\": \"spec.source\" must validate one and only one schema (oneOf). Found none valid",
            "Required | spec.source.dir | Required value",
            STOPPED,
        ]
    );
    one(
        json!({"command": "run", "source": {"dir": "a", "url": "b"}}),
        "Invalid | <nil> | Invalid value: \"\": \"spec.source\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
    );
}

#[test]
fn length_counts_characters() {
    one_stopping(json!({"command": "aääääääää"}), "TooLong | spec.command | Too long: may not be more than 8 bytes");
    assert!(faults(json!({"command": "aääääää"})).is_empty());
}

#[test]
fn five_point_zero_is_an_integer_and_large_integers_are_exact() {
    assert!(
        faults(json!({"command": "run", "priority": 5.0, "size": 9_007_199_254_740_993_i64, "ratio": 1.5})).is_empty()
    );
    assert_eq!(
        faults(json!({"command": "run", "priority": 1.5})),
        [
            "TypeInvalid | spec.priority | Invalid value: \"float64\": spec.priority in body must be of type int32: \"float64\"",
            "Invalid | <nil> | Invalid value: \"\": Checked value must be of type integer with format int32 in spec.priority",
            STOPPED,
        ]
    );
    assert!(faults(json!({"command": "run", "limit": 5})).is_empty());
    assert!(faults(json!({"command": "run", "limit": "5%"})).is_empty());
    one_stopping(
        json!({"command": "run", "limit": true}),
        "TypeInvalid | spec.limit | Invalid value: \"boolean\": spec.limit in body must be of type integer,string: \"boolean\"",
    );
}

#[test]
fn in_a_status_the_sentence_is_about_the_status_and_the_field_about_the_object() {
    let old = object(json!({"command": "run"}));
    let mut new = old.clone();
    new["status"] = json!({"count": -1});
    assert_eq!(
        shown(&schema().validate(&new, Some(&old), Scope::Status)),
        ["Invalid | status.count | Invalid value: -1: count in body should be greater than or equal to 0"]
    );
}

#[test]
fn a_status_write_says_nothing_of_the_spec() {
    let old = object(json!({"command": "run", "priority": 1000, "min": 2, "max": 1}));
    let mut new = old.clone();
    new["status"] = json!({"phase": "Ready"});
    assert!(schema().validate(&new, Some(&old), Scope::Status).is_empty());
}

#[test]
fn null_goes_where_it_is_no_value_and_stays_where_it_is() {
    let schema = schema();
    let mut it =
        object(json!({"command": null, "mode": null, "note": null, "free": {"x": {"y": null}}, "args": [null]}));
    assert!(schema.prune(&mut it).is_empty());
    schema.default(&mut it);
    assert_eq!(
        it["spec"],
        json!({"mode": "Once", "priority": 10, "note": null, "free": {"x": {"y": null}}, "args": [null]})
    );
}

#[test]
fn without_rules_nothing_is_said_about_rules() {
    let schema =
        Schema::new(&json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object"}}}))
            .unwrap();
    assert_eq!(shown(&schema.validate(&json!({}), None, Scope::Main)), ["Required | spec | Required value"]);
}

// What is said of broken rules.

#[test]
fn reason_and_field_of_a_rule_are_its_own() {
    assert_eq!(
        faults(json!({"command": "run", "min": 5, "max": 3, "steps": [{"name": "no"}]})),
        [
            "Forbidden | spec.min | Forbidden: min exceeds max in run",
            "Invalid | spec | Invalid value: no step may be called no"
        ]
    );
}

#[test]
fn a_rule_on_a_scalar_shows_the_value_and_a_rule_at_the_root_has_no_field() {
    let (old, new) = (object(json!({"command": "run", "fixed": "x"})), object(json!({"command": "run", "fixed": "y"})));
    assert_eq!(
        shown(&schema().validate(&new, Some(&old), Scope::Main)),
        ["Invalid | spec.fixed | Invalid value: \"y\": fixed may not change"]
    );
    let root = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name.size() < 3", "message": "long"}]});
    let long = json!({"metadata": {"name": "abc"}});
    assert_eq!(
        shown(&Schema::new(&root).unwrap().validate(&long, None, Scope::Main)),
        ["Invalid | <nil> | Invalid value: long"]
    );
}

#[test]
fn a_rule_without_message_shows_itself() {
    let root = json!({"type": "object", "properties": {"spec": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]}}});
    assert_eq!(
        shown(&Schema::new(&root).unwrap().validate(&json!({"spec": 3}), None, Scope::Main)),
        ["Invalid | spec | Invalid value: 3: failed rule: self > 5"]
    );
}

#[test]
fn transition_rules_run_only_where_both_values_exist() {
    let with = object(json!({"command": "run", "fixed": "x"}));
    let without = object(json!({"command": "run"}));
    assert!(schema().validate(&without, Some(&with), Scope::Main).is_empty());
    assert!(schema().validate(&with, Some(&without), Scope::Main).is_empty());
    assert!(schema().validate(&with, None, Scope::Main).is_empty());
}

// Old objects under a new schema.

#[test]
fn a_fault_is_tolerated_while_its_value_does_not_change() {
    let schema = schema();
    let changed = |old: Value, new: Value| shown(&schema.validate(&object(new), Some(&object(old)), Scope::Main)).len();
    assert_eq!(changed(json!({"command": "1", "size": 1}), json!({"command": "1", "size": 2})), 0);
    assert_eq!(changed(json!({"command": "1"}), json!({"command": "2"})), 1);
    // an item of a keyed list is known by its key, wherever it is
    let (bad, good) = (json!({"name": "b", "run": "x".repeat(17)}), json!({"name": "g"}));
    assert_eq!(changed(json!({"command": "r", "steps": [bad]}), json!({"command": "r", "steps": [good, bad]})), 0);
    // an item of an atomic list is not
    let long = "x".repeat(17);
    assert_eq!(changed(json!({"command": "r", "args": [long]}), json!({"command": "r", "args": [long, "a"]})), 2);
    assert_eq!(changed(json!({"command": "r", "args": [long]}), json!({"command": "r", "args": [long], "size": 1})), 0);
}

#[test]
fn rules_of_a_node_run_only_if_it_changed() {
    let schema = schema();
    let old = object(json!({"command": "run", "min": 2, "max": 1}));
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"l": "1"});
    assert!(schema.validate(&labelled, Some(&old), Scope::Main).is_empty());
    let mut changed = old.clone();
    changed["spec"]["size"] = json!(1);
    assert_eq!(
        schema.validate(&changed, Some(&old), Scope::Main).len(),
        1,
        "the first change of the spec must satisfy every rule"
    );
}

#[test]
fn duplicates_are_tolerated_in_an_object_that_has_some() {
    let schema = schema();
    let old = object(json!({"command": "run", "tags": ["a", "a"]}));
    let new = object(json!({"command": "run", "tags": ["a", "a", "b"]}));
    assert!(schema.validate(&new, Some(&old), Scope::Main).is_empty());
    assert_eq!(schema.validate(&new, Some(&object(json!({"command": "run"}))), Scope::Main).len(), 1);
}

#[test]
fn reading_an_old_object_fills_new_defaults_and_drops_removed_fields() {
    let schema = schema();
    let mut stored = object(json!({"command": "run", "gone": 1, "nested": {"a": {}}, "steps": [{"name": "s"}]}));
    assert_eq!(schema.prune(&mut stored), ["spec.gone"]);
    schema.default(&mut stored);
    assert_eq!(stored["spec"]["nested"], json!({"a": {"b": "deep"}}));
    assert_eq!(stored["spec"]["steps"], json!([{"name": "s", "retries": 3}]));
    assert_eq!((&stored["spec"]["mode"], &stored["spec"]["gone"]), (&json!("Once"), &Value::Null));
}

// Unknown fields.

#[test]
fn unknown_fields_are_named_by_path_root_and_metadata_included() {
    let mut it = object(
        json!({"command": "run", "colour": 1, "steps": [{"name": "s", "wat": 1}], "free": {"any": 1}, "Command": "x"}),
    );
    it["extra"] = json!(1);
    it["metadata"]["colour"] = json!(1);
    assert_eq!(
        schema().prune(&mut it),
        ["metadata.colour", "extra", "spec.Command", "spec.colour", "spec.steps[0].wat"]
    );
    assert_eq!(it, object(json!({"command": "run", "steps": [{"name": "s"}], "free": {"any": 1}})));
}

#[test]
fn what_would_be_ignored_is_refused_with_the_schema() {
    for bad in [
        json!({"$ref": "#/x"}),
        json!({"properties": {"a": {"type": "string", "pattern": "("}}}),
        json!({"type": "object", "x-kubernetes-validations": [{"rule": "self ="}]}),
        json!({"properties": {"a": {"type": "array", "x-kubernetes-list-type": "map"}}}),
    ] {
        assert!(Schema::new(&bad).is_err(), "{bad}");
    }
    let error = Schema::new(&json!({"properties": {"a": {"type": "decimal"}}})).unwrap_err().to_string();
    assert_eq!(error, "schema at .a: type decimal is not supported; use one of the six JSON types");
}
