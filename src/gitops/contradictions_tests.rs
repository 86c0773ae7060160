//! Contradictions between objects, each shown with the place where it stands.

use super::{
    contradictions::contradictions,
    kinds::{Kinds, ObjectKey},
    load::load,
};

/// A package, its program, distribution, collection and advertisement without a contradiction.
const GOOD: &str = "\
apiVersion: waybill.dev/v1alpha1
kind: Package
metadata: {name: office}
spec: {source: {directory: {path: src}}, access: {collections: [everybody]}}
---
apiVersion: waybill.dev/v1alpha1
kind: Program
metadata: {name: install}
spec: {packageRef: office, argv: [setup.sh]}
---
apiVersion: waybill.dev/v1alpha1
kind: Distribution
metadata: {name: office}
spec: {package: office, distributionPoints: {all: {}}}
---
apiVersion: waybill.dev/v1alpha1
kind: Collection
metadata: {name: everybody}
spec: {query: 'client.os.distribution == \"debian\"'}
---
apiVersion: waybill.dev/v1alpha1
kind: Advertisement
metadata: {name: office}
spec: {program: install, collection: everybody, userMayStart: true}
";

fn check(changes: &[(&str, &str)], expected: &[&str]) {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.yaml"), text).unwrap();
    let manifests = load(root.path(), &Kinds::of(&crate::api::crds())).unwrap();
    assert_eq!(manifests.diagnostics, []);
    let found: Vec<String> =
        contradictions(&manifests, &|key| *key == ObjectKey::namespaced("Package", "default", "by-hand"))
            .iter()
            .map(|found| found.to_string().lines().next().unwrap_or_default().to_owned())
            .collect();
    let as_expected =
        found.len() == expected.len() && found.iter().zip(expected).all(|(one, start)| one.starts_with(start));
    assert!(as_expected, "{found:#?} instead of {expected:#?}");
}

#[test]
fn a_system_directory_is_no_source() {
    for path in ["/etc", "/", "/usr/share/x", "/srv/../etc/ssl", "//etc/./"] {
        check(
            &[("path: src", &format!("path: {path}"))],
            &[&format!("a.yaml:4:29: `{path}` belongs to the operating")],
        );
    }
    for path in ["/srv/packages", "/usr/local/packages", "etc", "/etcetera"] {
        check(&[("path: src", &format!("path: {path}"))], &[]);
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    check(&[], &[]);
    check(&[("packageRef: office", "packageRef: by-hand")], &[]);
}

#[test]
fn references_lead_somewhere() {
    check(
        &[("packageRef: office", "packageRef: offcie")],
        &["a.yaml:9:8: Package `offcie` does not exist in namespace default"],
    );
    check(
        &[("program: install", "program: setup")],
        &["a.yaml:24:8: Program `setup` does not exist in namespace default"],
    );
    check(
        &[("collections: [everybody]", "collections: [nobody]")],
        &["a.yaml:4:65: Collection `nobody` does not exist in namespace default"],
    );
    check(
        &[("metadata: {name: everybody}", "metadata: {name: everybody, namespace: other}")],
        &[
            "a.yaml:4:65: Collection `everybody` does not exist in namespace default",
            "a.yaml:24:26: Collection `everybody` does not exist in namespace default",
        ],
    );
}

#[test]
fn programs_end_their_dependencies_and_find_their_command() {
    check(
        &[("argv: [setup.sh]", "argv: [setup.sh], dependsOn: {program: install}")],
        &["a.yaml:9:58: dependsOn leads back to program `install`: break the circle"],
    );
    check(
        &[("{directory: {path: src}}", "{none: {}}")],
        &[
            "a.yaml:9:28: `setup.sh` would be a file of package `office`, which has none: name an absolute path",
            "a.yaml:14:8: warning: package `office` has no files; there is nothing to distribute",
        ],
    );
}

#[test]
fn an_advertisement_fits_its_program() {
    check(
        &[
            ("{directory: {path: src}}", "{none: {}}"),
            ("[setup.sh]", "[/bin/true]"),
            ("userMayStart: true", "userMayStart: true, rerun: OncePerVersion"),
        ],
        &[
            "a.yaml:14:8: warning: package `office` has no files; there is nothing to distribute",
            "a.yaml:24:69: rerun OncePerVersion contradicts package `office`, which has no files and so no versions",
        ],
    );
    check(
        &[("argv: [setup.sh]", "argv: [setup.sh], disabled: true")],
        &["a.yaml:24:8: warning: program `install` is disabled: nothing will run"],
    );
    check(
        &[("{package: office,", "{package: by-hand,")],
        &["a.yaml:24:8: warning: no Distribution here brings package `office` to clients"],
    );
}

#[test]
fn a_distribution_can_become_ready_and_a_query_is_an_expression() {
    check(
        &[("{all: {}}", "{names: [a]}, minAvailable: 2")],
        &[
            "a.yaml:14:59: minAvailable is 2, but only 1 distribution points are named: it can never be Ready",
            "a.yaml:14:54: warning: no DistributionPoint `a` is declared here",
        ],
    );
    check(&[("client.os.distribution ==", "client.os.distribution =")], &["a.yaml:19:8: the query does not parse"]);
}

#[test]
fn a_site_of_the_tree_grants_what_is_advertised() {
    let site = |spec: &str| {
        format!(
            "userMayStart: true}}\n---\napiVersion: waybill.dev/v1alpha1\nkind: Site\nmetadata: {{name: main}}\nspec: {spec}"
        )
    };
    let check = |spec: &str, expected: &[&str]| check(&[("userMayStart: true}", &site(spec))], expected);
    check("{namespaces: [{name: '*'}, {name: web, query: 'false'}]}", &[]);
    check("{namespaces: [{name: default, maxClients: 3}]}", &[]);
    check("{}", &["a.yaml:29:1: warning: spec.namespaces grants no namespace a client: nothing that is advertised"]);
    check(
        "{namespaces: [{name: web}]}",
        &["a.yaml:23:1: warning: Site `main` grants namespace default no client: this reaches nobody"],
    );
    check(
        "{namespaces: [{name: default, runAs: [app, web]}]}",
        &[
            "a.yaml:24:8: warning: program `install` runs as the agent's own user, and Site `main` lets namespace default \
           run as app, web only",
        ],
    );
    check(
        "{namespaces: [{name: '*'}, {name: web, query: 'client.id ='}]}",
        &["a.yaml:29:46: grant `web` reaches nobody: the query does not parse"],
    );
}
