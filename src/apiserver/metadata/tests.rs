//! What ObjectMeta takes, drops, refuses and warns of.

use super::*;

fn decoded(metadata: Value) -> Result<(Value, Vec<String>), String> {
    let mut object = json!({"metadata": metadata});
    let unknown = decode(&mut object)?;
    Ok((object["metadata"].clone(), unknown))
}

fn faults(mut metadata: Value) -> Vec<String> {
    metadata["namespace"] = json!("n");
    if metadata["name"].is_null() {
        metadata["name"] = json!("a");
    }
    shown(&validate(&json!({"metadata": metadata}), NameRule::Subdomain, true))
}

fn shown(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn another_json_type_is_an_error_that_names_the_go_field() {
    const HEAD: &str = "json: cannot unmarshal ";
    for (metadata, rest) in [
        (json!({"name": 5}), "number into Go struct field ObjectMeta.name of type string"),
        (json!({"labels": {"a": 5}}), "number into Go struct field ObjectMeta.labels of type string"),
        (json!({"labels": [1]}), "array into Go struct field ObjectMeta.labels of type map[string]string"),
        (json!({"annotations": {"a": true}}), "bool into Go struct field ObjectMeta.annotations of type string"),
        (json!({"finalizers": "x"}), "string into Go struct field ObjectMeta.finalizers of type []string"),
        (json!({"finalizers": [5]}), "number into Go struct field ObjectMeta.finalizers of type string"),
        (
            json!({"ownerReferences": [5]}),
            "number into Go struct field ObjectMeta.ownerReferences of type v1.OwnerReference",
        ),
        (
            json!({"ownerReferences": [{"name": 5}]}),
            "number into Go struct field OwnerReference.ownerReferences.name of type string",
        ),
        (json!({"generation": 1.5}), "number 1.5 into Go struct field ObjectMeta.generation of type int64"),
        (json!({"uid": 5}), "number into Go struct field ObjectMeta.uid of type types.UID"),
        (json!(5), "number into Go value of type v1.ObjectMeta"),
    ] {
        assert_eq!(decoded(metadata.clone()).unwrap_err(), format!("{HEAD}{rest}"), "{metadata}");
    }
    assert!(
        decoded(json!({"creationTimestamp": "x"}))
            .unwrap_err()
            .ends_with("parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"")
    );
}

#[test]
fn what_says_nothing_vanishes_and_a_null_label_is_the_empty_string() {
    let (metadata, _) =
        decoded(json!({"labels": {}, "annotations": null, "finalizers": [], "name": "", "ownerReferences": []}))
            .unwrap();
    assert_eq!(metadata, json!({}));
    assert_eq!(decoded(json!({"labels": {"a": null}})).unwrap().0, json!({"labels": {"a": ""}}));
    assert_eq!(decoded(Value::Null).unwrap().0, json!({}));
}

#[test]
fn times_become_utc() {
    let (metadata, _) = decoded(json!({"creationTimestamp": "2020-01-01T00:00:00+02:00"})).unwrap();
    assert_eq!(metadata["creationTimestamp"], "2019-12-31T22:00:00Z");
}

#[test]
fn unknown_members_are_dropped_and_named() {
    let (metadata, unknown) = decoded(json!({"colour": 1, "ownerReferences": [{"uid": "u", "wat": 1}]})).unwrap();
    assert_eq!(unknown, ["metadata.colour", "metadata.ownerReferences[0].wat"]);
    assert_eq!(metadata, json!({"ownerReferences": [{"uid": "u"}]}));
}

#[test]
fn names_are_lower_case_subdomains() {
    for good in ["a", "a.b-c.d", &"a".repeat(253)] {
        assert!(faults(json!({"name": good})).is_empty(), "{good}");
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and \
               end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
               '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    for bad in ["Abc", "a_b", "-a", "a/b", "a%b", ".", "ä", "a b"] {
        assert_eq!(faults(json!({"name": bad})), [format!("metadata.name: Invalid value: \"{bad}\": {why}")]);
    }
    let long = "a".repeat(254);
    assert_eq!(
        faults(json!({"name": long})),
        [format!("metadata.name: Invalid value: \"{long}\": must be no more than 253 characters")]
    );
    let none = json!({"metadata": {"namespace": "n"}});
    assert_eq!(
        shown(&validate(&none, NameRule::Subdomain, true)),
        ["metadata.name: Required value: name or generateName is required"]
    );
    let dotted = json!({"metadata": {"name": "a.b"}});
    assert_eq!(
        shown(&validate(&dotted, NameRule::Label, false)),
        ["metadata.name: Invalid value: \"a.b\": must not contain dots"]
    );
}

#[test]
fn a_generated_name_is_cut_to_63_and_its_prefix_is_checked() {
    assert_eq!(generated_name("g-", "abcde"), "g-abcde");
    assert_eq!(generated_name(&"x".repeat(80), "abcde").len(), 63);
    assert!(faults(json!({"generateName": "g-"})).is_empty());
    assert!(
        faults(json!({"generateName": "Gen_"}))[0]
            .starts_with("metadata.generateName: Invalid value: \"Gen_\": a lowercase RFC 1123")
    );
}

#[test]
fn labels_and_annotations_are_checked() {
    let long = "x".repeat(64);
    assert_eq!(
        faults(json!({"labels": {"a": long}})),
        [format!("metadata.labels: Invalid value: \"{long}\": must be no more than 63 bytes")]
    );
    assert_eq!(
        faults(json!({"labels": {"/a": "b"}})),
        ["metadata.labels: Invalid value: \"/a\": prefix part must be non-empty"]
    );
    assert_eq!(
        faults(json!({"labels": {"a": "b c"}})),
        [
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
          or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
          validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ]
    );
    assert!(faults(json!({"labels": {"a.b/c": "d-1_2.x", "e": ""}, "annotations": {"A.b/C": "ä \n x"}})).is_empty());
    assert_eq!(
        faults(json!({"annotations": {"a": "x".repeat(300_000)}})),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn finalizers_and_owners_are_checked() {
    assert_eq!(
        faults(json!({"finalizers": ["foregroundDeletion", "orphan"]})),
        [
            "metadata.finalizers: Invalid value: [\"foregroundDeletion\",\"orphan\"]: finalizer orphan and foregroundDeletion cannot be both set"
        ]
    );
    assert_eq!(
        faults(json!({"ownerReferences": [{}]})),
        [
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
        ]
    );
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "C", "name": name, "uid": name, "controller": true});
    assert_eq!(
        faults(json!({"ownerReferences": [owner("c"), owner("d")]})),
        [
            "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"C\",\"name\":\"c\",\"uid\":\"c\",\"controller\":true},\
          {\"apiVersion\":\"v1\",\"kind\":\"C\",\"name\":\"d\",\"uid\":\"d\",\"controller\":true}]: Only one reference can have Controller \
          set to true. Found \"true\" in references for C/c and C/d"
        ]
    );
}

/// Without the repetitions that an update's answer has.
fn once(causes: &[Cause]) -> Vec<String> {
    let mut out = shown(causes);
    out.dedup();
    out
}

#[test]
fn no_new_finalizers_while_terminating_and_fixed_members_stay() {
    let old =
        json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["e.dev/x"]}});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["e.dev/x", "e.dev/y"]);
    assert_eq!(
        once(&validate_update(&new, &old)),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
          []string{\"e.dev/y\"}"
        ]
    );
    new = old.clone();
    new["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z");
    assert_eq!(
        once(&validate_update(&new, &old)),
        ["metadata.deletionTimestamp: Invalid value: \"2027-01-01T00:00:00Z\": field is immutable"]
    );
}

#[test]
fn a_finalizer_without_a_domain_and_duplicate_owners_only_warn() {
    let owner = json!({"apiVersion": "v1", "kind": "C", "name": "c", "uid": "u"});
    let mut object =
        json!({"metadata": {"finalizers": ["a", "a.b", "a.b/c", "orphan"], "ownerReferences": [owner, owner]}});
    let old = object.clone();
    let warned = warnings(&mut object);
    assert_eq!(object["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(warned.len(), 3);
    assert!(warned[0].ends_with("duplicate UID(s) observed: u"));
    assert_eq!(
        warned[1],
        "metadata.finalizers: \"a\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    );
    assert!(warned[2].contains("name including a path (/) to avoid"));
    assert!(warnings_update(&mut object, &old).is_empty(), "what was there already is not warned of again");
}

#[test]
fn a_managers_name_is_short_and_printable() {
    assert_eq!(
        shown(&field_manager("a\u{1}b", "fieldManager")),
        ["fieldManager: Invalid value: \"a\\x01b\": invalid character U+0001 (at position 1)"]
    );
    assert_eq!(
        shown(&field_manager(&"x".repeat(129), "fieldManager")),
        ["fieldManager: Too long: may not be more than 128 bytes"]
    );
}
