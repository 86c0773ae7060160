//! Committed files that the code generates: the CRDs under `crds/` and the same bytes in the chart, the help of every verb in
//! docs/cli.md, the table of the chart's values, Argo CD's health checks,
//! JSON Schemas for editors. They are committed so that a change of the code shows
//! its effect in review, and compared here; `UPDATE=1 cargo test --test generated` writes them.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a tree that cannot be read or written is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

#[test]
fn crds_are_what_the_code_generates() {
    let crds = waybill::api::crds();
    let generated = crds.iter().map(|crd| {
        let header = "# Generated from src/api by `UPDATE=1 cargo test --test generated`.\n";
        let name = format!("{}.yaml", crd.spec.names.plural);
        (name, format!("{header}{}", serde_yaml::to_string(crd).unwrap()))
    });
    let generated: BTreeMap<String, String> = generated.collect();
    compare(&root().join("crds"), &generated, update());
    // Helm packs what lies in the chart's own folder, and nothing that lies elsewhere.
    compare(&root().join("charts/waybill/crds"), &generated, update());
}

/// The folder is that of the group, and the one file beside it.
#[test]
fn json_schemas_are_what_the_code_generates() {
    let mut generated = waybill::api::json_schema::json_schemas(&waybill::api::crds());
    let text = |schema: serde_json::Value| format!("{schema:#}\n");
    let all = text(generated.remove("all.json").unwrap());
    let group = format!("{}/", waybill::api::GROUP);
    let of_group = |name: String| name.strip_prefix(&group).unwrap().to_owned();
    let generated = generated.into_iter().map(|(name, schema)| (of_group(name), text(schema))).collect();
    compare(&root().join("schemas").join(waybill::api::GROUP), &generated, update());
    let path = root().join("schemas/all.json");
    if update() {
        fs::write(&path, &all).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == all, "schemas/all.json: UPDATE=1 cargo test --test generated");
}

#[test]
fn committed_crds_read_back_as_they_are() {
    if update() {
        return; // being written by the other test
    }
    for crd in waybill::api::crds() {
        let text = fs::read_to_string(root().join("crds").join(format!("{}.yaml", crd.spec.names.plural))).unwrap();
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(
            read,
            serde_json::to_value(&crd).unwrap(),
            "{} changes on its way through YAML",
            crd.spec.names.plural
        );
    }
}

#[test]
fn the_charts_values_are_in_its_readme() {
    let chart = root().join("charts/waybill");
    let schema = serde_json::from_str(&fs::read_to_string(chart.join("values.schema.json")).unwrap()).unwrap();
    let values = serde_yaml::from_str(&fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    rows(&schema, &values, "", &mut table);
    let path = chart.join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = text.find("| value | default |").unwrap_or(text.len());
    let end = text[begin..].find("\n\n").map_or(text.len(), |length| begin + length + 1);
    let expected = format!("{}{table}{}", &text[..begin], &text[end..]);
    if update() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        update() || text == expected,
        "charts/waybill/README.md has other values: UPDATE=1 cargo test --test generated"
    );
    assert!(table.contains("| `persistence.size` | `\"20Gi\"` | Room for"), "{table}");
}

/// A row for each value that the schema describes.
fn rows(schema: &serde_json::Value, values: &serde_json::Value, path: &str, table: &mut String) {
    for (key, value) in values.as_object().unwrap() {
        let (known, path) = (&schema["properties"][key], format!("{path}{key}"));
        match known["description"].as_str() {
            Some(meaning) => table.push_str(&format!("| `{path}` | `{value}` | {} |\n", meaning.replace('|', "\\|"))),
            None => rows(known, value, &format!("{path}."), table),
        }
    }
}

/// Argo CD wants the script once for each kind, and has no other place for it than this ConfigMap.
#[test]
fn argo_cds_health_checks_are_the_script_for_every_kind() {
    let folder = root().join("gitops/argocd");
    let script = fs::read_to_string(folder.join("health.lua")).unwrap();
    let script: String = script.lines().map(|line| format!("    {line}\n").replace("    \n", "\n")).collect();
    let mut expected = String::from(
        "# Generated from health.lua by `UPDATE=1 cargo test --test generated`. It adds to the ConfigMap that Argo CD has:\n\
         # kubectl apply --server-side --field-manager=waybill-health -f argocd-cm.yaml\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm, namespace: argocd}\ndata:\n",
    );
    for crd in waybill::api::crds() {
        let (group, kind) = (crd.spec.group, crd.spec.names.kind);
        expected.push_str(&format!("  resource.customizations.health.{group}_{kind}: |\n{script}"));
    }
    let path = folder.join("argocd-cm.yaml");
    if update() {
        fs::write(&path, &expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == expected, "gitops/argocd/argocd-cm.yaml: UPDATE=1 cargo test --test generated");
}

#[test]
fn command_line_help_is_what_the_program_says() {
    let mut pages = String::from(
        "# The command line\n\nGenerated by `UPDATE=1 cargo test --test generated`: what `--help` says of every verb.\n",
    );
    write_help(&mut pages, "waybill", &[]);
    pages.push_str(PLUGIN);
    write_help(&mut pages, "kubectl waybill", &[]);
    let path = root().join("docs/cli.md");
    if update() {
        fs::write(&path, &pages).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == pages, "docs/cli.md is not what --help says: UPDATE=1 cargo test --test generated");
    assert!(pages.contains("\n## `waybill apiserver`\n"), "no verb was found in the help of `waybill`");
}

/// What stands before the help of the plugin.
const PLUGIN: &str = "\n# The kubectl plugin\n\nThe same program under the name `kubectl-waybill`, and under that of \
`kubectl_complete-waybill` for completion, in the `PATH`.\n";

/// Appends the help of `PROGRAM ARGS` and of every verb below it.
fn write_help(pages: &mut String, program: &str, verb: &[&str]) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
    let output =
        command.arg0(program.replace(' ', "-")).args(verb).arg("--help").env_remove("COLUMNS").output().unwrap();
    assert!(
        output.status.success(),
        "{program} {} --help: {}",
        verb.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    let help = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = std::iter::once(program).chain(verb.iter().copied()).collect::<Vec<_>>().join(" ");
    pages.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    for below in verbs(&lines) {
        write_help(pages, program, &[verb, &[below]].concat());
    }
}

/// The verbs that a help text lists.
fn verbs<'a>(help: &[&'a str]) -> Vec<&'a str> {
    let listed = help.iter().skip_while(|line| **line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let first_words =
        listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next());
    first_words.filter(|verb| *verb != "help").collect()
}

/// Holds the files of `folder` against `generated` (file name to content), or writes them. A file too many is a difference.
#[track_caller]
fn compare(folder: &Path, generated: &BTreeMap<String, String>, update: bool) {
    let mut differences = Vec::new();
    for (name, content) in generated {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(content) {
            differences.push(path.clone());
            if update {
                fs::create_dir_all(folder).unwrap();
                fs::write(&path, content).unwrap();
            }
        }
    }
    for path in fs::read_dir(folder).map(Iterator::collect::<Vec<_>>).unwrap_or_default() {
        let path: PathBuf = path.unwrap().path();
        if !generated.contains_key(path.file_name().unwrap().to_str().unwrap()) {
            differences.push(path.clone());
            if update {
                fs::remove_file(&path).unwrap();
            }
        }
    }
    assert!(
        update || differences.is_empty(),
        "not what the code generates (UPDATE=1 cargo test --test generated): {differences:?}"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "the test run's own switch")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn planted_differences_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let generated = BTreeMap::from([("a.yaml".to_owned(), "a: 1\n".to_owned())]);
    let differs = || std::panic::catch_unwind(|| compare(folder.path(), &generated, false)).is_err();
    assert!(differs(), "a missing file");
    compare(folder.path(), &generated, true);
    assert!(!differs());
    fs::write(folder.path().join("a.yaml"), "a: 2\n").unwrap();
    assert!(differs(), "another content");
    compare(folder.path(), &generated, true);
    fs::write(folder.path().join("b.yaml"), "").unwrap();
    assert!(differs(), "a file too many");
    compare(folder.path(), &generated, true);
    assert!(!differs() && !folder.path().join("b.yaml").exists());
}
