//! The node itself: a pod runs with a volume and reaches the API by the Service's address, agents reach the pod, and nothing is
//! left, however the tests end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use super::{Node, POLL, images, seconds};
use crate::{
    left_behind::{child, told},
    require,
};

/// A pod whose program says that it reached the API server, if it did, and then answers whoever connects.
const ECHO: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_in api = {.sin_family = AF_INET}, own = {.sin_family = AF_INET, .sin_port = htons(7000)};
  inet_aton(getenv("KUBERNETES_SERVICE_HOST"), &api.sin_addr);
  api.sin_port = htons(atoi(getenv("KUBERNETES_SERVICE_PORT")));
  int out = socket(AF_INET, SOCK_STREAM, 0);
  FILE *note = fopen("/volume/note", "w");
  if (!note || connect(out, (struct sockaddr *)&api, sizeof api)) { perror("api or volume"); return 1; }
  fclose(note);
  puts("reached"); fflush(stdout);
  int in = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(in, (struct sockaddr *)&own, sizeof own) || listen(in, 5)) return 1;
  for (;;) { int c = accept(in, 0, 0); write(c, "echo\n", 5); close(c); }
}
"#;

fn build_echo(node: &Node) -> PathBuf {
    let (source, program) = (node.directory().join("echo.c"), node.directory().join("echo"));
    std::fs::write(&source, ECHO).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-o"]).arg(&program).arg(&source);
    super::succeed(compiler).unwrap();
    program
}

fn run_echo(node: &Node) {
    let image = images::pack(&build_echo(node), node.directory(), "localhost/echo:1").unwrap();
    node.import(&image).unwrap();
    node.volume("note", "default", "note");
    node.apply(
        "echo",
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: note}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  securityContext: {runAsUser: 65532, runAsNonRoot: true, fsGroup: 65532}
  containers:
    - name: echo
      image: localhost/echo:1
      imagePullPolicy: Never
      volumeMounts: [{name: volume, mountPath: /volume}]
  volumes: [{name: volume, persistentVolumeClaim: {claimName: note}}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {clusterIP: 10.78.0.70, selector: {app: echo}, ports: [{port: 7000}]}
"#,
    );
    node.wait("said by the pod", seconds(120), |node| {
        let said = node.kubectl(&["logs", "echo"])?;
        if said == "reached\n" { Ok(()) } else { Err(said) }
    });
}

#[test]
fn a_pod_runs_with_a_volume_and_agents_reach_it_by_its_service() {
    let Some(node) = Node::start() else { return };
    run_echo(&node);
    assert!(node.directory().join("volumes/note/note").exists(), "what the pod wrote is on the volume");
    node.wait("answered through the Service", seconds(30), |node| {
        let mut bash = node.agents_command(Path::new("bash"), node.directory());
        bash.args(["-c", "exec 3<>/dev/tcp/10.78.0.70/7000 && head -c 5 <&3"]);
        let said = super::succeed(bash)?;
        if said == "echo\n" { Ok(()) } else { Err(said) }
    });
    let front_proxy = node.kubectl(&[
        "get",
        "configmap",
        "extension-apiserver-authentication",
        "--namespace=kube-system",
        "--output=yaml",
    ]);
    assert!(front_proxy.unwrap().contains("requestheader-client-ca-file"), "aggregated servers learn whom to believe");
}

/// Runs only as the child of the test below: starts a node with a pod, says where, and ends as it is told.
#[test]
fn node_child() {
    let Some(end) = told() else { return };
    let node = Node::start().unwrap();
    run_echo(&node);
    let containers =
        std::fs::read_dir(node.directory().join("containers/io.containerd.runtime.v2.task/k8s.io")).unwrap();
    let containers: Vec<_> = containers.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    println!("STARTED {} {}", node.directory().display(), containers.join(" "));
    match end.as_str() {
        "fail" => panic!("as it was told"),
        _ => std::thread::sleep(seconds(60)),
    }
    unreachable!("it was to be killed");
}

/// What is left of a node that had these containers: processes, mounts, cgroups, its directory.
fn left(directory: &Path, containers: &[String]) -> Vec<String> {
    let of_the_node = |text: String| text.contains(directory.to_str().unwrap()).then_some(text);
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let process = entry.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default().replace('\0', " ");
        let cwd = std::fs::read_link(process.join("cwd")).map(|cwd| cwd.display().to_string()).unwrap_or_default();
        // A container names the node's directory nowhere but in its mounts, and those only it sees.
        left.extend(
            of_the_node(read("cmdline")).or_else(|| of_the_node(read("mountinfo"))).or_else(|| of_the_node(cwd)),
        );
    }
    left.extend(directory.exists().then(|| directory.display().to_string()));
    let controllers = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    for controller in controllers.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let cgroups = containers.iter().map(|container| controller.join("k8s.io").join(container));
        left.extend(cgroups.filter(|cgroup| cgroup.exists()).map(|cgroup| cgroup.display().to_string()));
    }
    left
}

#[test]
fn nothing_stays_behind_when_tests_fail_or_are_killed() {
    if !require::node() {
        return;
    }
    for end in ["fail", "wait to be killed"] {
        let (mut child, said) = child("node::smoke::node_child", end);
        let (directory, containers) = said.split_once(' ').unwrap();
        let containers: Vec<String> = containers.split(' ').map(str::to_owned).collect();
        let directory = Path::new(directory);
        assert_eq!(containers.len(), 2, "a sandbox and the program in it");
        if end != "fail" {
            let before = left(directory, &containers);
            let has = |what: &str| before.iter().any(|one| one.contains(what));
            assert!(
                has("kubelet") && has("k8s.io/") && has("overlay"),
                "the look at what is left sees nothing: {before:#?}"
            );
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
        let until = Instant::now() + seconds(60);
        loop {
            let left = left(directory, &containers);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "{end}: left behind: {left:#?}");
            std::thread::sleep(POLL);
        }
    }
}
