//! One writer: of two instances of a site beside a real API server one acts, whichever was stopped, copied or started anew. The
//! instances are processes; a machine of theirs reaches whichever is switched in, as through a Service.

mod machines;
mod rights;
pub(crate) mod site;
mod switch;

use std::time::Duration;

use serde_json::json;

pub(crate) use self::machines::Agent;
use self::site::{Instance, Place};
use crate::api_level::{ADMIN, RealApi};

/// How long a Lease lasts here without a renewal.
const LEASE: Duration = Duration::from_secs(4);

#[test]
fn a_copy_of_the_volume_takes_over_and_the_first_one_may_not_act_any_more() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let mut first = place.serve();
    place.declare();
    let _agent = place.join(&first, "client", &json!({}));
    place.until_lines(&["ran 1"]);
    let epoch = place.site()["status"]["epoch"].as_u64().unwrap();

    // Stopped in the middle of things, and its volume copied: the same database, no common lock.
    first.signal(rustix::process::Signal::STOP);
    place.copy("first", "second");
    let mut second = Instance::start(&place, "second", &[]);
    place.until("it stands by and says so", || {
        second
            .asked("readyz")
            .is_some_and(|(code, text)| code == 503 && text.contains("[-]lease failed: waits for the site's Lease"))
    });
    assert_eq!(second.asked("healthz").unwrap(), (200, "ok\n".into()), "to wait is no reason to be started again");
    second.until_it_serves();
    let expected =
        "[+]lease ok\n[+]start ok\n[+]disk ok\n[+]database ok\n[+]objects ok\n[+]watches ok\nreadyz check passed\n";
    place.until("it is ready", || second.asked("readyz?verbose").is_some_and(|said| said == (200, expected.into())));
    assert!(second.log().contains("another instance serves this site"), "{}", second.log());
    assert_eq!(place.site()["status"]["epoch"], json!(epoch + 1));
    place.switch_to(&second);
    place.source(2);
    place.until_lines(&["ran 1", "ran 2"]);

    first.signal(rustix::process::Signal::CONT);
    assert_eq!(first.exit_code(), Some(1));
    assert!(first.log().contains("lost the site's Lease"), "{}", first.log());
    assert_eq!(place.site()["status"]["epoch"], json!(epoch + 1), "it wrote nothing more");
    place.until("the second one knows of both runs", || place.succeeded() == 1);
    place.until_lines(&["ran 1", "ran 2"]);

    // A Lease that is given back is not waited for.
    second.signal(rustix::process::Signal::TERM);
    assert_eq!(second.exit_code(), Some(0));
    let mut third = Instance::start(&place, "second", &[]);
    third.until_it_serves();
    assert!(!third.log().contains("another instance"), "{}", third.log());
    assert_eq!(place.site()["status"]["epoch"], json!(epoch + 2));
}

#[test]
fn another_volume_is_refused_with_both_ways_out_and_can_be_adopted() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    let mut first = Instance::start(&place, "first", &[]);
    first.until_it_serves();
    let before = place.site()["status"].clone();
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(first.exit_code(), Some(0));

    let mut empty = Instance::start(&place, "empty", &[]);
    assert_eq!(empty.exit_code(), Some(1));
    let said = empty.log();
    let own = before["siteId"].as_str().unwrap();
    assert!(said.contains(&format!("mount the volume that holds {own}")) && said.contains("--adopt"), "{said}");
    assert_eq!(place.site()["status"]["siteId"], before["siteId"], "nothing was taken over");

    let mut adopted = Instance::start(&place, "empty", &["--adopt"]);
    adopted.until_it_serves();
    let after = place.site()["status"].clone();
    assert_ne!(after["siteId"], before["siteId"]);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64(), "above all that the other one has said");
}

#[test]
fn a_server_whose_site_another_one_adopted_in_another_namespace_ends() {
    let Some(api) = RealApi::start() else { return };
    // Leases of two namespaces know nothing of each other.
    let place = Place::new(&api).through(api.kubeconfig_file(&ADMIN, "default"));
    let elsewhere = api.kubeconfig_file(&ADMIN, "kube-public");
    let mut first = Instance::start(&place, "first", &["--pod", "default/waybill-0"]);
    first.until_it_serves();
    place.until("the pod is known", || place.site()["status"]["fleet"]["pod"] == "default/waybill-0");

    let before = place.site()["status"]["siteId"].clone();
    let mut second = Instance::start_through(&place, &elsewhere, "second", &[]);
    assert_eq!(second.exit_code(), Some(1));
    let said = second.log();
    assert!(said.contains("(pod default/waybill-0)") && said.contains("uninstall this one"), "{said}");
    assert_eq!(first.asked("readyz").unwrap().0, 200, "nothing happened to it");

    let mut second = Instance::start_through(&place, &elsewhere, "second", &["--adopt"]);
    second.until_it_serves();
    assert_eq!(first.exit_code(), Some(1));
    assert!(first.log().contains("another server has taken over this site"), "{}", first.log());
    place.until("the site is the second one's", || place.site()["status"]["siteId"] != before);
    place.until("it is ready", || second.asked("readyz").is_some_and(|(code, _)| code == 200));
}

#[test]
fn a_cluster_has_one_site_and_a_second_server_makes_and_changes_nothing() {
    let Some(api) = RealApi::start() else { return };
    // Each release has rights to the Lease of its own site: here one user has them to both.
    let place = Place::new(&api).through(api.kubeconfig_file(&ADMIN, "default"));
    place.source(1);
    let first = place.serve();
    place.declare();
    let _agent = place.join(&first, "client", &json!({}));
    place.until_lines(&["ran 1"]);

    let mut second = Instance::start(&place, "second", &["--site", "second"]);
    assert_eq!(second.exit_code(), Some(1));
    let said = second.log();
    assert!(said.contains("one cluster has one site") && said.contains("`kubectl delete site main`"), "{said}");
    for kind in ["Site", "DistributionPoint"] {
        assert!(place.object(kind, "second").is_null(), "it left a {kind}");
    }
    // That server being gone for good, and its Site with it, the other one is the cluster's.
    drop(first);
    place.block_on(place.objects("Site").delete("main", &Default::default())).unwrap();
    let mut second = Instance::start(&place, "second", &["--site", "second"]);
    second.until_it_serves();
}
