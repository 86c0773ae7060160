//! The chart as the real helm renders it. What the objects do in a cluster is the node's test.

mod accounts;
mod kustomize;
mod metrics;
mod network;
mod pods;
mod values;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Namespace and name of the release that every test renders.
const NAMESPACE: &str = "fleet";
const RELEASE: &str = "waybill";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/waybill")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

/// The helm that renders.
struct Helm(PathBuf);

impl Helm {
    /// `None`, after saying so, where there is none.
    fn find() -> Option<Helm> {
        crate::require::program("helm").map(Helm)
    }

    /// The objects of the chart with these values (`a.b=json`), hooks included, or what helm says against them.
    fn render(&self, values: &[&str]) -> Result<Vec<Value>, String> {
        self.render_in(NAMESPACE, values)
    }

    fn render_in(&self, namespace: &str, values: &[&str]) -> Result<Vec<Value>, String> {
        let mut command = Command::new(&self.0);
        command.args(["template", RELEASE]).arg(folder()).args(["--namespace", namespace]);
        for value in values {
            command.args(["--set-json", value]);
        }
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let documents: Vec<Value> = serde_yaml::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
        Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
    }

    fn rendered(&self, values: &[&str]) -> Vec<Value> {
        self.render(values).unwrap_or_else(|error| panic!("{values:?}: {error}"))
    }
}

/// The objects of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The one object of a kind.
#[track_caller]
fn only<'a>(objects: &'a [Value], kind: &'a str) -> &'a Value {
    let found: Vec<&Value> = of_kind(objects, kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Strings of a list; none where there is no list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|items| items.iter().map(|item| item.as_str().unwrap()).collect()).unwrap_or_default()
}

#[test]
fn everything_that_can_be_switched_on_renders() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[
        r#"service={"type":"LoadBalancer","loadBalancerClass":"x","loadBalancerSourceRanges":["10.0.0.0/8"]}"#,
        r#"site.advertise=["fleet.example.com","10.1.2.3"]"#,
        r#"sources=[{"name":"share","claim":"packages","subPath":"a/b"}]"#,
        r#"image={"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","pullSecrets":[{"name":"s"}]}"#,
        "podDisruptionBudget.enabled=true",
        "fleetApi.enabled=true",
        r#"networkPolicy.monitoring=[{"namespaceSelector":{}}]"#,
        r#"metrics={"serviceMonitor":{"enabled":true},"prometheusRule":{"enabled":true},"dashboard":{"enabled":true}}"#,
        r#"pod={"priorityClassName":"high","supplementalGroups":[3],"nodeSelector":{"a":"b"},"tolerations":[{"operator":"Exists"}]}"#,
    ]);
    let budget = only(&objects, "PodDisruptionBudget");
    assert_eq!((&budget["spec"]["maxUnavailable"], &budget["spec"]["minAvailable"]), (&1.into(), &Value::Null));
    let site = only(&objects, "StatefulSet");
    let container = &site["spec"]["template"]["spec"]["containers"][0];
    assert!(container["image"].as_str().unwrap().ends_with(&format!("@sha256:{}", "0".repeat(64))));
    let arguments = texts(&container["args"]);
    assert!(arguments.contains(&"--advertise=fleet.example.com") && arguments.contains(&"--advertise=10.1.2.3"));
    assert_eq!(only(&objects, "PersistentVolumeClaim")["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");

    let objects = helm.rendered(&[r#"persistence.existingClaim="kept""#, "hooks={\"crds\":false,\"release\":false}"]);
    assert_eq!(of_kind(&objects, "PersistentVolumeClaim").count(), 0);
    assert_eq!(of_kind(&objects, "Job").count(), 0);
    let volumes = only(&objects, "StatefulSet")["spec"]["template"]["spec"]["volumes"].clone();
    assert_eq!(volumes[0]["persistentVolumeClaim"]["claimName"], "kept");
    // A site that cannot write is not ready; clients read from it all the same.
    assert_eq!(only(&objects, "Service")["spec"]["publishNotReadyAddresses"], true);
    // The server makes its Site, so that nobody's later `helm upgrade` writes over what its owner declared.
    assert_eq!(of_kind(&objects, "Site").count(), 0);
}

#[test]
fn selectors_find_the_sites_pod_and_no_hooks() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&["podDisruptionBudget.enabled=true"]);
    let labels = |pod: &Value| pod["metadata"]["labels"].as_object().unwrap().clone();
    let site = labels(&only(&objects, "StatefulSet")["spec"]["template"]);
    let selectors = [
        only(&objects, "StatefulSet").pointer("/spec/selector/matchLabels"),
        only(&objects, "PodDisruptionBudget").pointer("/spec/selector/matchLabels"),
        only(&objects, "NetworkPolicy").pointer("/spec/podSelector/matchLabels"),
        only(&objects, "Service").pointer("/spec/selector"),
    ];
    for selector in selectors {
        let selector = selector.unwrap().as_object().unwrap();
        let selects = |labels: &serde_json::Map<String, Value>| {
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        assert!(selects(&site), "{selector:?}");
        for job in of_kind(&objects, "Job") {
            assert!(!selects(&labels(&job["spec"]["template"])), "{selector:?} takes {}", name(job));
        }
    }
}
