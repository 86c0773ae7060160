//! Alerts and dashboard ask for metrics that exist, by labels and values that exist; `docs/metrics.md` says which do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Helm, only};

/// Labels that a Prometheus adds.
const ADDED: [&str; 3] = ["namespace", "le", "pod"];

/// The metrics of the documentation with the words in their rows: labels and values among them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (metric, rest) = row.split_once('`').unwrap();
        let words = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (metric.to_owned(), words)
    })
    .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What a query asks for that is not documented.
fn unknown(query: &str, documented: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, _) in query.match_indices("waybill_") {
        let rest = &query[at..];
        let metric = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let known = ["_bucket", "_sum", "_count"].iter().find_map(|part| documented.get(metric.strip_suffix(part)?));
        let Some(words) = known.or_else(|| documented.get(metric)) else {
            faults.push(metric.to_owned());
            continue;
        };
        let Some(inside) = rest[metric.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
            continue;
        };
        for pair in inside.split(',') {
            let (label, value) = pair.trim().split_once('=').unwrap();
            let fits = ADDED.contains(&label)
                || (words.contains(label) && (words.contains(value.trim_matches('"')) || value == "\"5xx\""));
            if !fits {
                faults.push(format!("{metric}{{{pair}}}"));
            }
        }
    }
    faults
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[
        r#"networkPolicy.monitoring=[{"namespaceSelector":{}}]"#,
        r#"metrics={"serviceMonitor":{"enabled":true},"prometheusRule":{"enabled":true},"dashboard":{"enabled":true}}"#,
    ]);
    let documented = documented();
    let mut queries: Vec<String> = Vec::new();
    for rule in only(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap() {
        queries.push(rule["expr"].as_str().unwrap().to_owned());
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string());
    }
    let dashboard: Value =
        serde_json::from_str(only(&objects, "ConfigMap")["data"]["waybill.json"].as_str().unwrap()).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        queries.extend(
            panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap().to_owned()),
        );
    }
    assert!(queries.len() > 10 && documented.len() > 8);
    for query in &queries {
        assert_eq!(unknown(query, &documented), Vec::<String>::new(), "{query}");
    }
    // Every metric is shown somewhere.
    let unseen: Vec<&String> =
        documented.keys().filter(|metric| !queries.iter().any(|query| query.contains(metric.as_str()))).collect();
    assert!(unseen.is_empty(), "{unseen:?}");

    assert_eq!(unknown("rate(waybill_nothing[5m])", &documented), ["waybill_nothing"]);
    assert_eq!(unknown("waybill_site_systems{state=\"fine\"}", &documented), ["waybill_site_systems{state=\"fine\"}"]);
}

#[test]
fn who_reads_metrics_finds_the_pod_by_a_service_of_its_own() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm
        .rendered(&[r#"networkPolicy.monitoring=[{"namespaceSelector":{}}]"#, "metrics.serviceMonitor.enabled=true"]);
    let monitor = only(&objects, "ServiceMonitor");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let chosen: Vec<&Value> = super::of_kind(&objects, "Service")
        .filter(|service| wanted.iter().all(|(key, value)| service["metadata"]["labels"].get(key) == Some(value)))
        .collect();
    assert_eq!(chosen.len(), 1);
    assert_eq!(chosen[0]["spec"]["type"], "ClusterIP");
    let ports = chosen[0]["spec"]["ports"].as_array().unwrap();
    assert_eq!((ports.len(), &ports[0]["name"]), (1, &monitor["spec"]["endpoints"][0]["port"]));
}
