//! Every port of every process, probed by callers who have no business there. The ports are those that the kernel
//! says the processes listen on: one that nobody thought of fails here.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustls::version::{TLS12, TLS13};
use serde_json::json;
use waybill::site::Endpoints;

use super::probe::{Caller, get, get_plain, listening};
use crate::world::World;

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Enrolments that the site looks at together, and how long it keeps a wrong secret waiting (`site::enrol`).
const ENROLMENTS_MAX: u32 = 8;
const REFUSAL_PAUSE: Duration = Duration::from_millis(500);

/// Where `url` listens.
fn address(url: &str) -> SocketAddr {
    url.split_once("://").unwrap().1.parse().unwrap()
}

/// The only port of a process, once it listens.
fn only_port(world: &World, name: &str) -> SocketAddr {
    let end = Instant::now() + PATIENCE;
    loop {
        let (tcp, open) = listening(world.pid(name));
        assert_eq!(open, 0, "{name}");
        if let Some(addr) = tcp.first() {
            assert_eq!(tcp.len(), 1, "{name}: {tcp:?}");
            return *addr;
        }
        assert!(Instant::now() < end, "{name} never listened\n{}", world.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A site on every address of the machine with one of each other process, and what all of them listen on.
fn a_fleet() -> (World, Endpoints) {
    let mut world = World::new();
    world.package("secretly-named-tool", 1);
    world.advertise("secretly-named-tool");
    let listen = format!("0.0.0.0:{}", world.port());
    world.start_as(
        "site",
        &["up", "fleet", "--state", "site", "--listen", &listen, "--advertise", "127.0.0.1", "--site", "quiet-site"],
    );
    world.until("the site listens", |world| world.path("site/endpoints.json").exists());
    world.join(&["dp", "cap", "client"]);
    world.until("the program runs", |world| world.lines().contains_key("secretly-named-tool 1"));
    let endpoints = fs::read(world.path("site/endpoints.json")).unwrap();
    (world, serde_json::from_slice(&endpoints).unwrap())
}

#[test]
fn strangers_learn_nothing_at_any_port() {
    let (world, endpoints) = a_fleet();
    let (dp, cap) = (only_port(&world, "dp"), only_port(&world, "cap"));
    let (agents_ports, open) = listening(world.pid("client"));
    assert_eq!((agents_ports.len(), open), (0, 0), "an agent listens on nothing");

    // The site has four ports and no other; two of them stay on loopback although it listens everywhere.
    let (ports, open) = listening(world.pid("site"));
    let everywhere = |url: &str| SocketAddr::from(([0, 0, 0, 0], address(url).port()));
    let expected = BTreeSet::from([
        address(&endpoints.api_url),
        address(&endpoints.health_url),
        everywhere(&endpoints.device_url),
        everywhere(&endpoints.enrolment_url),
    ]);
    assert_eq!((ports, open), (expected, 0));
    for url in [&endpoints.api_url, &endpoints.health_url] {
        assert!(address(url).ip().is_loopback(), "{url}");
    }

    for listener in [address(&endpoints.device_url), dp, cap] {
        devices_only(&world, listener);
    }
    kubernetes_api(&world, address(&endpoints.api_url));
    enrolment(&world, address(&endpoints.enrolment_url));
    health(address(&endpoints.health_url));
}

/// No connection without a valid certificate of the device authority, by TLS 1.3.
fn devices_only(world: &World, listener: SocketAddr) {
    let device = Caller::of_state(&world.path("client"));
    let admitted = get(listener, Some(&device), &[&TLS13], "/");
    assert!(admitted.as_deref().is_some_and(|answer| answer.starts_with("HTTP/1.1 404")), "{listener}: {admitted:?}");
    let strangers = [
        ("nobody", None, &TLS13),
        ("self-signed", Some(Caller::self_signed(&device)), &TLS13),
        ("of another site", Some(Caller::of_another_site(&device)), &TLS13),
        ("the administrator of the API", Some(Caller::of_kubeconfig(&world.path("site/kubeconfig"))), &TLS13),
        ("a device by TLS 1.2", Some(Caller::of_state(&world.path("client"))), &TLS12),
    ];
    for (who, caller, version) in strangers {
        assert_eq!(get(listener, caller.as_ref(), &[version], "/cap/v1/policy"), None, "{who} at {listener}");
    }
}

/// Without credentials: that it is there and well, and which version of Kubernetes it speaks. With wrong ones: nothing.
fn kubernetes_api(world: &World, listener: SocketAddr) {
    let administrator = Caller::of_kubeconfig(&world.path("site/kubeconfig"));
    let packages = "/apis/waybill.dev/v1alpha1/namespaces/default/packages";
    let told = get(listener, Some(&administrator), &[&TLS13], packages).unwrap();
    assert!(told.contains("secretly-named-tool"), "{told}");
    for path in [
        packages,
        "/",
        "/api",
        "/apis",
        "/apis/waybill.dev/v1alpha1",
        "/apis/fleet.waybill.dev/v1alpha1/clients",
        "/api/v1/namespaces/default/secrets",
        "/openapi/v3",
        "/metrics",
        "/../etc/passwd",
    ] {
        let told = get(listener, None, &[&TLS13], path).unwrap();
        let refused = ["401", "403", "404"].iter().any(|code| told.starts_with(&format!("HTTP/1.1 {code}")));
        assert!(refused, "{path}: {told}");
        names_nothing(&told);
    }
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        let told = get(listener, None, &[&TLS13], path).unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{path}: {told}");
        names_nothing(&told);
    }
    let device = Caller::of_state(&world.path("client"));
    for (who, caller, version) in [
        ("a device", Some(Caller::of_state(&world.path("client"))), &TLS13),
        ("self-signed", Some(Caller::self_signed(&device)), &TLS13),
        ("of another site", Some(Caller::of_another_site(&device)), &TLS13),
        ("nobody by TLS 1.2", None, &TLS12),
        ("the administrator by TLS 1.2", Some(administrator), &TLS12),
    ] {
        assert_eq!(get(listener, caller.as_ref(), &[version], "/version"), None, "{who}");
    }
}

/// One route, which wants a secret; guessing is slow however many guess.
fn enrolment(world: &World, listener: SocketAddr) {
    assert_eq!(get(listener, None, &[&TLS12], "/v1/enrol"), None);
    assert!(get(listener, None, &[&TLS13], "/v1/enrol").unwrap().starts_with("HTTP/1.1 405"), "it is posted to");
    for path in ["/", "/v1/renew", "/cap/v1/policy", "/site/v1/snapshot", "/dp/v1/manifests", "/metrics", "/healthz"] {
        let told = get(listener, None, &[&TLS13], path).unwrap();
        assert!(told.starts_with("HTTP/1.1 404"), "{path}: {told}");
        names_nothing(&told);
    }
    let join: serde_json::Value = serde_json::from_slice(&fs::read(world.path("client.json")).unwrap()).unwrap();
    let ca_sha256 = serde_json::from_value(join["caSha256"].clone()).unwrap();
    let http = waybill::transport::client::enrolment_client(ca_sha256, Default::default()).unwrap();
    let csr_pem = waybill::trust::device::DeviceKey::generate().unwrap().csr_pem().unwrap();
    let guess = json!({
        "secret": waybill::trust::token::JoinSecret::generate().unwrap(), "role": "client", "csrPem": csr_pem,
        "hostname": "guesser", "advertisedNames": [], "rejoin": null,
    });
    let url = format!("https://127.0.0.1:{}/v1/enrol", listener.port());
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(futures::future::join_all((0..40).map(|_| async {
        let answer = http.post(&url).json(&guess).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })));
    let rounds = u32::try_from(began.elapsed().as_millis() / REFUSAL_PAUSE.as_millis()).unwrap() + 1;
    let looked_at = answers.iter().filter(|(status, _)| *status == 403).count();
    assert!(looked_at > 0 && looked_at <= (ENROLMENTS_MAX * rounds) as usize, "{looked_at} in {rounds} rounds");
    for (status, text) in answers {
        assert!(matches!(status, 403 | 503), "{status}: {text}");
        names_nothing(&text);
    }
}

/// Loopback, no certificate, and nothing about the fleet.
fn health(listener: SocketAddr) {
    for path in ["/healthz", "/readyz"] {
        let told = get_plain(listener, path);
        assert!(told.starts_with("HTTP/1.1 200"), "{path}: {told}");
        names_nothing(&told);
    }
    let told = get_plain(listener, "/metrics");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    names_nothing(&told);
    for series in [
        "waybill_reconciles_total{kind=\"Package\",outcome=\"done\"} ",
        "waybill_reconcile_duration_seconds_count{kind=\"Advertisement\"} ",
        "waybill_database_writes_waiting ",
        "waybill_requests_total{listener=\"devices\",class=\"2xx\"} ",
        "waybill_requests_total{listener=\"enrolment\",class=\"4xx\"} ",
        "waybill_requests_total{listener=\"kubernetes-api\",class=\"4xx\"} ",
        "waybill_sent_bytes_total{listener=\"devices\"} ",
        "waybill_status_messages_accepted_total ",
        "waybill_source_reads_total ",
        "waybill_policies_compiled_total ",
    ] {
        let value = told.lines().find_map(|line| line.strip_prefix(series)?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0 || series.contains("waiting")), "{series}: {told}");
    }
    // How well they are depends on this machine's disk; how many there are does not.
    for (series, sum) in [
        ("waybill_offers", 1.0),
        ("waybill_site_systems{role=\"cap\",", 1.0),
        ("waybill_site_systems{role=\"dp\",", 2.0),
    ] {
        let values = told.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
        assert_eq!(values.map(|value| value.parse::<f64>().unwrap()).sum::<f64>(), sum, "{series}: {told}");
    }
    for path in ["/", "/cap/v1/policy", "/v1/enrol", "/apis", "/site/v1/snapshot", "/debug/pprof"] {
        let told = get_plain(listener, path);
        assert!(told.starts_with("HTTP/1.1 404"), "{path}: {told}");
    }
}

/// Not a word of what the site, its machines or its software are called.
fn names_nothing(told: &str) {
    let host = waybill::transport::session::hostname();
    for name in ["secretly-named", "quiet-site", "c-", "BEGIN", &host] {
        assert!(!told.contains(name), "{name}: {told}");
    }
}
