//! Whether a cluster's API server still tells what changes: each watch has to give a sign of life now and then, if only by ending
//! when it was to end; that it was begun is none. One that gives none, while the same API server takes renewals of the Lease, is
//! wedged, and nothing but a new process mends that. A watch that is refused is not: a new process would be refused, too. Neither
//! is an API server that is gone: then the Lease runs out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::once,
};
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// The last signs of life of each watch, by the resource. Clones are one.
#[derive(Clone)]
pub(super) struct Watched {
    signs: Arc<Mutex<BTreeMap<String, Signs>>>,
    silence_max: Duration,
}

/// When something was heard of a watch, and when it was refused last.
#[derive(Clone, Copy)]
struct Signs {
    heard: Instant,
    refused: Option<Instant>,
}

impl Watched {
    /// Of watches that the API server ends after `timeout`: one that is silent for twice as long was not taken up again, or
    /// neither told anything nor ended.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { signs: Arc::default(), silence_max: timeout * 2 }
    }

    /// From now on these are expected.
    pub(super) fn expect(&self, resources: impl IntoIterator<Item = String>) {
        let signs = Signs { heard: Instant::now(), refused: None };
        self.all().extend(resources.into_iter().map(|resource| (resource, signs)));
    }

    /// Whether everything is heard of.
    pub(super) fn heard(&self) -> Result<(), String> {
        self.check_at(Instant::now(), |signs| signs.heard)
    }

    /// Whether nothing is wedged.
    pub(super) fn unwedged(&self) -> Result<(), String> {
        self.check_at(Instant::now(), Signs::last)
    }

    fn check_at(&self, now: Instant, last: impl Fn(&Signs) -> Instant) -> Result<(), String> {
        let signs = self.all();
        let silent: Vec<&str> = signs
            .iter()
            .filter(|(_, signs)| now.duration_since(last(signs)) > self.silence_max)
            .map(|(resource, _)| resource.as_str())
            .collect();
        if silent.is_empty() {
            return Ok(());
        }
        Err(format!("nothing was heard for {} s of {}", self.silence_max.as_secs(), silent.join(", ")))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Signs>> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, resource: &str, change: impl Fn(&mut Signs, Instant)) {
        self.all().entry(resource.to_owned()).and_modify(|signs| change(signs, Instant::now()));
    }
}

impl Signs {
    fn last(&self) -> Instant {
        self.refused.map_or(self.heard, |refused| refused.max(self.heard))
    }
}

/// The resource that a request lists or watches: the last part of its path.
fn resource(request: &Request<Body>) -> String {
    request.uri().path().rsplit('/').next().unwrap_or_default().to_owned()
}

fn watches(request: &Request<Body>) -> bool {
    let mut terms = request.uri().query().unwrap_or_default().split('&');
    terms.any(|term| matches!(term, "watch=true" | "watch=1"))
}

impl<S> Layer<S> for Watched {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted { inner, watched: self.clone() }
    }
}

/// A service that notes what its watches give.
#[derive(Clone)]
pub(super) struct Noted<S> {
    inner: S,
    watched: Watched,
}

impl<S, B> Service<Request<Body>> for Noted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (resource, is_watch) = (resource(&request), watches(&request));
        let (answer, watched) = (self.inner.call(request), self.watched.clone());
        async move {
            let answer = answer.await.map_err(Into::into)?;
            if answer.status().is_client_error() {
                watched.note(&resource, |signs, now| signs.refused = Some(now));
            }
            if !(is_watch && answer.status().is_success()) {
                return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            Ok(answer.map(|body| {
                let mut broken = false;
                let parts = BodyStream::new(body).map(Some).chain(once(ready(None)));
                let noted = parts.filter_map(move |part| {
                    broken |= matches!(part, Some(Err(_)));
                    if !broken {
                        watched.note(&resource, |signs, now| signs.heard = now);
                    }
                    ready(part)
                });
                StreamBody::new(noted).map_err(Into::into).boxed_unsync()
            }))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Frame;
    use tokio::sync::mpsc;
    use tower::{ServiceExt, service_fn};

    use super::*;

    const SILENCE_MAX: Duration = Duration::from_secs(400);
    /// Between two looks.
    const STEP: Duration = Duration::from_millis(20);

    type Answer = Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;

    /// Sends a request that is answered so.
    async fn ask(watched: &Watched, code: u16, body: UnsyncBoxBody<bytes::Bytes, BoxError>, uri: &str) -> Answer {
        let mut answer = Some(Response::builder().status(code).body(body).unwrap());
        let service = watched.layer(service_fn(move |_| {
            let answer = answer.take().unwrap();
            async move { Ok::<_, BoxError>(answer) }
        }));
        service.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_watch_that_gives_no_sign_of_life_is_named() {
        let watched = Watched::new(SILENCE_MAX / 2);
        let start = Instant::now();
        watched.expect(["packages".to_owned(), "sites".to_owned()]);
        let expected = Instant::now();
        let after = |steps: u32| watched.check_at(expected + SILENCE_MAX + STEP * steps, |signs| signs.heard);
        let wedged_after = |steps: u32| watched.check_at(expected + SILENCE_MAX + STEP * steps, Signs::last);
        let silent = |of: &str| Err(format!("nothing was heard for 400 s of {of}"));
        assert_eq!((watched.heard(), watched.check_at(start + SILENCE_MAX, Signs::last)), (Ok(()), Ok(())));
        assert_eq!(after(1), silent("packages, sites"));

        let (sender, mut receiver) = mpsc::unbounded_channel::<Result<Frame<bytes::Bytes>, BoxError>>();
        let stream = StreamBody::new(futures::stream::poll_fn(move |cx| receiver.poll_recv(cx))).boxed_unsync();
        let path = "http://x/apis/waybill.dev/v1alpha1/packages?&watch=true&timeoutSeconds=200";
        tokio::time::sleep(STEP * 2).await;
        let mut answer = ask(&watched, 200, stream, path).await;
        assert_eq!(after(1), silent("packages, sites"), "that it was begun is no sign");
        // A frame is one; an end that came too early, a refusal and what is no watch are none.
        sender.send(Ok(Frame::data("x".into()))).unwrap();
        assert!(answer.body_mut().frame().await.is_some());
        assert_eq!(after(1), silent("sites"));
        tokio::time::sleep(STEP * 20).await;
        sender.send(Err("cut".into())).unwrap();
        drop(sender);
        while answer.body_mut().frame().await.is_some() {}
        let empty = || http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        for (code, uri) in [(403, path), (200, "http://x/apis/waybill.dev/v1alpha1/packages")] {
            while ask(&watched, code, empty(), uri).await.body_mut().frame().await.is_some() {}
        }
        assert_eq!((after(20), wedged_after(20)), (silent("packages, sites"), silent("sites")), "who refuses answers");
        // The end that was to come is one, too.
        while ask(&watched, 200, empty(), path).await.body_mut().frame().await.is_some() {}
        assert_eq!(after(20), silent("sites"));
    }
}
