//! `waybill apiserver` as a process of its own, as API suites run it: the CRDs of a folder over https, and a kubeconfig.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{program, programs};

/// Longest wait for the process to come up or end.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(state: &Path, crds: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.arg("apiserver").arg("--state").arg(state).arg("--crds").arg(crds).args(["--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for the end; answers whether it was a success, and what was said.
fn end(mut child: Child) -> (bool, String) {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            child.kill().unwrap();
            panic!("the server does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().success(), said)
}

async fn client(kubeconfig: &Path) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap())
        .unwrap()
}

#[tokio::test]
async fn it_serves_the_kinds_of_a_folder_over_https_and_keeps_them() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("state");
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds");
    let mut versions = vec![];
    for round in 0..2 {
        let _ = std::fs::remove_file(state.join("kubeconfig"));
        let child = command(&state, &crds).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let until = Instant::now() + PATIENCE;
        let kubeconfig = state.join("kubeconfig");
        let address = loop {
            assert!(Instant::now() < until, "no kubeconfig came");
            let text = std::fs::read_to_string(&kubeconfig).unwrap_or_default();
            let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = config["clusters"][0]["cluster"]["server"].as_str() {
                assert!(config["clusters"][0]["cluster"]["certificate-authority-data"].is_string());
                break url.strip_prefix("https://").unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(address.starts_with("127.0.0.1:"), "on loopback: {address}");
        // the CA in the kubeconfig is the only one believed here, so this is https with our certificate
        let admin = client(&kubeconfig).await;
        let api: Api<DynamicObject> = Api::default_namespaced_with(admin.clone(), &programs());
        api.create(&PostParams::default(), &program(&format!("p{round}"), json!({"command": "run"}))).await.unwrap();
        let listed = api.list(&ListParams::default()).await.unwrap();
        assert_eq!(listed.items.len(), round + 1, "what was stored stays");
        versions.push(listed.metadata.resource_version.unwrap().parse::<u64>().unwrap());
        let kinds = admin.list_api_group_resources("content.example.dev/v1").await.unwrap();
        assert!(kinds.resources.iter().any(|r| r.kind == "Program"));
        assert!(admin.list_api_group_resources("waybill.dev/v1alpha1").await.is_err(), "only the folder's kinds");

        let viewer: Api<DynamicObject> =
            Api::default_namespaced_with(client(&state.join("viewer.kubeconfig")).await, &programs());
        viewer.get("p0").await.unwrap();
        let made = viewer.create(&PostParams::default(), &program("v", json!({"command": "run"}))).await;
        assert!(matches!(made, Err(kube::Error::Api(status)) if status.code == 403));

        // who speaks plain HTTP gets no answer that is one
        let mut plain = TcpStream::connect(&address).unwrap();
        plain.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/"), "{:?}", String::from_utf8_lossy(&answer));

        kill_process(pid, Signal::TERM).unwrap();
        let (success, said) = end(child);
        assert!(success, "{said}");
    }
    assert!(versions[0] < versions[1]);
}

#[test]
fn a_folder_with_a_broken_definition_is_refused_by_the_files_name() {
    let sound =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crds/sites.json")).unwrap();
    for (name, text, words) in [
        ("broken.yaml", "kind: [".to_owned(), "is no YAML or JSON"),
        (
            "other.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n".to_owned(),
            "only CustomResourceDefinitions",
        ),
        ("schema.json", sound.replacen("\"type\": \"object\"", "\"type\": \"thing\"", 1), "cannot be served"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let crds = scratch.path().join("crds");
        std::fs::create_dir(&crds).unwrap();
        std::fs::write(
            crds.join("a-sound.json"),
            sound.replace("sites", "places").replace("Site", "Place").replace("\"site\"", "\"place\""),
        )
        .unwrap();
        std::fs::write(crds.join(name), text).unwrap();
        let (success, said) = end(command(&scratch.path().join("state"), &crds).spawn().unwrap());
        assert!(!success && said.contains(name) && said.contains(words), "{name}: {said}");
    }
    let scratch = tempfile::tempdir().unwrap();
    let (success, said) = end(command(&scratch.path().join("state"), &scratch.path().join("none")).spawn().unwrap());
    assert!(!success && said.contains("none"), "{said}");
}
