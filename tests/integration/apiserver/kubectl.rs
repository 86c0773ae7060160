//! The tour with the real kubectl: what people type, and what they see.

use std::{
    io::{BufRead as _, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::support::Served;
use crate::require;

/// kubectl of one user, in one scratch home.
struct Kubectl<'a> {
    program: &'a Path,
    served: &'a Served,
    config: PathBuf,
}

impl Kubectl<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let home = self.served.directory();
        let mut command = Command::new(self.program);
        command.args(args).env("HOME", home).env("KUBECONFIG", &self.config).current_dir(home);
        command
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, command: &str, input: &str) -> String {
        let out = self.run(&words(command), input);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "kubectl {command}\n{}{error}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Standard error of a command that must fail.
    fn fails(&self, command: &str, input: &str) -> String {
        let out = self.run(&words(command), input);
        assert!(!out.status.success(), "kubectl {command} succeeded: {}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8_lossy(&out.stderr).into_owned()
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

const GIT: &str = "
apiVersion: content.example.dev/v1
kind: Program
metadata: {name: git}
spec: {command: install, size: 2, vars: {a: b}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour() {
    let Some(program) = require::program("kubectl") else { return };
    let Some(served) = Served::listening().await else { return };
    if !served.collects() {
        return require::missing("kube-controller-manager", "it empties deleted namespaces");
    }
    let tour = tokio::task::spawn_blocking(move || {
        let k = Kubectl { program: &program, served: &served, config: served.kubeconfig() };
        declared(&k);
        imperative(&k);
        edited(&k);
        ended(&k);
        viewed(&Kubectl { program: &program, served: &served, config: served.viewers_kubeconfig() });
    });
    tour.await.unwrap();
}

fn declared(k: &Kubectl<'_>) {
    assert!(k.ok("apply -f -", GIT).contains("program.content.example.dev/git created"));
    assert!(k.ok("apply -f -", GIT).contains("unchanged"));
    let changed = GIT.replace("size: 2", "size: 3");
    let diff = k.run(&words("diff -f -"), &changed);
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    assert!(String::from_utf8_lossy(&diff.stdout).contains("+  size: 3"));
    assert!(k.ok("apply -f -", &changed).contains("configured"));
    assert!(k.fails("apply -f -", &GIT.replace("size", "sighs")).contains("unknown field \"spec.sighs\""));
    assert!(k.fails("apply -f -", &GIT.replace("command: install", "command: 1x")).contains("spec.command"));
    assert!(
        k.ok("apply --dry-run=server -f -", &GIT.replace("name: git", "name: dry"))
            .contains("created (server dry run)")
    );
    assert!(k.fails("get programs dry", "").contains("NotFound"));

    let second = GIT.replace("name: git", "name: ssa");
    assert!(k.ok("apply --server-side -f -", &second).contains("serverside-applied"));
    let other = second.replace("size: 2", "size: 7");
    assert!(k.fails("apply --server-side --field-manager=other -f -", &other).contains("conflict with \"kubectl\""));
    k.ok("apply --server-side --field-manager=other --force-conflicts -f -", &other);
    assert_eq!(k.ok("get program ssa -o jsonpath={.spec.size}", ""), "7");

    let table = k.ok("get prog", "");
    assert!(table.lines().next().unwrap().starts_with("NAME"), "{table}");
    assert!(k.ok("get all", "").contains("program.content.example.dev/git"));
    assert!(k.ok("get programs -o name --sort-by=.metadata.creationTimestamp", "").contains("/ssa"));
    assert!(k.ok("describe program git", "").contains("Command:"));
    assert!(k.ok("explain program.spec.steps", "").contains("FIELDS"));
    assert!(k.ok("explain namespace.metadata.labels", "").contains("FIELD: labels"));
    assert!(k.ok("api-resources", "").contains("content.example.dev/v1"));
    assert!(k.ok("get crd", "").contains("programs.content.example.dev"));
    assert!(k.ok("version", "").contains("Server Version: v1."));
}

/// Commands that send protobuf.
fn imperative(k: &Kubectl<'_>) {
    let prod = k.served.unique("prod");
    k.ok(&format!("create namespace {prod}"), "");
    k.ok("create configmap x --from-literal=a=b", "");
    k.ok("create secret generic s --from-literal=a=b", "");
    assert_eq!(k.ok("get secret s -o jsonpath={.data.a}", ""), "Yg==");
    assert_eq!(k.ok("get cm x -o jsonpath={.data.a}", ""), "b");
    assert!(k.ok("get cm,secrets", "").contains("Opaque"));
    k.ok(&format!("create -n {prod} -f -"), GIT);
    assert!(k.fails(&format!("create -n {prod} -f -"), GIT).contains("already exists"));
    assert!(k.ok("get programs -A", "").contains(&prod));
    assert!(k.ok("get ns", "").contains("Active"));
    assert_eq!(k.ok("auth can-i create programs.content.example.dev", "").trim(), "yes");
    assert!(k.ok("auth can-i --list", "").contains("[*]"));
    assert!(k.ok("auth whoami", "").contains("waybill:admin"));
    assert!(
        k.ok("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {c: d}\n")
            .contains("configured")
    );
    assert_eq!(k.ok("get cm x -o jsonpath={.data}", ""), r#"{"a":"b","c":"d"}"#);
}

fn edited(k: &Kubectl<'_>) {
    k.ok(r#"patch program git --type=json -p [{"op":"replace","path":"/spec/size","value":5}]"#, "");
    k.ok(r#"patch program git --type=merge -p {"spec":{"size":6}}"#, "");
    k.ok("label program git team=ops", "");
    k.ok("annotate program git a=b", "");
    let listed = k.ok("get programs -l team=ops,!foo --show-labels", "");
    assert!(listed.contains("team=ops") && !listed.contains("ssa"), "{listed}");
    assert_eq!(
        k.ok("get program --field-selector metadata.name=git -o name", "").trim(),
        "program.content.example.dev/git"
    );
    let script = k.served.directory().join("editor");
    std::fs::write(&script, "#!/bin/sh\nsed -i 's/size: 6/size: 8/' \"$1\"\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let edit = k.command(&["edit", "program", "git"]).env("EDITOR", &script).output().unwrap();
    assert!(edit.status.success(), "{}", String::from_utf8_lossy(&edit.stderr));
    assert_eq!(k.ok("get program git -o jsonpath={.spec.size}", ""), "8");
    k.ok(
        r#"patch program git --subresource=status --type=merge -p {"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#,
        "",
    );
    k.ok("wait --for=condition=Ready program/git --timeout=5s", "");
    let version = k.ok("get program git -o yaml", "");
    k.ok("replace -f -", &version);
}

fn ended(k: &Kubectl<'_>) {
    let watch = ["get", "programs", "-w", "--no-headers", "--request-timeout=60s"];
    let mut watching = k.command(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("git ")), "what is there comes first");
    k.ok("create -f -", &GIT.replace("name: git", "name: seen"));
    assert!(lines.any(|line| line.starts_with("seen ")), "then what happens");
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(k.ok("delete program ssa", "").contains("deleted"));
    k.ok("delete -f -", GIT);
    let prod = k.served.unique("prod");
    k.ok(&format!("delete programs --all -n {prod}"), "");
    k.ok(&format!("delete namespace {prod} --timeout=60s"), "");
    assert!(k.fails(&format!("get ns {prod}"), "").contains("NotFound"));
}

fn viewed(k: &Kubectl<'_>) {
    k.ok("get programs", "");
    assert!(k.fails("get secrets", "").contains("Forbidden"));
    assert!(k.fails("delete program seen", "").contains("Forbidden"));
    assert_eq!(k.run(&words("auth can-i delete programs.content.example.dev"), "").status.code(), Some(1));
}
