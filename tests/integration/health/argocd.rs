//! The health script of `gitops/argocd`, run by the Lua that Argo CD has in it, with no more of its library than Argo CD gives.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use waybill::{apiserver::fleet, gitops::kinds::GROUP};

use super::recorded::{Recorded, all, kinds, states};
use crate::require;

/// What Argo CD leaves out of the library.
const WITHOUT: &str = "io, os, string, math, debug, coroutine, channel, dofile, loadfile = nil\n";

fn file(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("gitops/argocd").join(name)).unwrap()
}

/// The scripts of the ConfigMap, by kind.
fn scripts() -> Vec<(String, String)> {
    let map: Value = serde_yaml::from_str(&file("argocd-cm.yaml")).unwrap();
    let of = |(key, script): (&String, &Value)| {
        let kind = key.strip_prefix(&format!("resource.customizations.health.{GROUP}_")).unwrap();
        (kind.to_owned(), script.as_str().unwrap().to_owned())
    };
    map["data"].as_object().unwrap().iter().map(of).collect()
}

/// A JSON value as Lua has it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("[{}]={}", quoted(key), literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::String(text) => quoted(text),
        plain => plain.to_string(),
    }
}

/// Every byte by its number: nothing to escape is forgotten.
fn quoted(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
    format!("\"{bytes}\"")
}

/// What the script says of each object: status and message.
fn judge(lua: &PathBuf, script: &str, objects: &[&Value]) -> Vec<(String, String)> {
    let mut program = WITHOUT.to_owned();
    for object in objects {
        program.push_str(&format!("obj = {}\nhs = (function()\n{script}\nend)()\n", literal(object)));
        program.push_str("print(hs.status); print(hs.message)\n");
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("program.lua");
    fs::write(&path, program).unwrap();
    let output = Command::new(lua).arg(path).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && error.is_empty(), "{text}{error}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), objects.len() * 2, "a line of status and one of message: {text}");
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

#[test]
fn argo_cd_sees_every_object_as_it_is() {
    let Some(lua) = require::program("glua") else { return };
    let recorded = all();
    for (kind, script) in scripts() {
        let objects: Vec<&Recorded> = recorded.iter().filter(|one| one.object["kind"] == kind.as_str()).collect();
        let mut met: Vec<_> = objects.iter().map(|one| one.state).collect();
        met.sort();
        assert_eq!(met, states(&kind), "{kind} is recorded in every state");
        let judged = judge(&lua, &script, &objects.iter().map(|one| &one.object).collect::<Vec<_>>());
        for (one, (status, message)) in objects.iter().zip(judged) {
            assert_eq!(status, one.state.in_argocd(), "{kind} {:?}: {message}", one.state);
            assert!(message.len() > 3 && message != "nil", "{kind} {:?}: {message}", one.state);
        }
    }
}

#[test]
fn what_has_no_status_at_all_is_waited_for() {
    let Some(lua) = require::program("glua") else { return };
    let object = serde_json::json!({"metadata": {"name": "x", "generation": 1}, "spec": {}});
    let silent =
        serde_json::json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}});
    for (status, _) in judge(&lua, &file("health.lua"), &[&object, &silent]) {
        assert_eq!(status, "Progressing");
    }
}

/// With the argument that a kind might be forgotten: a new one fails here.
#[test]
fn argo_cd_has_a_script_for_every_kind() {
    let (mut scripts, mut kinds) = (scripts(), kinds());
    scripts.sort();
    kinds.sort();
    assert_eq!(scripts.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), kinds.iter().collect::<Vec<_>>());
    assert!(scripts.iter().all(|(_, script)| *script == file("health.lua")));
}

#[test]
fn argo_cd_is_told_to_leave_out_the_fleets_rows_and_nothing_else() {
    let excluded: Value = serde_yaml::from_str(&file("exclusions.yaml")).unwrap();
    assert_eq!(excluded, serde_json::json!([{"apiGroups": [fleet::GROUP], "kinds": ["*"], "clusters": ["*"]}]));
    assert_ne!(fleet::GROUP, GROUP);
}
