//! Nothing stays behind: no process and no file, however the tests end. And what the level promises: RBAC, admission, audit.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;

use crate::{
    api_level::{ADMIN, RealApi, User, VIEWER},
    require,
};

/// Tells a child how to end.
const CHILD: &str = "WAYBILL_TEST_CLUSTER_CHILD";
/// Longest wait for the guardian's work.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs only as the child of the test below: starts a server, says where, and ends as it is told.
#[test]
fn server_child() {
    let Some(end) = told() else { return };
    let api = RealApi::start().unwrap();
    println!("STARTED {}", api.directory().display());
    match end.as_str() {
        "fail" => panic!("as it was told"),
        _ => std::thread::sleep(LIMIT),
    }
    unreachable!("it was to be killed");
}

/// A test of this binary in a process of its own, told how to end; and what it says once it has started.
pub(crate) fn child(test: &str, end: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, end)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // libtest's own words stand before it on its line
    let said = lines.find_map(|line| Some(line.unwrap().split_once("STARTED ")?.1.to_owned())).unwrap();
    (child, said)
}

/// How such a process is to end; nothing in any other.
#[expect(clippy::disallowed_methods, reason = "the test's own message to its child")]
pub(crate) fn told() -> Option<String> {
    std::env::var(CHILD).ok()
}

#[test]
fn nothing_stays_behind_when_tests_fail_or_are_killed() {
    if !require::cluster() {
        return;
    }
    for end in ["fail", "wait to be killed"] {
        let (mut child, directory) = child("left_behind::server_child", end);
        let directory = PathBuf::from(directory);
        if end != "fail" {
            assert!(running_in(&directory).len() >= 2, "etcd and kube-apiserver run there");
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
        let until = Instant::now() + LIMIT;
        while directory.exists() || !running_in(&directory).is_empty() {
            assert!(
                Instant::now() < until,
                "{end}: {directory:?} or what runs in it is left: {:?}",
                running_in(&directory)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The processes that run inside a directory.
fn running_in(directory: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(|process| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)))
        .collect()
}

fn is_forbidden<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn roles_decide_admission_is_the_default_one_and_every_request_is_logged_before_its_answer() {
    let Some(api) = RealApi::shared() else { return };
    let nobody = User { name: "nobody-in-particular", group: None };
    let configmaps: Api<ConfigMap> = Api::namespaced(api.client(&nobody, "default").await, "default");
    assert!(is_forbidden(configmaps.get("some-config").await));
    let logged = api.requests().into_iter().rev().find(|request| request.user == nobody.name).unwrap();
    assert_eq!(
        (logged.verb.as_str(), logged.resource.as_str(), logged.namespace.as_str(), logged.name.as_str(), logged.code),
        ("get", "configmaps", "default", "some-config", 403)
    );

    let viewer = api.client(&VIEWER, "default").await;
    Api::<ConfigMap>::namespaced(viewer.clone(), "default").list(&ListParams::default()).await.unwrap();
    assert!(is_forbidden(Api::<Secret>::namespaced(viewer, "default").list(&ListParams::default()).await));

    // Only the admission plugin for ServiceAccounts refuses a pod whose account does not exist.
    let pods: Api<Pod> = Api::namespaced(api.client(&ADMIN, "default").await, "default");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "none", "containers": [{"name": "c", "image": "i"}]}});
    let refused = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.message.contains("service account default/none")),
        "{refused:?}"
    );
}
