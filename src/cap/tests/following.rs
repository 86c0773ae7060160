//! An access point and its site over TLS, where the site's answers are the test's.

use std::{collections::VecDeque, path::PathBuf, sync::Mutex};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    cap::{
        encoded::{DecodeError, decode, encode},
        relay::Relay,
    },
    transport::{
        client::{Listener, Timeouts, device_client},
        limits::Limits,
        server::serve,
        tls::{ServerTls, ServingCertificate},
    },
    trust::{
        ca::{CertificateAuthority, Grant, IDENTITY_LIFETIME},
        device::DeviceKey,
        identity::Role,
        keys::TrustedKeys,
        names::ServerNames,
    },
    wire::access::SNAPSHOT_PATH,
};

/// What the site says to one poll after the other: bytes and their encoding. Silent afterwards.
type Answers = Arc<Mutex<VecDeque<(Vec<u8>, Option<&'static str>)>>>;

async fn answer(State(answers): State<Answers>) -> axum::response::Response {
    let next = answers.lock().unwrap().pop_front();
    match next {
        Some((bytes, Some(encoding))) => ([(header::CONTENT_ENCODING, encoding)], bytes).into_response(),
        Some((bytes, None)) => bytes.into_response(),
        None => std::future::pending().await,
    }
}

/// A site with these answers, and the relay of an access point that has joined it.
async fn relay(key: &SiteKey, answers: Answers, copy: PathBuf, shutdown: CancellationToken) -> Relay {
    let names = ServerNames::parse(&["127.0.0.1"]).unwrap();
    let ca = CertificateAuthority::create("devices", clock::now()).unwrap();
    let (own, device) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let serving = ca.issue_serving(&own, &names, clock::now()).unwrap();
    let tls = ServerTls::devices(ServingCertificate::new(&serving.chain_pem, &own).unwrap(), ca.certificate_pem());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let router = Router::new().route(SNAPSHOT_PATH, get(answer)).with_state(answers);
    tokio::spawn(serve(listener, tls.unwrap(), router, Limits::default(), Arc::new(|_| Ok(())), shutdown));

    let grant = Grant { site_id: "hq", role: Role::Cap, id: "cap-2", names: &names, lifetime: IDENTITY_LIFETIME };
    let issued = ca.issue_identity(&device.csr_pem().unwrap(), &grant, clock::now()).unwrap();
    let http =
        device_client(&device, &issued.chain_pem, ca.certificate_pem(), Listener::Site, Timeouts::default()).unwrap();
    Relay::new(http, url, "https://cap-2".into(), TrustedKeys::from_iter([key.public()]), copy)
}

fn json(snapshot: &Snapshot) -> Vec<u8> {
    serde_json::to_vec(snapshot).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_a_strangers_and_a_bomb_are_refused_and_the_held_one_is_served() {
    let (key, stranger) = (SiteKey::generate().unwrap(), SiteKey::generate().unwrap());
    let at = |place| snapshot(&key, place, &["c-1"], "{}");
    // What decodes to far more than is read of it, from few bytes.
    let bomb = encode(&vec![b' '; usize::try_from(encoded::DECODED_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let zstd = |snapshot: &Snapshot| (encode(&json(snapshot)).unwrap(), Some(encoded::ENCODING));
    let answers: Answers = Arc::new(Mutex::new(VecDeque::from([
        zstd(&at((2, 10))),
        zstd(&at((2, 9))),
        zstd(&at((1, 11))),
        zstd(&snapshot(&stranger, (2, 12), &["c-1"], "{}")),
        (bomb, Some(encoded::ENCODING)),
        (json(&at((2, 13))), Some("br")),
        (b"{}".to_vec(), None),
        (json(&at((2, 14))), None),
    ])));
    let scratch = tempfile::tempdir().unwrap();
    let (copy, shutdown) = (scratch.path().join("policy.json"), CancellationToken::new());
    let relay = relay(&key, answers, copy.clone(), shutdown.clone()).await;
    assert_eq!(relay.stored().unwrap().place(), (0, 0), "nothing is held at first");
    let (publish, published) = watch::channel(Arc::new(Published::default()));
    let mut tag = None;
    relay.next(&mut tag, &publish).await.unwrap();
    for expected in
        ["older than 2.10", "older than 2.10", "not trustworthy", "cannot be read", "cannot be read", "cannot be read"]
    {
        let refused = relay.next(&mut tag, &publish).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert_eq!(published.borrow().place(), (2, 10));
        assert_eq!(relay.stored().unwrap().place(), (2, 10), "on disk too");
    }
    relay.next(&mut tag, &publish).await.unwrap();
    assert_eq!(published.borrow().place(), (2, 14), "the next good one is taken");
    shutdown.cancel();

    // A start while the site is away serves it, but nothing that the site has not signed.
    assert_eq!(relay.stored().unwrap().place(), (2, 14));
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, text.replace("14", "15")).unwrap();
    assert!(relay.stored().is_err());
}

#[test]
fn decoding_is_bounded_at_the_limit_and_beyond_it() {
    let key = SiteKey::generate().unwrap();
    let plain = json(&snapshot(&key, (1, 1), &["c-1"], "{}"));
    let size = plain.len() as u64;
    for (body, encoding) in [(plain.clone(), None), (encode(&plain).unwrap(), Some(encoded::ENCODING))] {
        assert!(decode(&body, encoding, size).is_ok());
        assert!(matches!(decode(&body, encoding, size - 1), Err(DecodeError::TooLong(limit)) if limit == size - 1));
    }
    let cut = encode(&plain).unwrap();
    assert!(matches!(decode(&cut[..cut.len() - 3], Some("zstd"), size), Err(DecodeError::Damaged(_))));
}
