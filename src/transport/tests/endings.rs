//! How connections end: a listener that stops, and a certificate that expires while it is in use.

use std::time::Instant;

use futures::StreamExt as _;

use super::*;

#[tokio::test]
async fn a_stopping_listener_answers_what_it_has_begun() {
    let site = Site::new();
    let mut running = start(site.devices(), Limits::default()).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let (url, asking) = (running.url("/slow"), client.clone());
    let begun = tokio::spawn(async move { text(&asking, url).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.shutdown.cancel();
    assert_eq!(begun.await.unwrap(), "done");
    tokio::time::timeout(Duration::from_secs(5), &mut running.task).await.expect("it ends by itself").unwrap();
    assert!(TcpStream::connect(running.addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stopping_listener_does_not_wait_for_ever() {
    let site = Site::new();
    let limits = Limits { drain_timeout: Duration::from_millis(500), ..Limits::default() };
    let mut running = start(site.devices(), limits).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let mut stream = client.get(running.url("/endless")).send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    let silent = TcpStream::connect(running.addr).await.unwrap();
    let begun = Instant::now();
    running.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), &mut running.task).await.expect("the stream is cut").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(450), "the stream had its time to end");
    drop(silent);
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let site = Site::new();
    let running = start(site.devices(), Limits::default()).await;
    let device = site.device_living(Role::Client, "c-1", clock::now(), Duration::from_secs(3));
    let client = site.client(&device);
    let mut stream = client.get(running.url("/endless")).send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    let ended = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(Duration::from_secs(8), ended).await.expect("the stream is cut when the certificate expires");
    assert!(client.get(running.url("/whoami")).send().await.is_err());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let site = Site::new();
    let router = Router::new().route("/moved", get(async || axum::response::Redirect::to("https://127.0.0.1:1/")));
    let running = start_with(site.devices(), router, Limits::default(), everybody()).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    assert_eq!(client.get(running.url("/moved")).send().await.unwrap().status(), 303);
    assert!(client.get(format!("http://{}/moved", running.addr)).send().await.is_err(), "no plain http");
}
