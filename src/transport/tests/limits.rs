//! Every limit of a listener, at the limit and beyond it.

use std::io::ErrorKind;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Waits until the other side has closed; how long that took.
async fn closed_after(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    match ended.expect("the connection is closed") {
        Ok(_) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}"),
    }
    begun.elapsed()
}

fn short() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(400),
        header_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(800),
        drain_timeout: Duration::from_millis(500),
        ..Limits::default()
    }
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let site = Site::new();
    let limits = Limits { connections_per_address_max: 2, ..Limits::default() };
    let running = start(site.devices(), limits).await;
    let first = TcpStream::connect(running.addr).await.unwrap();
    let _second = TcpStream::connect(running.addr).await.unwrap();
    let mut third = TcpStream::connect(running.addr).await.unwrap();
    assert!(closed_after(&mut third).await < Duration::from_secs(5), "before its handshake timed out");

    drop(first);
    let client = site.client(&site.device(Role::Client, "c-1"));
    assert_eq!(eventually(&client, running.url("/whoami")).await, "waybill://hq/client/c-1");
}

/// Asks again while the listener still counts a connection that has just ended.
async fn eventually(client: &reqwest::Client, url: String) -> String {
    for _ in 0..50 {
        if let Ok(answer) = client.get(&url).send().await {
            return answer.text().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never answered");
}

#[tokio::test]
async fn the_listener_has_its_share_of_connections() {
    let site = Site::new();
    let running = start(site.devices(), Limits { connections_max: 1, ..Limits::default() }).await;
    let _first = TcpStream::connect(running.addr).await.unwrap();
    let mut second = TcpStream::connect(running.addr).await.unwrap();
    assert!(closed_after(&mut second).await < Duration::from_secs(5));
}

#[tokio::test]
async fn a_device_has_its_share_of_connections() {
    let site = Site::new();
    let running = start(site.devices(), Limits { connections_per_device_max: 2, ..Limits::default() }).await;
    let (device, other) = (site.device(Role::Client, "c-1"), site.device(Role::Client, "c-2"));
    let (one, two, three) = (site.client(&device), site.client(&device), site.client(&device));
    text(&one, running.url("/whoami")).await;
    text(&two, running.url("/whoami")).await;
    assert!(three.get(running.url("/whoami")).send().await.is_err());
    text(&site.client(&other), running.url("/whoami")).await;
    drop(one);
    assert_eq!(eventually(&three, running.url("/whoami")).await, "waybill://hq/client/c-1");
}

#[tokio::test]
async fn who_says_nothing_is_dropped() {
    let site = Site::new();
    let running = start(ServerTls::anybody(site.certificate.clone()).unwrap(), short()).await;
    let mut silent = TcpStream::connect(running.addr).await.unwrap();
    let waited = closed_after(&mut silent).await;
    assert!(waited >= Duration::from_millis(300), "{waited:?}: not before its time");

    // After the handshake: nothing, half of an HTTP/1 head, and the beginning of HTTP/2.
    for begin in [&b""[..], b"GET /whoami HTTP/1.1\r\nx: ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = raw(&site, None, &running, |_| {}).await.unwrap();
        stream.write_all(begin).await.unwrap();
        assert!(closed_after(&mut stream).await < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let site = Site::new();
    let running = start(site.devices(), short()).await;
    let device = site.device(Role::Client, "c-1");
    // Longer than every time limit above, but a request is in progress all the while.
    let mut answer = site.client(&device).get(running.url("/endless")).send().await.unwrap();
    for _ in 0..60 {
        assert!(answer.chunk().await.unwrap().is_some());
    }

    let mut idle = raw(&site, Some(&device), &running, |_| {}).await.unwrap();
    idle.write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(closed_after(&mut idle).await < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_has_a_largest_size() {
    let site = Site::new();
    let running = start(site.devices(), Limits { body_bytes_max: 1000, ..Limits::default() }).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let post = async |body: reqwest::Body| client.post(running.url("/length")).body(body).send().await.unwrap();
    let at_limit = post(vec![b'x'; 1000].into()).await;
    assert_eq!(at_limit.text().await.unwrap(), "1000");
    assert_eq!(post(vec![b'x'; 1001].into()).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // Without a length in the head, it shows only while the body comes.
    let pieces = |count| {
        let pieces = futures::stream::iter((0..count).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100])));
        reqwest::Body::wrap_stream(pieces)
    };
    assert_eq!(post(pieces(10)).await.text().await.unwrap(), "1000");
    assert_eq!(post(pieces(11)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_listener_may_allow_bodies_beyond_the_librarys_limit() {
    let site = Site::new();
    let size = 3 * 1024 * 1024;
    let running = start(site.devices(), Limits { body_bytes_max: size, ..Limits::default() }).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let answer = client.post(running.url("/length")).body(vec![0; size]).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), size.to_string());
}

#[tokio::test]
async fn a_body_must_keep_coming() {
    let site = Site::new();
    let limits =
        Limits { header_timeout: Duration::from_millis(300), body_bytes_per_sec_min: 1000, ..Limits::default() };
    let running = start(site.devices(), limits).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let paced = |bytes: usize, count: usize| {
        let pieces = futures::stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (sent < count).then(|| (Ok::<_, std::io::Error>(vec![b'x'; bytes]), sent + 1))
        });
        client.post(running.url("/length")).body(reqwest::Body::wrap_stream(pieces)).send()
    };
    // 5,000 bytes a second for a second and a half is fine; 100 bytes a second is not.
    assert_eq!(paced(500, 15).await.unwrap().text().await.unwrap(), "7500");
    let begun = Instant::now();
    let slow = paced(10, 100).await;
    assert!(slow.is_err() || slow.unwrap().status().is_client_error());
    assert!(begun.elapsed() < Duration::from_secs(5), "given up long before its end");
}

#[tokio::test]
async fn a_head_has_a_largest_size() {
    let site = Site::new();
    let running = start(site.devices(), Limits::default()).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let with = async |bytes: usize| client.get(running.url("/whoami")).header("x", "v".repeat(bytes)).send().await;
    assert_eq!(with(15_000).await.unwrap().status(), StatusCode::OK);
    let refused = with(17_000).await;
    assert!(refused.is_err() || refused.unwrap().status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    let device = site.device(Role::Client, "c-2");
    for (fields, accepted) in [(63, true), (65, false)] {
        let mut stream = raw(&site, Some(&device), &running, |_| {}).await.unwrap();
        let head: String = (1..fields).map(|number| format!("x-{number}: 1\r\n")).collect();
        let request = format!("GET /whoami HTTP/1.1\r\nhost: x\r\n{head}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer == b"HTTP/1.1 200", accepted, "{fields} fields: {}", String::from_utf8_lossy(&answer));
    }
}
