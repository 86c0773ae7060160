//! From the image to a machine that has the software: and with the pod killed in the middle.

use std::{fs, process::Command};

use super::{
    super::succeed,
    Site,
    site::{PATIENCE, RELEASE},
};

/// A Debian package with one file.
fn build_deb(site: &Site) {
    let tree = site.folder("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("opt/hello")).unwrap();
    let control =
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: a file\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("opt/hello/version"), "1\n").unwrap();
    let folder = site.sources.join("hello");
    fs::create_dir_all(&folder).unwrap();
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(&tree).arg(folder.join("hello.deb"));
    succeed(build).unwrap();
}

/// A place with a database of packages of its own: the machine that runs the tests gets nothing installed.
fn empty_machine(site: &Site) -> std::path::PathBuf {
    let machine = site.folder("machine");
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
        fs::create_dir_all(machine.join(folder)).unwrap();
    }
    fs::write(machine.join("var/lib/dpkg/status"), "").unwrap();
    machine
}

#[test]
fn a_machine_gets_a_package_from_a_claim_and_a_killed_pod_neither_repeats_nor_forgets() {
    let Some(mut site) = Site::install_with(&["--set=fleetApi.enabled=true"]) else { return };
    site.join();
    // Through the Service of the chart, as somebody who may.
    site.node.wait("the machine is a row of the API", PATIENCE, |node| {
        let words = ["get", "clients", "--output=name", "--as=system:serviceaccount:web:owner"];
        node.kubectl(&words).and_then(|listed| if listed.lines().count() == 1 { Ok(()) } else { Err(listed) })
    });
    build_deb(&site);
    let machine = empty_machine(&site);
    site.offer("hello", &format!(r#"["/usr/bin/dpkg", "--root={}", "--install", "hello.deb"]"#, machine.display()));
    site.wait_for_success("hello");
    assert_eq!(fs::read_to_string(machine.join("opt/hello/version")).unwrap(), "1\n");
    let listed = site.plugin(&["clients"]).unwrap();
    assert!(listed.starts_with("ID  ") && listed.lines().count() == 2, "{listed}");
    let package = site.get("package", "hello", "web").unwrap();
    assert_eq!(package["status"]["distribution"]["installed"], 1, "{package:#}");

    // Killed while a program runs: it runs on, is reported once the site is back, and does not run again.
    site.offer_script("slow", 8);
    site.wait_for_note("slow starts");
    let before = site.container().unwrap();
    site.kill();
    site.node.wait("started again", PATIENCE, |_| {
        let now = site.container()?;
        if now.0 != before.0 && now.1 == before.1 + 1 && now.2 { Ok(()) } else { Err(format!("{now:?}")) }
    });
    site.wait_for_success("slow");
    // What comes afterwards comes to the same machine, under the same name.
    site.offer_script("after", 0);
    site.wait_for_success("after");
    assert_eq!(site.noted(), ["slow starts", "slow ends", "after starts", "after ends"]);
    let hello = site.get("advertisement", "hello", "web").unwrap();
    assert_eq!(hello["status"]["messages"]["succeeded"], 1, "nothing was counted twice or lost: {hello:#}");

    // The node's network takes policies and enforces none, and the test that the chart brings notices.
    let said = site.node.helm(&["test", RELEASE, "--namespace", RELEASE, "--timeout=120s"]).unwrap();
    for expected in ["7444: reached, as it should be", "7446: NOT ENFORCED"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    what_is_rarely_needed(&site);
    site.granted_is_used();
}

/// What a fleet's owner and a slip in a manifest make the site do: the agents' settings, and an event that repeats itself.
fn what_is_rarely_needed(site: &Site) {
    let settings =
        "apiVersion: waybill.dev/v1alpha1\nkind: ClientAgentConfig\nmetadata: {name: main}\nspec: {pollInterval: 1m}\n";
    let program = "apiVersion: waybill.dev/v1alpha1\nkind: Program\nmetadata: {name: odd}\nspec: {packageRef: odd, argv: [run.sh]}\n";
    let package =
        "apiVersion: waybill.dev/v1alpha1\nkind: Package\nmetadata: {name: odd}\nspec: {source: {none: {}}}\n";
    site.node.apply("settings", settings);
    let until = |kind: &str, name: &str, namespace: &str, expected: &str| {
        site.node.wait(expected, PATIENCE, |_| {
            let status = site.get(kind, name, namespace)?["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let is = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == expected);
            if is { Ok(()) } else { Err(status.to_string()) }
        });
    };
    until("clientagentconfig", "main", "", "True");
    site.declare("odd", program);
    until("program", "odd", "web", "False");
    site.declare("odd-package", package);
    until("program", "odd", "web", "True");
    site.node.kubectl(&["delete", "package", "odd", "--namespace", "web"]).unwrap();
    until("program", "odd", "web", "False");
}
