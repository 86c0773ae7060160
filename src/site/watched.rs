//! Whether a cluster's API server still tells what changes: each watch has to give a sign of life now and then, if only by ending
//! and being taken up again. One that does not, while the same API server takes renewals of the Lease, is wedged, and nothing but a
//! new process mends that. An API server that is gone is another matter: then the Lease runs out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// Twice the time after which the API server ends a watch by itself: it was not taken up again, or never ended.
const SILENCE_MAX: Duration = Duration::from_secs(2 * crate::controller::WATCH_TIMEOUT_SECS as u64);

/// The last sign of life of each watch, by the resource. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Watched {
    /// From now on these are expected.
    pub(super) fn expect(&self, resources: impl IntoIterator<Item = String>) {
        resources.into_iter().for_each(|resource| self.note(&resource));
    }

    /// What is wrong, if something is.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), String> {
        let signs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent: Vec<&str> = signs
            .iter()
            .filter(|(_, last)| now.duration_since(**last) > SILENCE_MAX)
            .map(|(resource, _)| resource.as_str())
            .collect();
        if silent.is_empty() {
            return Ok(());
        }
        Err(format!("nothing was heard for {} s of {}", SILENCE_MAX.as_secs(), silent.join(", ")))
    }

    fn note(&self, resource: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.to_owned(), Instant::now());
    }
}

/// The resource that a request watches: the last part of its path, of one that asks for a watch.
fn watches(request: &Request<Body>) -> Option<String> {
    let mut terms = request.uri().query().unwrap_or_default().split('&');
    let is_watch = terms.any(|term| matches!(term, "watch=true" | "watch=1"));
    is_watch.then(|| request.uri().path().rsplit('/').next().unwrap_or_default().to_owned())
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
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let resource = watches(&request);
        let (answer, watched) = (self.inner.call(request), self.watched.clone());
        async move {
            let answer = answer.await.map_err(Into::into)?;
            let resource = resource.filter(|_| answer.status().is_success());
            let note = move || resource.iter().for_each(|resource| watched.note(resource));
            note();
            Ok(answer.map(|body| {
                let noted = body.map_frame(move |frame| {
                    note();
                    frame
                });
                noted.map_err(Into::into).boxed_unsync()
            }))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
    use hyper::body::Frame;
    use tokio::sync::mpsc;
    use tower::{ServiceExt, service_fn};

    use super::*;

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
        let watched = Watched::default();
        let start = Instant::now();
        watched.expect(["packages".to_owned(), "sites".to_owned()]);
        let expected = Instant::now();
        let after = |steps: u32| watched.check_at(expected + SILENCE_MAX + STEP * steps);
        let silent = |of: &str| Err(format!("nothing was heard for 400 s of {of}"));
        assert_eq!((watched.check(), watched.check_at(start + SILENCE_MAX)), (Ok(()), Ok(())));
        assert_eq!(after(1), silent("packages, sites"));

        let (sender, mut receiver) = mpsc::unbounded_channel::<Result<Frame<bytes::Bytes>, BoxError>>();
        let stream = StreamBody::new(futures::stream::poll_fn(move |cx| receiver.poll_recv(cx))).boxed_unsync();
        let path = "http://x/apis/waybill.dev/v1alpha1/packages?&watch=true&timeoutSeconds=200";
        tokio::time::sleep(STEP * 2).await;
        let mut answer = ask(&watched, 200, stream, path).await;
        assert_eq!(after(1), silent("sites"));
        assert_eq!(after(20), silent("packages, sites"));
        // A frame is a sign; a refusal and what is no watch are none.
        tokio::time::sleep(STEP * 20).await;
        sender.send(Ok(Frame::data("x".into()))).unwrap();
        assert!(answer.body_mut().frame().await.is_some());
        let empty = || http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        ask(&watched, 403, empty(), &path.replace("packages", "sites")).await;
        ask(&watched, 200, empty(), "http://x/apis/waybill.dev/v1alpha1/sites").await;
        assert_eq!(after(20), silent("sites"));
    }
}
