//! Counts what a listener answers: requests by class of status, and bytes as they are sent. Changes nothing.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::{BoxError, Router};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::metrics;

/// Counts for all routes of `router`, under the name of its listener.
pub fn measured(listener: &'static str, router: Router) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        let response = next.run(request).await;
        metrics::request(listener, response.status().as_u16());
        response.map(|body| Body::new(Counted { body, listener }))
    }))
}

struct Counted {
    body: Body,
    listener: &'static str,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context).map_err(Into::into);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            metrics::sent(self.listener, frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
