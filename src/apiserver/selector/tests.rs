//! Selectors as the real API server reads them.

use super::*;
use serde_json::{Value, json};

fn labelled(labels: Value) -> Value {
    json!({"metadata": {"name": "u", "labels": labels}, "spec": {"mode": "Once", "n": 5}})
}

#[track_caller]
fn selects(text: &str, expected: bool) {
    let object = labelled(json!({"k": "v", "n": "3"}));
    assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
}

#[test]
fn every_operator_selects() {
    for (text, expected) in [
        ("", true),
        ("k in (v)", true),
        ("k in(v)", true),
        ("k notin (v,w)", false),
        ("z notin (v)", true),
        ("k=v", true),
        (" k == v ", true),
        ("k!=v", false),
        ("z!=v", true),
        ("!k", false),
        ("k", true),
        ("k=", false),
        ("k=v,n in (3,,4)", true),
        ("k=in", false),
        ("in in (in)", false),
        ("notin", false),
    ] {
        selects(text, expected);
    }
}

#[test]
fn greater_and_less_compare_integers() {
    selects("n>2", true);
    selects("n<3", false);
    selects("k>2", false);
    selects("z<9", false);
}

#[test]
fn an_empty_list_of_values_is_the_empty_value() {
    selects("k in ()", false);
    assert!(LabelSelector::parse("k in ()").unwrap().matches(&labelled(json!({"k": ""}))));
}

#[test]
fn what_does_not_parse_says_what_was_expected() {
    for (text, message) in [
        (
            "k>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("k in v", "unable to parse requirement: found 'v' expected: '('"),
        ("k in (v", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("k in (v,", "unable to parse requirement: found '', expected: ',', or identifier"),
        ("k in (v) b", "found 'b', expected: ',' or 'end of string'"),
        ("=v", "found '=', expected: !, identifier, or 'end of string'"),
        ("k=(v)", "unable to parse requirement: found '(', expected: identifier"),
        ("k,", "found '', expected: identifier after ','"),
        ("k,,a", "found ',', expected: identifier after ','"),
        ("k!v", "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt"),
        ("k===v", "unable to parse requirement: found '=', expected: identifier"),
        ("!k=v", "found '=', expected: ',' or 'end of string'"),
        ("k => 1", "unable to parse requirement: found '>', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("k v", "unable to parse requirement: found 'v', expected: in, notin, =, ==, !=, gt, lt"),
        ("k in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
    ] {
        let failure = LabelSelector::parse(text).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (400, message), "{text}");
    }
}

#[test]
fn keys_and_values_must_be_labels() {
    let message = |text: &str| LabelSelector::parse(text).unwrap_err().message;
    assert!(
        message("a/b/c=d")
            .starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must")
    );
    assert!(
        message("k=a/b")
            .starts_with("unable to parse requirement: values[0][k]: Invalid value: \"a/b\": a valid label must be")
    );
    assert!(message("k>-1").contains("values[0][k]: Invalid value: \"-1\""));
}

const FIELDS: &[&str] = &["metadata.name", "metadata.namespace", "spec.mode", "spec.n"];

#[test]
fn fields_select_by_equality_and_missing_ones_are_empty() {
    let object = labelled(json!({}));
    for (text, expected) in [
        ("", true),
        (",", true),
        ("metadata.name=u", true),
        ("metadata.name==u", true),
        ("metadata.name!=u", false),
        ("metadata.name=u,spec.mode!=Never", true),
        ("metadata.namespace=", true),
        ("spec.n=5", true),
        ("metadata.name=a\\,b", false),
    ] {
        assert_eq!(FieldSelector::parse(text, FIELDS).unwrap().matches(&object), expected, "{text}");
    }
    assert_eq!(FieldSelector::parse("spec.mode=Once,metadata.name=u", FIELDS).unwrap().name(), Some("u"));
    assert_eq!(FieldSelector::parse("metadata.name!=u", FIELDS).unwrap().name(), None);
}

#[test]
fn faulty_field_selectors_are_400s() {
    for (text, message) in [
        ("spec.command=run", "field label not supported: spec.command"),
        ("x", "invalid selector: 'x'; can't understand 'x'"),
        ("metadata.name>u", "invalid selector: 'metadata.name>u'; can't understand 'metadata.name>u'"),
        ("=u", "field label not supported: "),
        ("metadata.name=a\\xb", "invalid field selector: invalid escape sequence: \\x"),
        ("metadata.name=a\\", "invalid field selector: invalid escape sequence: \\"),
        ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
    ] {
        let failure = FieldSelector::parse(text, FIELDS).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (400, message), "{text}");
    }
}
