//! Whether a connection is of any use: requests in progress, and since when there are none. A request counts until the
//! last byte of its answer was handed over or given up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::limits::Limits;

/// What a connection has been doing.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    in_progress: usize,
    ever: bool,
    since: Instant,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works, or may rest a little longer.
    Keep,
    /// It has had its time without a request: say good-bye.
    Finish,
    /// It never sent a request: drop it.
    Cut,
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InProgress(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { in_progress: 0, ever: false, since: Instant::now() })))
    }

    pub(super) fn begin(self: &Arc<Self>) -> InProgress {
        self.change(|state| {
            state.in_progress += 1;
            state.ever = true;
        });
        InProgress(self.clone())
    }

    pub(super) fn verdict(&self, limits: &Limits) -> Verdict {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = state.since.elapsed();
        match (state.in_progress, state.ever) {
            (0, false) if quiet >= limits.header_timeout => Verdict::Cut,
            (0, true) if quiet >= limits.idle_timeout => Verdict::Finish,
            _ => Verdict::Keep,
        }
    }

    fn change(&self, apply: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut state);
        state.since = Instant::now();
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.change(|state| state.in_progress -= 1);
    }
}

/// An answer's body that keeps its request in progress for as long as it lives.
pub(super) fn held(body: Body, request: InProgress) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Held { body, _request: request })
}

struct Held {
    body: Body,
    _request: InProgress,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
