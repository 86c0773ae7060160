//! Watches that are there and tell nothing: nobody else notices, for requests are answered as ever.

use std::{
    thread,
    time::{Duration, Instant},
};

use axum::http::Method;
use kube::api::DeleteParams;
use rustix::process::Signal;

use super::{Faults, behind};
use crate::{api_level::RealApi, tenure::site::Instance};

/// The server ends watches after two seconds here, so twice that is too long.
const SHORT: [&str; 2] = ["--watch-timeout", "2s"];
const TOO_LONG: Duration = Duration::from_secs(4);

/// Looks at a page of its health for so long: every answer is this code, with this text.
fn stays(site: &Instance<'_>, page: &str, so_long: Duration, code: u16, text: &str) {
    let end = Instant::now() + so_long;
    while Instant::now() < end {
        let (is, said) = site.asked(page).unwrap();
        assert!(is == code && said.contains(text), "{page}: {is} {said}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_wedged_watch_is_noticed_and_a_new_process_acts_on_what_was_missed() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let mut site = Instance::start(&place, "first", &SHORT);
    site.until_it_serves();
    place.switch_to(&site);
    place.declare();
    let _agent = place.join(&site, "client", &serde_json::json!({}));
    place.until_lines(&["ran 1"]);
    // Nothing happens, and that is not taken for a wedge.
    stays(&site, "healthz", TOO_LONG * 3, 200, "ok");

    proxy.set(Faults { wedged: true, ..Faults::default() });
    place.block_on(place.objects("Advertisement").delete("tool", &DeleteParams::default())).unwrap();
    let offers = || place.verb(&["agent", "offers", "--state", "client"]);
    let silent = |said: &str| said.contains("[-]watches failed: nothing was heard for 4 s of advertisements");
    place.until("it is noticed", || site.asked("healthz").is_some_and(|(code, said)| code == 503 && silent(&said)));
    // Watches that are taken up again tell nothing either: it does not count that they are.
    stays(&site, "healthz", TOO_LONG * 3, 503, "advertisements");
    stays(&site, "readyz", TOO_LONG / 4, 503, "[-]watches failed");
    assert!(proxy.seen().contains("wedged") && offers().contains("tool"), "it cannot know: {}", offers());
    assert!(!site.log().contains("Lease"), "{}", site.log());

    // What the kubelet does then. Lists are answered: what was missed is known, though watches are still wedged.
    site.signal(Signal::TERM);
    assert_eq!(site.exit_code(), Some(0));
    let mut site = Instance::start(&place, "first", &SHORT);
    site.until_it_serves();
    place.until("it is offered no more", || !offers().contains("tool"));
    proxy.set(Faults::default());
    place.until("it is well", || site.asked("readyz").is_some_and(|(code, _)| code == 200));
    place.declare();
    place.source(2);
    place.until_lines(&["ran 1", "ran 2"]);
}

#[test]
fn a_watch_that_is_refused_is_not_wedged_for_a_new_process_would_be_refused_too() {
    let Some(api) = RealApi::start() else { return };
    let (proxy, place) = behind(&api);
    let mut site = Instance::start(&place, "first", &SHORT);
    site.until_it_serves();
    place.until("it is well", || site.asked("readyz").is_some_and(|(code, _)| code == 200));
    proxy.set(Faults { forbidden: vec![(Method::GET, "/clientagentconfigs")], ..Faults::default() });
    proxy.cut_watches();
    let silent = "[-]watches failed: nothing was heard for 4 s of clientagentconfigs";
    place.until("it is not ready", || {
        site.asked("readyz").is_some_and(|(code, said)| code == 503 && said.contains(silent))
    });
    // Tried again ever more rarely, and so refused less often than that.
    let began = Instant::now();
    let mut well = 0;
    while began.elapsed() < TOO_LONG * 2 {
        well += u32::from(site.asked("healthz").is_some_and(|(code, _)| code == 200));
        thread::sleep(Duration::from_millis(100));
    }
    assert!(well > 0, "{:?}", site.asked("healthz"));
    proxy.set(Faults::default());
    place.until("it is well again", || site.asked("readyz").is_some_and(|(code, _)| code == 200));
}
