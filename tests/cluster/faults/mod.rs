//! Bad days of an API server, through a proxy in front of a real one: whatever it does, nothing runs twice, nothing is lost, and
//! everything is as declared once it is well again. Each test has a server and a site of its own.

pub(crate) mod proxy;
mod wedged;

use std::{thread, time::Duration};

use axum::http::{Method, StatusCode};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use self::proxy::{Faults, Proxy};
use crate::{
    api_level::{ADMIN, RealApi},
    chart::SITE,
    tenure::{
        Agent,
        site::{Instance, Place},
    },
};

/// Longer than any fault here is meant to last.
const LEASE: Duration = Duration::from_secs(15);
/// Without a write for this long a site has nothing more to say.
const QUIET: Duration = Duration::from_secs(4);

fn behind(api: &RealApi) -> (Proxy, Place) {
    let proxy = Proxy::start(api, &SITE);
    let place = Place::new(api).through(proxy.kubeconfig(api)).with_lease(LEASE);
    place.source(1);
    (proxy, place)
}

/// A site that serves, a machine of it, and a program that has run there.
fn run_once(place: &Place) -> (Instance<'_>, Agent) {
    let mut site = Instance::start(place, "first", &[]);
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    let agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);
    (site, agent)
}

fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

#[test]
fn answers_that_are_lost_after_the_commit_and_watches_that_break_change_nothing_in_the_end() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    proxy.set(Faults { lost_answers: Some(4), ..Faults::default() });
    let cutting = proxy.cut_watches_every(Duration::from_millis(700));
    let (_site, _agent) = run_once(&place);
    place.source(2);
    place.until_lines(&["ran 1", "ran 2"]);
    place.until("its success is counted", || place.succeeded() == 1);
    assert!(proxy.seen().contains("lost"));
    drop(cutting);
    proxy.set(Faults::default());

    // What could not be said is said now; then there is nothing to say, also not after another look at everything.
    place.until("it has nothing more to say", || {
        proxy.writes();
        thread::sleep(QUIET);
        proxy.writes().is_empty()
    });
    proxy.cut_watches();
    thread::sleep(QUIET);
    assert_eq!(proxy.writes(), Vec::<String>::new());
    for kind in ["Package", "Program", "Distribution", "Collection", "Advertisement"] {
        let object = place.object(kind, "tool");
        assert_eq!(condition(&object, "Ready").unwrap().0, "True", "{object:#}");
        assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    }
    place.until_lines(&["ran 1", "ran 2"]);
}

#[test]
fn a_server_that_is_down_overloaded_or_slow_for_a_while_is_outlasted() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let down = Faults { everything: Some(StatusCode::SERVICE_UNAVAILABLE), ..Faults::default() };

    // Already at the start.
    proxy.set(down.clone());
    let mut site = Instance::start(&place, "first", &[]);
    place.until("it waits", || site.log().contains("does not answer"));
    proxy.set(Faults::default());
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    let _agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);

    let overloaded = Faults { everything: Some(StatusCode::TOO_MANY_REQUESTS), ..Faults::default() };
    let slow = Faults { slow: Some(Duration::from_millis(400)), ..Faults::default() };
    let mut lines = vec!["ran 1".to_owned()];
    for (version, fault) in (2..).zip([down.clone(), overloaded, slow]) {
        proxy.set(fault);
        proxy.cut_watches();
        place.source(version);
        thread::sleep(LEASE / 4);
        proxy.set(Faults::default());
        lines.push(format!("ran {version}"));
        place.until_lines(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    // Down for longer than the Lease lasts: whoever cannot say that it is alive acts no more.
    proxy.set(down);
    proxy.cut_watches();
    assert_eq!(site.exit_code(), Some(1));
    proxy.set(Faults::default());
    let mut again = Instance::start(&place, "first", &[]);
    again.until_it_serves();
    place.source(5);
    lines.push("ran 5".to_owned());
    place.until_lines(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_deletion_that_nobody_told_of_and_a_past_that_is_gone_are_noticed() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let (_site, _agent) = run_once(&place);
    let offers = || place.verb(&["agent", "offers", "--state", "client"]);
    place.until("it is offered", || offers().contains("tool"));

    // No event of the deletion comes through, and afterwards its past is gone, too.
    proxy.set(Faults { everything: Some(StatusCode::SERVICE_UNAVAILABLE), ..Faults::default() });
    proxy.cut_watches();
    place.block_on(async {
        place.objects("Advertisement").delete("tool", &DeleteParams::default()).await.unwrap();
        api.compact().await;
    });
    proxy.set(Faults { gone: true, ..Faults::default() });
    place.until("watches are told that it is gone", || proxy.seen().contains("gone"));
    proxy.set(Faults::default());
    place.until("it is offered no more", || !offers().contains("tool"));
    assert_eq!(place.object("Advertisement", "tool"), Value::Null);
    assert_eq!(place.held("first"), 1, "its content stays where it is distributed to");
}

#[test]
fn a_restart_into_an_old_list_removes_nothing() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let kinds = ["/distributions", "/distributionpoints", "/packages"];
    kinds.iter().for_each(|kind| proxy.remember(kind));
    let (mut site, _agent) = run_once(&place);
    place.until("it is held", || place.held("first") == 1);
    // A live advertisement would keep the last copy by itself.
    place.block_on(place.objects("Advertisement").delete("tool", &DeleteParams::default())).unwrap();
    place.until("it is offered no more", || !place.verb(&["agent", "offers", "--state", "client"]).contains("tool"));
    site.signal(rustix::process::Signal::TERM);
    assert_eq!(site.exit_code(), Some(0));

    for kind in kinds {
        proxy.set(Faults { old: Some(kind), ..Faults::default() });
        let mut site = Instance::start(&place, "first", &[]);
        site.until_it_serves();
        for _ in 0..QUIET.as_millis() / 20 {
            assert_eq!(place.held("first"), 1, "content went on the word of an old list of {kind}: {}", site.log());
            thread::sleep(Duration::from_millis(20));
        }
        assert!(proxy.seen().contains("old list"));
        site.signal(rustix::process::Signal::TERM);
        assert_eq!(site.exit_code(), Some(0));
    }
    proxy.set(Faults::default());
    let _site = place.serve();
    place.declare();
    place.source(2);
    place.until_lines(&["ran 1", "ran 2"]);
}

#[test]
fn an_object_that_cannot_be_read_says_so_and_hides_no_other() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let argv = r#""argv":["marked"]"#;
    let newer = (argv.to_owned(), format!(r#"{argv},"tomorrow":true"#));
    proxy.set(Faults { replaced: Some(newer), ..Faults::default() });
    let odd = json!({"apiVersion": "waybill.dev/v1alpha1", "kind": "Program", "metadata": {"name": "odd"},
        "spec": {"packageRef": "tool", "argv": ["marked"]}});
    let params = PatchParams::apply("test").force();
    place.block_on(place.objects("Program").patch("odd", &params, &Patch::Apply(&odd))).unwrap();
    let (site, _agent) = run_once(&place);
    let stalled = || condition(&place.object("Program", "odd"), "Stalled");
    place.until("it says so", || stalled() == Some(("True".into(), "InvalidSpec".into())));
    assert!(site.log().contains("tomorrow"), "{}", site.log());

    // With a version that knows it, or after a change, it is one among others.
    proxy.set(Faults::default());
    proxy.cut_watches();
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
    place.block_on(place.objects("Program").patch("odd", &PatchParams::default(), &touch)).unwrap();
    place.until("it is read", || stalled().is_none_or(|(_, reason)| reason != "InvalidSpec"));
}

#[test]
fn a_right_that_is_missing_is_named_and_stops_only_what_needs_it() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let missing = vec![(Method::PATCH, "/programs/tool/status"), (Method::GET, "/clientagentconfigs")];
    proxy.set(Faults { forbidden: missing, ..Faults::default() });
    let mut site = Instance::start(&place, "first", &[]);
    place.until("it says what it may not", || site.log().contains("ClientAgentConfig"));
    // Whether agents are to be switched off is not known, so nothing is offered.
    proxy.set(Faults { forbidden: vec![(Method::PATCH, "/programs/tool/status")], ..Faults::default() });
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    let _agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);
    assert_eq!(place.object("Program", "tool")["status"]["observedGeneration"], -1);
    assert_eq!(condition(&place.object("Package", "tool"), "Ready").unwrap().0, "True");

    // Granted, it is made up for without a restart.
    proxy.set(Faults::default());
    place.until("it is said", || place.object("Program", "tool")["status"]["observedGeneration"] == 1);
}

#[test]
fn a_definition_that_is_missing_is_named_and_waited_for() {
    let Some(api) = RealApi::start() else { return };
    let (_proxy, place) = behind(&api);
    let definitions: Api<CustomResourceDefinition> = Api::all(place.block_on(api.client(&ADMIN, "default")));
    let name = "clientagentconfigs.waybill.dev";
    place.block_on(definitions.delete(name, &DeleteParams::default())).unwrap();
    place.until("it is gone", || place.block_on(definitions.get_opt(name)).unwrap().is_none());
    let mut site = Instance::start(&place, "first", &[]);
    place.until("it is named with the remedy", || {
        let said = site.log();
        said.contains(&format!("no definition {name}")) && said.contains("waybill crds apply")
    });
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();

    let own = waybill::api::crds().into_iter().find(|one| one.metadata.name.as_deref() == Some(name)).unwrap();
    place.block_on(definitions.create(&PostParams::default(), &own)).unwrap();
    let _agent = place.join(&site, "client", &json!({}));
    place.until_lines(&["ran 1"]);
}

#[test]
fn somebody_who_writes_all_the_time_starts_no_race() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let (_site, _agent) = run_once(&place);
    proxy.writes();
    place.source(2);
    let objects = place.objects("Package");
    for number in 0..150 {
        let change = Patch::Merge(json!({"metadata": {"annotations": {"number": number.to_string()}}}));
        place.block_on(objects.patch("tool", &PatchParams::default(), &change)).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    place.until_lines(&["ran 1", "ran 2"]);
    let ours = proxy.writes().into_iter().filter(|write| write.contains("/packages/")).count();
    assert!(ours < 15, "{ours} writes for one new version");
    assert_eq!(place.object("Package", "tool")["metadata"]["annotations"]["number"], "149");
}

#[test]
fn a_namespace_goes_with_all_that_is_offered_from_it() {
    let Some(api) = RealApi::start_collecting() else { return };
    let (_proxy, place) = behind(&api);
    let place = place.within("team");
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(place.block_on(api.client(&ADMIN, "default")));
    let team = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    place.block_on(namespaces.create(&Default::default(), &team)).unwrap();
    let (_site, _agent) = run_once(&place);
    place.until("it is held", || place.held("first") == 1);

    place.block_on(namespaces.delete("team", &DeleteParams::default())).unwrap();
    place.until("the namespace is gone", || place.block_on(namespaces.get_opt("team")).unwrap().is_none());
    let offers = || place.verb(&["agent", "offers", "--state", "client"]);
    place.until("it is offered no more", || !offers().contains("tool"));
    place.until("its content is gone", || place.held("first") == 0);
}
