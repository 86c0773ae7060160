//! Every pod of the chart is one that the restricted level of Pod Security lets in, and has no more than it needs.

use serde_json::{Value, json};

use super::{Helm, name, of_kind, only, texts};

/// Volumes that the restricted level allows.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// What the restricted level, and a read-only root, have against a pod.
fn objections(pod: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    let of_pod = &pod["securityContext"];
    must(of_pod["runAsNonRoot"] == true && of_pod["runAsUser"].as_u64().is_some_and(|user| user > 0), "runs as root");
    must(of_pod["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile");
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod.get(shared).is_none(), shared);
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        must(volume.as_object().unwrap().keys().all(|key| key == "name" || VOLUMES.contains(&key.as_str())), "volumes");
    }
    must(pod.get("initContainers").is_none(), "containers that this test does not look at");
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        must(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        must(context["capabilities"] == json!({"drop": ["ALL"]}), "capabilities");
        must(context["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
        must(context.get("privileged").is_none(), "privileged");
        must(container["resources"]["limits"]["memory"].is_string(), "no limit of memory");
        must(
            container["ports"].as_array().into_iter().flatten().all(|port| port.get("hostPort").is_none()),
            "hostPort",
        );
    }
    faults
}

#[test]
fn every_pod_is_restricted() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[r#"sources=[{"name":"share","claim":"packages"}]"#]);
    let mut seen = Vec::new();
    let kinds = ["StatefulSet", "Job", "Pod"];
    for object in kinds.iter().flat_map(|kind| of_kind(&objects, kind)) {
        let pod = object.pointer("/spec/template/spec").unwrap_or(&object["spec"]);
        assert_eq!(objections(pod), Vec::<String>::new(), "{}", name(object));
        seen.push(name(object));

        for field in ["runAsNonRoot", "seccompProfile"] {
            let mut planted = pod.clone();
            planted["securityContext"].as_object_mut().unwrap().remove(field);
            assert_eq!(objections(&planted).len(), 1, "{field}");
        }
        let mut planted = pod.clone();
        planted["containers"][0]["securityContext"] = json!({});
        planted["volumes"] = json!([{"name": "x", "hostPath": {"path": "/"}}]);
        assert_eq!(objections(&planted).len(), 4);
    }
    assert_eq!(seen, ["waybill", "waybill-crds", "waybill-release", "waybill-network"]);
    let other = |object: &&Value| object.to_string().contains("\"containers\"") && !seen.contains(&name(object));
    assert_eq!(objects.iter().filter(other).count(), 0, "pods that this test does not look at");
}

#[test]
fn the_sites_pod_is_one_writer_that_reads_its_sources() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[r#"sources=[{"name":"share","claim":"packages","subPath":"a"}]"#]);
    let spec = &only(&objects, "StatefulSet")["spec"];
    assert_eq!((&spec["replicas"], &spec["podManagementPolicy"]), (&json!(1), &json!("Parallel")));
    assert!(spec.get("volumeClaimTemplates").is_none(), "the claim is an object of its own");
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    let mount =
        |path: &str| container["volumeMounts"].as_array().unwrap().iter().find(|m| m["mountPath"] == path).unwrap();
    let source = mount("/sources/share");
    assert_eq!((&source["readOnly"], &source["subPath"]), (&json!(true), &json!("a")));
    let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == source["name"]).unwrap();
    assert_eq!(volume["persistentVolumeClaim"], json!({"claimName": "packages", "readOnly": true}));

    let arguments = texts(&container["args"]);
    assert_eq!(arguments[0], "site");
    assert!(arguments.contains(&"--source-root=/sources") && arguments.contains(&"--advertise=waybill.fleet.svc"));
    let state = arguments.iter().find_map(|argument| argument.strip_prefix("--state=")).unwrap();
    assert!(state.starts_with(mount("/var/lib/waybill")["mountPath"].as_str().unwrap()));
    let ports: Vec<u64> =
        container["ports"].as_array().unwrap().iter().map(|p| p["containerPort"].as_u64().unwrap()).collect();
    assert_eq!(ports, [7444, 7445, 7446]);
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "metrics"}), "{probe}");
    }
}

#[test]
fn hooks_run_the_verb_they_are_named_after() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[]);
    for (job, arguments, seconds) in [
        ("waybill-crds", json!(["crds", "apply"]), 120),
        ("waybill-release", json!(["release", "--all", "--statefulset=fleet/waybill"]), 60),
    ] {
        let job = of_kind(&objects, "Job").find(|object| name(object) == job).unwrap();
        assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"], arguments);
        assert_eq!(job["spec"]["activeDeadlineSeconds"], seconds);
        assert_eq!(job["spec"]["template"]["spec"]["serviceAccountName"], name(job));
    }
}
