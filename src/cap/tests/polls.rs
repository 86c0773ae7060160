//! Polls: 304 without news, waiting for news, and only so many at a time.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use futures::{StreamExt, stream::FuturesUnordered};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    transport::peer::{Identity, Peer},
    trust::identity::{PeerIdentity, Role},
    wire::policy::PolicyAnswer,
};

/// Takes nothing: these tests only read.
struct Nowhere;

impl Upstream for Nowhere {
    fn status(&self, _: String, _: SignedBatch) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(async { Err(Refusal::Unavailable("away".into())) })
    }

    fn inventory(&self, _: String, _: SignedInventory) -> BoxFuture<'_, Result<Envelope, Refusal>> {
        Box::pin(async { Err(Refusal::Unavailable("away".into())) })
    }

    fn bad_content(&self, _: String, _: BadContent) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::Unavailable("away".into())) })
    }

    fn heard(&self, _: Heard) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::Unavailable("away".into())) })
    }
}

async fn poll(router: &Router, client: &str, wait_secs: u64, tag: Option<&str>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let not_after = clock::now() + Duration::from_secs(3600);
    let device = PeerIdentity { site_id: "hq".into(), role: Role::Client, id: client.into(), not_after };
    let mut request = Request::get(format!("/cap/v1/policy?wait={wait_secs}"));
    if let Some(tag) = tag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer { identity: Identity::Device(device), addr: ([127, 0, 0, 1], 1).into() });
    let answer = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn tag(headers: &HeaderMap) -> String {
    headers[header::ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_news_a_poll_costs_a_304_and_news_for_others_is_none() {
    let key = SiteKey::generate().unwrap();
    let (publish, published) = watch::channel(indexed(snapshot(&key, (1, 5), &["c-1", "c-2"], "{}")));
    let router = routes::router(Cap::new(published, Arc::new(Nowhere)));
    let (status, headers, body) = poll(&router, "c-1", 0, None).await;
    assert_eq!(status, StatusCode::OK);
    let answer: PolicyAnswer = serde_json::from_slice(&body).unwrap();
    assert_eq!((answer.leaf.client.as_str(), answer.leaf.version), ("c-1", 5));
    let had = tag(&headers);
    let (status, _, body) = poll(&router, "c-1", 0, Some(&had)).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));

    // A new root in which this client's leaf is the same is no news for it.
    let mut next = snapshot(&key, (1, 6), &["c-1", "c-2"], "{}");
    next.leaves = snapshot(&key, (1, 5), &["c-1", "c-2"], "{}").leaves;
    let tree = MerkleTree::new(next.leaves.iter().map(published::leaf_bytes));
    let mut root: PolicyRoot = serde_json::from_str(&next.root.payload).unwrap();
    root.leaves_root = tree.root();
    next.root = Envelope::sign(ROOT_TYPE, serde_json::to_string(&root).unwrap(), &key).unwrap();
    publish.send_replace(indexed(next));
    assert_eq!(poll(&router, "c-1", 0, Some(&had)).await.0, StatusCode::NOT_MODIFIED);

    // A long poll returns with the news.
    let waiting = poll(&router, "c-1", 300, Some(&had));
    let news = async {
        tokio::task::yield_now().await;
        publish.send_replace(indexed(snapshot(&key, (1, 7), &["c-1", "c-2"], "{ }")));
    };
    let ((status, headers, _), ()) = tokio::join!(waiting, news);
    assert_eq!(status, StatusCode::OK);
    assert_ne!(tag(&headers), had);
    assert_eq!(poll(&router, "stranger", 0, None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn long_polls_are_bounded_and_one_more_is_answered_at_once() {
    let key = SiteKey::generate().unwrap();
    let (publish, published) = watch::channel(indexed(snapshot(&key, (1, 5), &["c-1"], "{}")));
    let cap = Cap::new(published, Arc::new(Nowhere));
    let router = routes::router(cap.clone());
    let had = tag(&poll(&router, "c-1", 0, None).await.1);
    let mut waiting: FuturesUnordered<_> =
        (0..LONG_POLLS_MAX).map(|_| Box::pin(poll(&router, "c-1", 300, Some(&had)))).collect();
    // Nobody is answered, and everybody has been asked once: all places are taken.
    let early = tokio::select! {
        biased;
        early = waiting.next() => early,
        () = async { while cap.long_polls.available_permits() > 0 { tokio::task::yield_now().await } } => None,
    };
    assert!(early.is_none(), "{early:?}");
    let more = tokio::time::timeout(Duration::from_secs(30), poll(&router, "c-1", 300, Some(&had)));
    assert_eq!(more.await.expect("it does not wait").0, StatusCode::NOT_MODIFIED);

    publish.send_replace(indexed(snapshot(&key, (1, 6), &["c-1"], "{ }")));
    let mut answered = 0;
    while let Some((status, ..)) = waiting.next().await {
        assert_eq!(status, StatusCode::OK);
        answered += 1;
    }
    assert_eq!(answered, LONG_POLLS_MAX);
    assert_eq!(cap.long_polls.available_permits(), LONG_POLLS_MAX, "every place is given back");
}
