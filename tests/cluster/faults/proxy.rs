//! A proxy between a site and a real API server that does what networks and servers do on bad days: it answers 500 after the
//! commit, cuts watches, serves old lists, says 410 and 429, is slow, or does not answer at all. It also counts what is asked.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

use crate::api_level::{ADMIN, RealApi, User};

/// What goes wrong at the moment; nothing by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Every so many-th write is done, and answered with 500.
    pub(crate) lost_answers: Option<usize>,
    /// No request is answered with anything but this.
    pub(crate) everything: Option<StatusCode>,
    /// Watches from a resourceVersion are told that it is gone.
    pub(crate) gone: bool,
    /// Lists of this kind are answered as they were when they were [remembered](Proxy::remember), and nothing newer is heard of it.
    pub(crate) old: Option<&'static str>,
    /// Watches are taken and tell nothing any more, not even that they end.
    pub(crate) wedged: bool,
    /// Each request takes so much longer.
    pub(crate) slow: Option<Duration>,
    /// Methods and parts of paths that are forbidden.
    pub(crate) forbidden: Vec<(Method, &'static str)>,
    /// A text in answers that is replaced by another one.
    pub(crate) replaced: Option<(String, String)>,
}

/// One that runs until it is dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    url: String,
    runtime: Runtime,
}

struct Shared {
    upstream: Client,
    faults: Mutex<Faults>,
    lists: Mutex<HashMap<&'static str, Bytes>>,
    /// Changes when all watches are to be cut.
    cut: watch::Sender<u64>,
    writes: AtomicUsize,
    /// Writes of objects of our group, as method and path.
    ours: Mutex<Vec<String>>,
    /// What went wrong so far, by name.
    seen: Mutex<HashSet<&'static str>>,
    /// Of each kind how many statuses are written at the moment, and how many were at most.
    at_once: Mutex<HashMap<String, (usize, usize)>>,
    /// What was forbidden, by path, and when.
    refused: Mutex<Vec<(String, Instant)>>,
}

impl Proxy {
    /// In front of the API server; what comes through it is asked by `user`.
    pub(crate) fn start(api: &RealApi, user: &User) -> Self {
        let runtime = Runtime::new().unwrap();
        let upstream = runtime.block_on(api.client(user, "default"));
        let shared = Arc::new(Shared {
            upstream,
            faults: Mutex::default(),
            lists: Mutex::default(),
            cut: watch::Sender::default(),
            writes: AtomicUsize::default(),
            ours: Mutex::default(),
            seen: Mutex::default(),
            at_once: Mutex::default(),
            refused: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(pass).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { shared, url, runtime }
    }

    /// A kubeconfig that leads through it.
    pub(crate) fn kubeconfig(&self, api: &RealApi) -> PathBuf {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}], "users": [{"name": ADMIN.name, "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": ADMIN.name, "namespace": "default"}}]});
        let path = api.directory().join("proxy.kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// From now on this goes wrong, and nothing else.
    pub(crate) fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    /// Remembers how a kind is listed now; it is named by the end of its path.
    pub(crate) fn remember(&self, kind: &'static str) {
        let request = http::Request::get(format!("/apis/waybill.dev/v1alpha1{kind}?limit=500"));
        let request = request.body(kube::client::Body::empty()).unwrap();
        let answer = self.runtime.block_on(async {
            self.shared.upstream.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
        });
        self.shared.lists.lock().unwrap().insert(kind, answer);
    }

    /// Cuts every watch.
    pub(crate) fn cut_watches(&self) {
        self.shared.cut.send_modify(|times| *times += 1);
    }

    /// Cuts every watch again and again until it is dropped.
    pub(crate) fn cut_watches_every(&self, pause: Duration) -> Cutter {
        let shared = self.shared.clone();
        Cutter(self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                shared.cut.send_modify(|times| *times += 1);
            }
        }))
    }

    /// Writes of objects of our group since the last call.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.ours.lock().unwrap())
    }

    /// How many statuses of a kind were written at once at most.
    pub(crate) fn most_at_once(&self, plural: &str) -> usize {
        self.shared.at_once.lock().unwrap().get(plural).map_or(0, |(_, most)| *most)
    }

    /// When something was tried that is forbidden.
    pub(crate) fn tries(&self, part: &str) -> Vec<Instant> {
        let refused = self.shared.refused.lock().unwrap();
        refused.iter().filter(|(path, _)| path.contains(part)).map(|(_, at)| *at).collect()
    }

    /// What went wrong so far; a test that relies on a fault asks whether it came about.
    pub(crate) fn seen(&self) -> HashSet<&'static str> {
        self.shared.seen.lock().unwrap().clone()
    }
}

/// Cuts while it lives.
pub(crate) struct Cutter(tokio::task::JoinHandle<()>);

impl Drop for Cutter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let parts: Vec<&str> = request.uri().path().rsplit('/').collect();
    let plural = (parts.first() == Some(&"status")).then(|| parts.get(2).map(|part| (*part).to_owned())).flatten();
    let count = |change: isize| {
        let Some(plural) = &plural else { return };
        let mut all = shared.at_once.lock().unwrap();
        let (now, most) = all.entry(plural.clone()).or_default();
        *now = now.saturating_add_signed(change);
        *most = (*most).max(*now);
    };
    count(1);
    let answer = answer(&shared, request).await;
    count(-1);
    answer
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Response {
    let faults = shared.faults.lock().unwrap().clone();
    let note = |what| shared.seen.lock().unwrap().insert(what);
    if let Some(slow) = faults.slow {
        note("slow");
        tokio::time::sleep(slow).await;
    }
    if let Some(code) = faults.everything {
        note("everything");
        return status(code, "");
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if faults.forbidden.iter().any(|(forbidden, part)| method == *forbidden && uri.path().contains(part)) {
        note("forbidden");
        shared.refused.lock().unwrap().push((uri.path().to_owned(), Instant::now()));
        return status(StatusCode::FORBIDDEN, "Forbidden");
    }
    let asks = uri.query().unwrap_or_default();
    let watches = asks.split('&').any(|word| matches!(word, "watch=true" | "watch=1"));
    if watches && (faults.gone || faults.old.is_some_and(|kind| uri.path().ends_with(kind))) {
        note("gone");
        return status(StatusCode::GONE, "Expired");
    }
    let reads = method == Method::GET;
    let lost = !reads && is_lost(shared, &faults);
    if !reads && uri.path().starts_with("/apis/waybill.dev/") {
        shared.ours.lock().unwrap().push(format!("{method} {}", uri.path()));
    }
    let cut = shared.cut.subscribe();
    let answer = match forward(shared, request).await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error).into_response(),
    };
    if lost {
        let _ = answer.into_body().collect().await;
        note("lost");
        return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    }
    if watches {
        return answer.map(|body| {
            let text = body.into_data_stream().map_ok(move |part| replaced(part, &faults));
            Body::from_stream(futures::stream::unfold((text, cut, shared.clone()), told))
        });
    }
    if reads && faults.replaced.is_some() {
        return rewritten(answer, |part| replaced(part, &faults)).await;
    }
    if reads && !asks.contains("fieldSelector") { aged(shared, &faults, &uri, answer).await } else { answer }
}

/// What a watch tells next; where it was before the next one.
async fn told<T>(
    (mut text, mut cut, shared): (T, watch::Receiver<u64>, Arc<Shared>),
) -> Option<(T::Item, (T, watch::Receiver<u64>, Arc<Shared>))>
where
    T: futures::Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    let next = async {
        let part = text.next().await;
        while shared.faults.lock().unwrap().wedged {
            shared.seen.lock().unwrap().insert("wedged");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        part
    };
    let part = tokio::select! {
        part = next => part?,
        // A cut is no end: the answer just stops.
        _ = cut.changed() => Err(axum::Error::new(std::io::Error::other("cut"))),
    };
    Some((part, (text, cut, shared)))
}

fn is_lost(shared: &Shared, faults: &Faults) -> bool {
    let number = shared.writes.fetch_add(1, Ordering::Relaxed) + 1;
    faults.lost_answers.is_some_and(|every| number.is_multiple_of(every))
}

async fn forward(shared: &Shared, request: Request) -> Result<Response, String> {
    let (mut head, body) = request.into_parts();
    head.headers.remove("host");
    head.headers.remove("accept-encoding");
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let words = head.uri.path_and_query().map_or("/", |words| words.as_str()).to_owned();
    head.uri = words.parse().map_err(|error| format!("{error}"))?;
    let request = http::Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    let answer = shared.upstream.send(request).await.map_err(|error| error.to_string())?;
    Ok(answer.map(Body::new))
}

/// A list as it was when it was remembered, if that is what goes wrong. One object that is asked for by name is always fresh, and
/// so is a list that is asked for without pages.
async fn aged(shared: &Shared, faults: &Faults, uri: &Uri, answer: Response) -> Response {
    let pages = uri.query().is_some_and(|asks| asks.contains("limit="));
    let old = faults.old.filter(|kind| pages && uri.path().ends_with(kind));
    let Some(old) = old.and_then(|kind| shared.lists.lock().unwrap().get(kind).cloned()) else { return answer };
    shared.seen.lock().unwrap().insert("old list");
    rewritten(answer, |_| old).await
}

async fn rewritten(answer: Response, change: impl FnOnce(Bytes) -> Bytes) -> Response {
    let (mut head, body) = answer.into_parts();
    head.headers.remove("content-length");
    match body.collect().await {
        Ok(body) => Response::from_parts(head, Body::from(change(body.to_bytes()))),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn replaced(text: Bytes, faults: &Faults) -> Bytes {
    match &faults.replaced {
        Some((from, to)) => String::from_utf8_lossy(&text).replace(from, to).into(),
        None => text,
    }
}

/// An answer as an API server says that something is wrong.
fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": "by the test's proxy", "code": code.as_u16()});
    let mut answer = (code, axum::Json(body)).into_response();
    if code == StatusCode::TOO_MANY_REQUESTS {
        answer.headers_mut().insert("retry-after", 1.into());
    }
    answer
}
