//! Transfers have a total time that grows with their size, on both sides.

use std::io::Read as _;
use std::time::Instant;

use axum::body::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::transport::download::Download;
use crate::transport::pace::Pace;

/// More than the kernel's and the library's buffers between two processes take.
const LARGE_BYTES: usize = 64 << 20;
/// A short grace, then some MiB a second: what stalls is late after half a second.
const SHORT: Pace = Pace { grace: Duration::from_millis(500), bytes_per_sec_min: 256 << 20 };

/// `count` pieces of so many bytes, a tenth of a second apart.
fn trickle(bytes: usize, count: usize) -> Body {
    Body::from_stream(futures::stream::unfold(0, move |sent| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (sent < count).then(|| (Ok::<_, std::io::Error>(vec![b'x'; bytes]), sent + 1))
    }))
}

async fn serving(site: &Site, answer: Pace) -> Running {
    let router = Router::new()
        .route("/large", get(async || vec![7_u8; LARGE_BYTES]))
        .route("/brisk", get(async || trickle(500, 15)))
        .route("/trickle", get(async || trickle(10, 100)))
        .route("/silence", get(async || std::future::pending::<String>().await));
    start_with(site.devices(), router, Limits { answer, ..Limits::default() }, everybody()).await
}

#[tokio::test]
async fn an_answer_must_be_taken() {
    let site = Site::new();
    let running = serving(&site, SHORT).await;
    let device = site.device(Role::Client, "c-1");
    let mut stalled = raw(&site, Some(&device), &running, |_| {}).await.unwrap();
    stalled.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut begin = [0; 1000];
    stalled.read_exact(&mut begin).await.unwrap();
    // Nothing is read for longer than the grace and a look of the judge; then the other side is gone.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), stalled.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < LARGE_BYTES - begin.len(), "it was cut off: {ended:?}");

    // Who takes it gets all of it, and an answer without a length may take its time.
    let unhurried = Pace { bytes_per_sec_min: 1, grace: Duration::from_secs(60) };
    let running = serving(&site, unhurried).await;
    let client = site.client(&device);
    let whole = client.get(running.url("/large")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(whole.len(), LARGE_BYTES);
    assert_eq!(text(&client, running.url("/brisk")).await.len(), 7_500);
}

#[tokio::test]
async fn an_answer_without_a_length_takes_its_time() {
    let site = Site::new();
    let running = serving(&site, Pace { grace: Duration::from_millis(100), bytes_per_sec_min: 1 << 20 }).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    assert_eq!(text(&client, running.url("/brisk")).await.len(), 7_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_must_keep_coming() {
    let site = Site::new();
    let running = serving(&site, Limits::default().answer).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let pace = Pace { grace: Duration::from_millis(500), bytes_per_sec_min: 1000 };
    let runtime = tokio::runtime::Handle::current();
    let fetch = |path: &str| {
        let (client, url, runtime) = (client.clone(), running.url(path), runtime.clone());
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            Download::open_at(&runtime, &client, &url, 0, pace)?.read_to_end(&mut bytes)
        })
    };
    // 5,000 bytes a second for a second and a half is fine; 100 bytes a second is not, and no answer at all neither.
    assert_eq!(fetch("/brisk").await.unwrap().unwrap(), 7_500);
    for path in ["/trickle", "/silence"] {
        let begun = Instant::now();
        assert_eq!(fetch(path).await.unwrap().unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{path}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{path}: given up long before its end");
    }
}
