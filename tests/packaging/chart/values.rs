//! Values: whatever the chart does not know is refused at every level, and what it knows is explained.

use serde_json::{Map, Value, json};

use super::{Helm, folder, read};

fn schema() -> Value {
    serde_json::from_str(&read("values.schema.json")).unwrap()
}

/// Every object of the schema that lists its keys, by its path; items of lists are left out.
fn closed(node: &Value, path: &str, found: &mut Vec<String>) {
    if node["additionalProperties"] == json!(false) {
        found.push(path.to_owned());
    }
    for (key, below) in node["properties"].as_object().unwrap_or(&Map::new()) {
        closed(below, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
    }
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    let Some(helm) = Helm::find() else { return };
    let mut levels = Vec::new();
    closed(&schema(), "", &mut levels);
    assert!(levels.len() > 15, "{levels:?}");
    for level in levels {
        let unknown = if level.is_empty() { "surprise=1".to_owned() } else { format!("{level}.surprise=1") };
        let said = helm.render(&[&unknown]).expect_err(&unknown);
        assert!(said.contains("'surprise' not allowed"), "{unknown}: {said}");
    }
    let said = helm.render(&[r#"sources=[{"name":"a","claim":"b","path":"c"}]"#]).unwrap_err();
    assert!(said.contains("'path' not allowed"), "{said}");
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let Some(helm) = Helm::find() else { return };
    for (value, where_) in [
        ("replicas=2", "/replicas"),
        (r#"image.digest="latest""#, "/image/digest"),
        (r#"site.name="Main Site""#, "/site/name"),
        (r#"site.advertise=["https://fleet.example.com:7444"]"#, "/site/advertise/0"),
        (r#"site.advertise=["fleet.example.com:7444"]"#, "/site/advertise/0"),
        (r#"site.log="bogus=zzz""#, "/site/log"),
        (r#"service.type="NodePort""#, "/service/type"),
        (r#"persistence.size="much""#, "/persistence/size"),
        (r#"sources=[{"name":"../etc","claim":"c"}]"#, "/sources/0/name"),
        (r#"pod.supplementalGroups=[0]"#, "/pod/supplementalGroups/0"),
    ] {
        let said = helm.render(&[value]).expect_err(value);
        assert!(said.contains(where_), "{value}: {said}");
    }
    let said = helm.render(&["metrics.serviceMonitor.enabled=true"]).unwrap_err();
    assert!(said.contains("say in networkPolicy.monitoring who may read metrics"), "{said}");
}

/// Keys of the schema that values.yaml lacks, or the other way round, or that nothing explains.
fn unexplained(schema: &Value, values: &Value, path: &str, faults: &mut Vec<String>) {
    let (Some(known), Some(given)) = (schema["properties"].as_object(), values.as_object()) else {
        if schema["description"].as_str().is_none_or(str::is_empty) {
            faults.push(format!("{path} has no description"));
        }
        return;
    };
    faults.extend(given.keys().filter(|key| !known.contains_key(*key)).map(|key| format!("{path}.{key} is unknown")));
    for (key, below) in known {
        match given.get(key) {
            Some(value) => unexplained(below, value, &format!("{path}.{key}"), faults),
            // Helm's own, which every chart accepts.
            None if key == "global" => {}
            None => faults.push(format!("{path}.{key} has no default")),
        }
    }
}

#[test]
fn every_value_has_a_default_and_says_what_it_is() {
    let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    let mut faults = Vec::new();
    unexplained(&schema(), &values, "", &mut faults);
    assert!(faults.is_empty(), "{faults:?}");

    let schema = json!({"properties": {"a": {"type": "string"}, "b": {"description": "x"}}});
    unexplained(&schema, &json!({"a": "", "c": 1}), "", &mut faults);
    assert_eq!(faults, [".c is unknown", ".a has no description", ".b has no default"]);
}

#[test]
fn chart_and_program_are_of_one_version() {
    let chart: Value = serde_yaml::from_str(&std::fs::read_to_string(folder().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
