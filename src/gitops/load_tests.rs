//! Trees of manifests, good and bad, loaded from real directories.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{
    diagnostic::Severity,
    kinds::{Kinds, ObjectKey},
    load::{LoadError, MAX_DEPTH, MAX_FILE_BYTES, Manifests, load},
};

fn kinds() -> Kinds {
    Kinds::of(&crate::api::crds())
}

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(root.path(), path, text);
    }
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn loaded(files: &[(&str, &str)]) -> Manifests {
    load(tree(files).path(), &kinds()).unwrap()
}

fn names(manifests: &Manifests) -> Vec<String> {
    manifests.objects.iter().map(|object| object.key.to_string()).collect()
}

fn shown(manifests: &Manifests) -> Vec<String> {
    manifests.diagnostics.iter().map(ToString::to_string).collect()
}

fn package(name: &str, source: &str) -> String {
    format!("apiVersion: waybill.dev/v1alpha1\nkind: Package\nmetadata:\n  name: {name}\nspec:\n  source: {source}\n")
}

fn collection(name: &str) -> String {
    format!("apiVersion: waybill.dev/v1alpha1\nkind: Collection\nmetadata: {{name: {name}}}\nspec: {{clients: [a]}}\n")
}

#[test]
fn every_manifest_of_the_tree_and_nothing_else() {
    let manifests = loaded(&[
        ("a.yaml", &format!("{}---\n{}", collection("one"), collection("two"))),
        ("deep/er/b.yml", &collection("three")),
        (".git/c.yaml", &collection("hidden")),
        ("d.txt", &collection("text")),
        ("e.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        ("f.yaml", "# nothing\n"),
    ]);
    assert_eq!(names(&manifests), ["Collection default/one", "Collection default/two", "Collection default/three"]);
    assert_eq!(
        shown(&manifests),
        [
            "e.yaml:1:1: note: ConfigMap of v1 is not of waybill.dev and is ignored\n 1 | apiVersion: v1\n   | ^",
            "kustomization.yaml:1:1: note: this document is not of waybill.dev and is ignored\n 1 | resources: [a.yaml]\n   | ^",
        ]
    );
    assert_eq!(manifests.objects[1].line(), 6);
    assert_eq!(manifests.objects[1].object["metadata"]["namespace"], "default");
}

#[test]
fn nothing_beneath_a_package_source_is_a_manifest() {
    let manifests = loaded(&[
        ("content/app/kustomize/bad.yaml", "a: [\n"),
        ("content/app/trap.yaml", &collection("trap")),
        ("content/app/nested/package.yaml", &package("nested", "{directory: {path: packages}}")),
        ("content/application/c.yaml", &collection("kept")),
        ("packages/office.yaml", &package("office", "{directory: {path: ./content/app/}}")),
    ]);
    assert_eq!(names(&manifests), ["Collection default/kept", "Package default/office"]);
    assert_eq!(shown(&manifests), [] as [&str; 0]);
}

#[test]
fn a_source_that_would_hide_manifests_is_an_error_and_hides_nothing() {
    let manifests =
        loaded(&[("apps/office.yaml", &package("office", "{directory: {path: apps}}")), ("x.yaml", &collection("x"))]);
    assert_eq!(names(&manifests), ["Package default/office", "Collection default/x"]);
    assert!(
        shown(&manifests)[0]
            .starts_with("apps/office.yaml:6:12: the source directory `apps` holds the manifest apps/office.yaml"),
        "{:?}",
        shown(&manifests)
    );
    let whole = loaded(&[("m.yaml", &package("all", "{directory: {path: .}}"))]);
    assert!(shown(&whole)[0].contains("the source directory `.`, which is all of the tree, holds the manifest m.yaml"));
}

#[test]
fn a_broken_file_hides_nothing_of_others_and_its_objects_count_as_present() {
    let manifests = loaded(&[
        ("good.yaml", &collection("good")),
        ("bad.yaml", &format!("{}---\n{}spec: [\n", collection("first"), collection("second"))),
    ]);
    assert_eq!(names(&manifests), ["Collection default/good"]);
    assert!(shown(&manifests)[0].starts_with("bad.yaml:"), "{:?}", shown(&manifests));
    assert_eq!(manifests.diagnostics[0].severity, Severity::Error);
    for name in ["first", "second"] {
        assert!(manifests.may_declare(&ObjectKey::namespaced("Collection", "default", name), None));
    }
    let known_before = ObjectKey::namespaced("Program", "default", "gone-from-the-text");
    assert!(manifests.may_declare(&known_before, Some("bad.yaml")));
    assert!(!manifests.may_declare(&known_before, Some("good.yaml")));
}

#[test]
fn a_broken_file_of_somebody_else_is_only_a_warning() {
    let manifests = loaded(&[("chart.yaml", "name: {{ .Values.name }}\nx: [\n")]);
    assert_eq!(manifests.diagnostics[0].severity, Severity::Warning);
}

#[test]
fn what_cannot_be_applied_is_named_with_its_place_and_counts_as_present() {
    let cases = [
        ("kind: Packages", "metadata: {name: x}", "a.yaml:2:1: waybill.dev has no kind Packages; it has Site"),
        ("kind: Package", "metadata: {}", "a.yaml:3:1: `metadata.name` is missing"),
        ("kind: Package", "metadata: {name: no}", "a.yaml:3:12: `metadata.name` must be text: quote it"),
        ("kind: Site", "metadata: {name: x, namespace: apps}", "a.yaml:3:21: Site is cluster-scoped"),
        ("kind: Package", "metadata: {name: x, uid: y}", "a.yaml:3:21: `metadata.uid` is not for manifests"),
        ("kind: Package", "metadata: {name: x}\nstatus: {}", "a.yaml:4:1: `status` is written by the site"),
        ("kind: Package", "metadata: {name: x, labels: {a: 1}}", "a.yaml:3:30: the value of `a` must be text"),
    ];
    for (kind, rest, expected) in cases {
        let manifests = loaded(&[("a.yaml", &format!("apiVersion: waybill.dev/v1alpha1\n{kind}\n{rest}\n"))]);
        assert!(manifests.objects.is_empty());
        let problem = &shown(&manifests)[0];
        assert!(problem.starts_with(expected), "{problem}");
        let key = ObjectKey { kind: kind[6..].to_owned(), namespace: None, name: "x".to_owned() };
        let key = if key.kind == "Package" { ObjectKey { namespace: Some("default".into()), ..key } } else { key };
        assert!(manifests.may_declare(&key, Some("a.yaml")), "{key}");
    }
    let served = loaded(&[("a.yaml", "apiVersion: fleet.waybill.dev/v1alpha1\nkind: Client\nmetadata: {name: x}\n")]);
    assert_eq!(served.diagnostics[0].severity, Severity::Error);
    let old = loaded(&[("a.yaml", "apiVersion: waybill.dev/v1\nkind: Collection\nmetadata: {name: x}\n")]);
    assert!(shown(&old)[0].starts_with("a.yaml:1:1: the served version is waybill.dev/v1alpha1"));
}

#[test]
fn an_object_declared_twice_is_applied_from_neither_place() {
    let manifests = loaded(&[("a.yaml", &collection("x")), ("b/c.yaml", &format!("\n{}", collection("x")))]);
    assert!(manifests.objects.is_empty());
    let key = ObjectKey::namespaced("Collection", "default", "x");
    assert!(manifests.may_declare(&key, None));
    assert!(
        shown(&manifests)[0].starts_with("a.yaml:3:12: Collection default/x is declared twice, also at b/c.yaml:4:12")
    );
    assert!(
        shown(&manifests)[1].starts_with("b/c.yaml:4:12: Collection default/x is declared twice, also at a.yaml:3:12")
    );
}

#[test]
fn links_and_unreadable_directories_are_named_and_keep_what_was_there() {
    let root = tree(&[("a.yaml", &collection("x"))]);
    let outside = tree(&[("secret.yaml", &collection("secret"))]);
    symlink(outside.path().join("secret.yaml"), root.path().join("l.yaml")).unwrap();
    symlink(outside.path(), root.path().join("dir")).unwrap();
    let manifests = load(root.path(), &kinds()).unwrap();
    assert_eq!(names(&manifests), ["Collection default/x"]);
    assert_eq!(manifests.diagnostics.len(), 2);
    let key = ObjectKey::namespaced("Collection", "default", "was-there");
    assert!(manifests.may_declare(&key, Some("dir/was.yaml")));
    assert!(!manifests.may_declare(&key, Some("directory/was.yaml")));
}

#[test]
fn limits() {
    let size = |extra: usize| "#".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + extra);
    assert_eq!(shown(&loaded(&[("a.yaml", &size(0))])), [] as [&str; 0]);
    let manifests = loaded(&[("a.yaml", &size(1))]);
    assert!(shown(&manifests)[0].contains("split it"));
    assert_eq!(manifests.unclear.len(), 1);

    let at = |depth: usize| format!("{}a.yaml", "d/".repeat(depth));
    assert_eq!(loaded(&[(&at(MAX_DEPTH - 1), &collection("x"))]).objects.len(), 1);
    let deep = loaded(&[(&at(MAX_DEPTH), &collection("x"))]);
    assert!(deep.objects.is_empty());
    assert!(deep.may_declare(&ObjectKey::namespaced("Collection", "default", "x"), Some(&at(MAX_DEPTH))));
}

#[test]
fn a_missing_directory_is_no_tree_without_objects() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(load(&root.path().join("missing"), &kinds()), Err(LoadError::Root { .. })));
    assert_eq!(load(root.path(), &kinds()).unwrap().objects.len(), 0);
}

#[test]
fn the_digest_tells_trees_apart() {
    let one = loaded(&[("a.yaml", &collection("x"))]);
    assert_eq!(one.digest, loaded(&[("a.yaml", &collection("x")), ("other.txt", "x")]).digest);
    assert_ne!(one.digest, loaded(&[("b.yaml", &collection("x"))]).digest);
    assert_ne!(one.digest, loaded(&[("a.yaml", &collection("y"))]).digest);
}

#[test]
fn a_thousand_objects() {
    let text = (0..100).map(|i| format!("{}---\n", collection(&format!("c{i}")))).collect::<String>();
    let files: Vec<(String, String)> =
        (0..10).map(|i| (format!("{i}.yaml"), text.replace("name: c", &format!("name: f{i}-")))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let manifests = loaded(&files);
    assert_eq!(manifests.objects.len(), 1000);
    assert_eq!(manifests.diagnostics, []);
}

#[test]
fn a_slip_in_the_group_is_an_error_at_its_place_and_removes_nothing() {
    let slipped = collection("two").replace("waybill.dev", "waybil.dev");
    let bare = collection("three").replace("apiVersion: waybill.dev/v1alpha1\n", "");
    let manifests = loaded(&[("a.yaml", &format!("{}---\n{slipped}", collection("one"))), ("b.yaml", &bare)]);
    assert_eq!(names(&manifests), ["Collection default/one"]);
    assert_eq!(
        shown(&manifests),
        [
            "a.yaml:6:1: there is no group `waybil.dev`: write `apiVersion: waybill.dev/v1alpha1`\n \
             6 | apiVersion: waybil.dev/v1alpha1\n   | ^",
            "b.yaml:1:1: Collection has no `apiVersion`: write `apiVersion: waybill.dev/v1alpha1`\n \
             1 | kind: Collection\n   | ^",
        ]
    );
    assert!(manifests.diagnostics.iter().all(|one| one.severity == Severity::Error));
    for name in ["two", "three"] {
        assert!(manifests.may_declare(&ObjectKey::namespaced("Collection", "default", name), None), "{name}");
    }
}
