//! The end: what an uninstall takes with it, what it leaves, and that no namespace hangs, with the hook or without it.

use super::{
    Site,
    site::{PATIENCE, RELEASE},
};

/// Objects of the release that are still there, as `kind/name`.
fn left(site: &Site) -> Vec<String> {
    let kinds = "pods,statefulsets,services,serviceaccounts,roles,rolebindings,jobs,networkpolicies,clusterroles,clusterrolebindings";
    let words = ["get", kinds, "--namespace", RELEASE, "--selector=app.kubernetes.io/name=waybill", "--output=name"];
    site.node.kubectl(&words).unwrap().lines().map(str::to_owned).collect()
}

fn finalizers(site: &Site, package: &str) -> String {
    site.get("package", package, "web").unwrap()["metadata"]["finalizers"].to_string()
}

#[test]
fn an_uninstall_says_what_is_left_and_a_re_install_takes_up_the_claim() {
    let Some(mut site) = Site::install() else { return };
    site.join();
    site.offer_script("first", 0);
    site.wait_for_success("first");
    assert_eq!(finalizers(&site, "first"), r#"["waybill.dev/content"]"#);

    let said = site.node.helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--wait"]).unwrap();
    for expected in
        ["waybill/waybill is stopped", "finalizers taken off 1 packages", "This content stays where it is", "first"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    site.node.wait("gone", PATIENCE, |_| {
        let left = left(&site);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(finalizers(&site, "first"), "null", "what was declared is still there, and nothing holds it");
    let claim = site.get("persistentvolumeclaim", "waybill-state", RELEASE).unwrap();
    assert_eq!(claim["status"]["phase"], "Bound");

    // The same name takes the claim up: the machine is still known, and nothing runs again.
    site.helm("install", &[]).unwrap();
    site.offer_script("second", 0);
    site.wait_for_success("second");
    assert_eq!(site.noted(), ["first starts", "first ends", "second starts", "second ends"]);
    site.nothing_was_refused();

    // Without the hook a namespace would hang; the same verb from anywhere lets it go.
    site.node.helm(&["uninstall", RELEASE, "--namespace", RELEASE, "--no-hooks", "--wait"]).unwrap();
    site.node.kubectl(&["delete", "namespace", "web", "--wait=false"]).unwrap();
    assert_eq!(site.get("namespace", "web", "").unwrap()["status"]["phase"], "Terminating");
    assert_eq!(finalizers(&site, "second"), r#"["waybill.dev/content"]"#);
    let said = site.waybill(&["release", "--all", "--statefulset=waybill/waybill"]).unwrap();
    assert!(
        said.contains("waybill/waybill is gone already") && said.contains("finalizers taken off 2 packages"),
        "{said}"
    );
    site.node.kubectl(&["wait", "--for=delete", "namespace/web", "--timeout=120s"]).unwrap();
}
