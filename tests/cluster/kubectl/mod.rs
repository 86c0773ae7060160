//! What kubectl prints: each script of `scripts/` runs against the real API and the embedded one, and the two transcripts must be the
//! same but for what differs from run to run. The scripts are what people type; `files/` is what they apply.

mod transcript;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::{
    api_level::{ADMIN, RealApi, definitions},
    embedded::Served,
    require,
};

/// Said before each script.
const PRELUDE: &str = r#"
# Says what it runs, what that says, and how it ends.
run() { echo "\$ $*"; "$@" 2>&1; echo "-> $?"; }
# The same, its lines in order: the kinds of a group come in none that one can rely on.
sorted() { echo "\$ $*"; said=$("$@" 2>&1); code=$?; echo "$said" | sort; echo "-> $code"; }
# Waits until a file has a line that matches; after a minute the script ends.
until_line() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "no $2 in $1"; exit 1; }
"#;

/// One server, as a script sees it.
struct Side {
    kubeconfig: PathBuf,
    /// The script's working directory and home.
    directory: PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_diff_prune_and_kustomize_print_the_same() {
    compare("apply").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edit_patch_label_annotate_and_replace_print_the_same() {
    compare("edit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_describe_and_explain_print_the_same() {
    compare("read").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_and_waiting_print_the_same() {
    compare("watch").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_with_each_cascade_prints_the_same() {
    compare("delete").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_about_rights_print_the_same() {
    compare("auth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_ours_at_once_prints_the_same() {
    // a server of its own: some of these kinds lie in no namespace, and other tests make objects of them
    let Some(real) = RealApi::start() else { return };
    compare_with(&real, "category").await;
}

/// Runs a script on the server that all tests share and on an embedded one.
async fn compare(script: &'static str) {
    let Some(real) = RealApi::shared() else { return };
    if !real.collects() {
        return require::missing("kube-controller-manager", "it follows owner references");
    }
    compare_with(real, script).await;
}

/// Runs a script on both servers, in a namespace named like it.
async fn compare_with(real: &RealApi, script: &'static str) {
    let kubectl = require::program("kubectl").unwrap();
    let namespace = format!("kubectl-{script}");
    create(&real.client(&ADMIN, "default").await, &namespace).await;
    let embedded = Served::with(definitions());
    embedded.listen().await;
    create(&embedded.admin().await, &namespace).await;

    let scratch = tempfile::tempdir().unwrap();
    let side = |name: &str, kubeconfig: String| {
        let directory = scratch.path().join(name);
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/kubectl/files"), &directory);
        let mut config: Value = serde_json::from_str(&kubeconfig).unwrap();
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        let kubeconfig = directory.join("kubeconfig");
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Side { kubeconfig, directory }
    };
    let sides = [
        side("real", real.kubeconfig(&ADMIN, &namespace)),
        side("embedded", std::fs::read_to_string(embedded.kubeconfig()).unwrap()),
    ];
    let runs = sides.map(|side| {
        let kubectl = kubectl.clone();
        tokio::task::spawn_blocking(move || run(&kubectl, &side, script))
    });
    let [expected, got] = runs;
    let (expected, got) = (expected.await.unwrap(), got.await.unwrap());
    assert!(expected.contains("-> 0"), "nothing succeeded:\n{expected}");
    let difference = transcript::difference(&expected, &got);
    assert!(difference.is_empty(), "kubectl prints not the same (- the real API, + the embedded one):\n{difference}");
}

async fn create(client: &Client, namespace: &str) {
    let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
}

/// Runs a script to its end; its transcript, comparable.
fn run(kubectl: &Path, side: &Side, script: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/kubectl/scripts").join(format!("{script}.sh"));
    let text = std::fs::read_to_string(path).unwrap();
    let programs = format!("{}:/usr/bin:/bin", kubectl.parent().unwrap().display());
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("{PRELUDE}{text}")).current_dir(&side.directory).env_clear();
    command.env("PATH", programs).env("HOME", &side.directory).env("KUBECONFIG", &side.kubeconfig).env("LC_ALL", "C");
    // what a failed edit leaves behind goes with the rest
    command.env("TMPDIR", &side.directory);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    transcript::comparable(&String::from_utf8_lossy(&said), &side.directory)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
