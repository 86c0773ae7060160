//! What each account and role of the chart may do, held against tables; and that every rule says what it is for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Helm, folder, name, of_kind, only, texts};

/// A right as `group/resource` or `group/resource:name`, with its verbs.
type Table<'a> = &'a [(&'a str, &'a str)];

const KINDS: [&str; 8] = [
    "advertisements",
    "clientagentconfigs",
    "collections",
    "distributionpoints",
    "distributions",
    "packages",
    "programs",
    "sites",
];

/// The rights of a role, one a resource and name.
fn rights(role: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = texts(&rule["resourceNames"]);
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let all = [String::new()];
                let named: Vec<String> = names.iter().map(|name| format!(":{name}")).collect();
                for name in if names.is_empty() { &all[..] } else { &named[..] } {
                    let verbs = rights.entry(format!("{group}/{resource}{name}")).or_default();
                    verbs.extend(texts(&rule["verbs"]).into_iter().map(str::to_owned));
                }
            }
        }
    }
    rights
}

#[track_caller]
fn expect(role: &Value, expected: &BTreeMap<String, BTreeSet<String>>) {
    assert_eq!(&rights(role), expected, "{} {}", role["kind"], name(role));
}

/// A table, and the same verbs for each of the kinds.
fn table(each_kind: &str, more: Table<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let kinds = KINDS.map(|kind| (format!("waybill.dev/{kind}"), each_kind));
    let more = more.iter().map(|(what, verbs)| ((*what).to_owned(), *verbs));
    for (what, verbs) in kinds.into_iter().chain(more) {
        let verbs = verbs.split_whitespace().map(str::to_owned);
        table.entry(what).or_default().extend(verbs);
    }
    table.retain(|_, verbs| !verbs.is_empty());
    table
}

fn role<'a>(objects: &'a [Value], kind: &'a str, wanted: &str) -> &'a Value {
    of_kind(objects, kind).find(|role| name(role) == wanted).unwrap_or_else(|| panic!("no {kind} {wanted}"))
}

#[test]
fn the_sites_account_may_do_what_the_table_says_and_nothing_else() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[]);
    let status: Vec<(String, &str)> =
        KINDS.iter().map(|kind| (format!("waybill.dev/{kind}/status"), "patch")).collect();
    let mut more: Vec<(&str, &str)> = status.iter().map(|(what, verbs)| (what.as_str(), *verbs)).collect();
    more.extend([
        ("waybill.dev/packages", "patch"),
        ("waybill.dev/sites", "create"),
        ("waybill.dev/distributionpoints", "create"),
        ("events.k8s.io/events", "create patch"),
        ("waybill.dev/sites:main", "get"),
        ("authentication.k8s.io/tokenreviews", "create"),
        ("authorization.k8s.io/subjectaccessreviews", "create"),
    ]);
    expect(role(&objects, "ClusterRole", "waybill:fleet:waybill"), &table("list watch", &more));
    let own =
        [("coordination.k8s.io/leases", "create"), ("coordination.k8s.io/leases:waybill-site-main", "get update")];
    expect(role(&objects, "Role", "waybill"), &table("", &own));
}

#[test]
fn rows_as_a_part_of_the_clusters_api_need_one_right_and_one_role_of_the_clusters_own() {
    let Some(helm) = Helm::find() else { return };
    let (without, with) = (helm.rendered(&[]), helm.rendered(&["fleetApi.enabled=true"]));
    let own = |objects| rights(role(objects, "ClusterRole", "waybill:fleet:waybill"));
    let mut expected = own(&without);
    let verbs = ["get", "patch"].map(str::to_owned).into();
    expected.insert("apiregistration.k8s.io/apiservices:v1alpha1.fleet.waybill.dev".into(), verbs);
    assert_eq!(own(&with), expected);
    let more: Vec<&Value> = with
        .iter()
        .filter(|object| !without.iter().any(|one| one["kind"] == object["kind"] && name(one) == name(object)))
        .collect();
    let mut more: Vec<String> =
        more.iter().map(|object| format!("{} {}", object["kind"].as_str().unwrap(), name(object))).collect();
    // helm has an order of its own.
    more.sort();
    assert_eq!(
        more,
        ["APIService v1alpha1.fleet.waybill.dev", "RoleBinding waybill:fleet:waybill", "Service waybill-api"]
    );
    let elsewhere =
        of_kind(&with, "RoleBinding").find(|binding| binding["metadata"]["namespace"] == "kube-system").unwrap();
    assert_eq!(elsewhere["roleRef"]["name"], "extension-apiserver-authentication-reader");
    // Nobody is believed to be the site before it has given its authority.
    let spec = &only(&with, "APIService")["spec"];
    assert!(spec.get("caBundle").is_none() && spec.get("insecureSkipTLSVerify").is_none(), "{spec}");
    assert_eq!(spec["service"]["name"], "waybill-api");
}

#[test]
fn hooks_may_what_their_one_verb_needs() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[]);
    let definitions = KINDS.map(|kind| format!("apiextensions.k8s.io/customresourcedefinitions:{kind}.waybill.dev"));
    let definitions: Vec<(&str, &str)> = definitions.iter().map(|what| (what.as_str(), "get create patch")).collect();
    expect(role(&objects, "ClusterRole", "waybill:fleet:waybill-crds"), &table("", &definitions));
    expect(
        role(&objects, "ClusterRole", "waybill:fleet:waybill-release"),
        &table(
            "",
            &[
                ("waybill.dev/packages", "list patch"),
                ("waybill.dev/sites", "list"),
                ("waybill.dev/distributionpoints", "list"),
            ],
        ),
    );
    expect(role(&objects, "Role", "waybill-release"), &table("", &[("apps/statefulsets/scale:waybill", "get patch")]));
    expect(role(&objects, "Role", "waybill-network"), &table("", &[("/pods:waybill-0", "get")]));
    // The accounts of hooks are hooks themselves: they are gone when the hook is.
    let mut seen = 0;
    for object in &objects {
        let hooks = [("-crds", "pre-install,pre-upgrade"), ("-release", "pre-delete"), ("-network", "test")];
        let Some((_, expected)) = hooks.into_iter().find(|(end, _)| name(object).ends_with(end)) else { continue };
        let annotations = &object["metadata"]["annotations"];
        seen += 1;
        assert_eq!(annotations["helm.sh/hook"], expected, "{} {}", object["kind"], name(object));
        assert_eq!(annotations["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded");
    }
    assert_eq!(seen, 4 + 6 + 4, "account, roles, bindings and the pod of each");
}

#[test]
fn users_roles_divide_the_kinds_and_only_reading_is_aggregated() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[]);
    let write = "create update patch delete deletecollection";
    let rows = ["clientstatuses", "contentlocations", "distributionjobs"];
    let rows: Vec<String> = rows.iter().map(|row| format!("fleet.waybill.dev/{row}")).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|row| (row.as_str(), "get list")).collect();
    let read = "get list watch";
    expect(role(&objects, "ClusterRole", "waybill-view"), &table(read, &rows));
    let writes = |kinds: &[&str]| -> BTreeMap<String, BTreeSet<String>> {
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("waybill.dev/{kind}")).collect();
        table(read, &kinds.iter().map(|kind| (kind.as_str(), write)).collect::<Vec<_>>())
    };
    let with = |mut role: BTreeMap<String, BTreeSet<String>>, fleet: &[(&str, &str)]| {
        for (row, verbs) in fleet {
            role.insert(format!("fleet.waybill.dev/{row}"), verbs.split(' ').map(str::to_owned).collect());
        }
        role
    };
    let places = [("contentlocations", "get list"), ("distributionjobs", "get list")];
    let outcome = [&places[..], &[("clientstatuses", "get list"), ("explanations", "create")]].concat();
    let everything = [&outcome[..], &[("clients", "get list"), ("statusmessages", "get list")]].concat();
    let packager = with(writes(&["packages", "programs", "distributions"]), &places);
    let deployer = with(writes(&["collections", "advertisements"]), &outcome);
    expect(role(&objects, "ClusterRole", "waybill-packager"), &packager);
    expect(role(&objects, "ClusterRole", "waybill-deployer"), &deployer);
    expect(role(&objects, "ClusterRole", "waybill-reader"), &with(writes(&[]), &everything));
    let approver = writes(&["sites", "distributionpoints", "clientagentconfigs"]);
    let fleet = [
        ("clientactions", "create"),
        ("contentchecks", "create"),
        ("explanations", "create"),
        ("enrolmenttokens", "create get list delete"),
        ("clients", "get list patch delete"),
        ("clientstatuses", "get list"),
        ("contentlocations", "get list"),
        ("distributionjobs", "get list"),
        ("statusmessages", "get list"),
    ];
    expect(role(&objects, "ClusterRole", "waybill-approver"), &with(approver, &fleet));

    expect(role(&objects, "Role", "waybill-connect"), &table("", &[("/pods/portforward:waybill-0", "create get")]));

    for role in of_kind(&objects, "ClusterRole") {
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let aggregated: Vec<&str> =
            labels.keys().filter_map(|label| label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-")).collect();
        assert_eq!(aggregated, if name(role) == "waybill-view" { vec!["view"] } else { vec![] }, "{}", name(role));
    }
    // Nothing binds them: that is the cluster's own business.
    let bound: Vec<&str> =
        of_kind(&objects, "ClusterRoleBinding").map(|b| b["roleRef"]["name"].as_str().unwrap()).collect();
    assert!(bound.iter().all(|role| role.starts_with("waybill:")), "{bound:?}");
    assert_eq!(of_kind(&helm.rendered(&["roles.create=false"]), "ClusterRole").count(), 3);
}

#[test]
fn no_role_reaches_for_everything() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.rendered(&[]);
    for role in of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "Role")) {
        for (what, verbs) in rights(role) {
            assert!(!what.contains('*') && !verbs.contains("*"), "{}: {what}", name(role));
            assert!(!what.starts_with("/secrets") && !what.contains("rolebindings"), "{}: {what}", name(role));
        }
    }
}

/// Rules without a comment above them, as `file:line`.
fn without_a_reason(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let rules = lines.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups:"));
    let bare = rules.filter(|(at, _)| !lines[at - 1].starts_with("# "));
    bare.map(|(at, _)| format!("{file}:{}", at + 1)).collect()
}

#[test]
fn every_rule_says_what_it_is_for() {
    let mut rules = 0;
    let folders = [folder().join("templates"), folder().join("templates/tests")];
    for path in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path()) {
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        rules += text.matches("- apiGroups:").count();
        assert_eq!(without_a_reason(&path.display().to_string(), &text), Vec::<String>::new());
    }
    assert!(rules > 10);
    assert_eq!(without_a_reason("f", "rules:\n  - apiGroups: [a]\n    verbs: [get]\n"), ["f:2"]);
}
