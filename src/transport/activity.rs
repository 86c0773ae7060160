//! Whether a connection is of any use: requests in progress, and since when there are none. A request counts until the
//! last byte of its answer was handed over or given up.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::limits::Limits;

/// Large frames are handed over in pieces of this size, so that an answer is in progress until most of it is gone.
const PIECE_BYTES: usize = 256 << 10;

/// What a connection has been doing.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    in_progress: usize,
    ever: bool,
    since: Instant,
    /// Answers of known length that are being sent, by a number of their own.
    answers: HashMap<u64, Sending>,
    next_answer: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    begun: Instant,
    sent_bytes: u64,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works, or may rest a little longer.
    Keep,
    /// It has had its time without a request: say good-bye.
    Finish,
    /// It never sent a request, or takes an answer too slowly: drop it.
    Cut,
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InProgress(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            in_progress: 0,
            ever: false,
            since: Instant::now(),
            answers: HashMap::new(),
            next_answer: 0,
        })))
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
        let is_late = |one: &Sending| one.begun.elapsed() > limits.answer.allowance(one.sent_bytes);
        if state.answers.values().any(is_late) {
            return Verdict::Cut;
        }
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

/// An answer of known length that is being sent; nobody but the connection's judge can end it, for its body is not
/// asked for more while the other side takes nothing.
struct Answer {
    activity: Arc<Activity>,
    number: u64,
}

impl Answer {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut number = 0;
        activity.change(|state| {
            number = state.next_answer;
            state.next_answer += 1;
            state.answers.insert(number, Sending { begun: Instant::now(), sent_bytes: 0 });
        });
        Self { activity: activity.clone(), number }
    }

    fn sent(&self, bytes: usize) {
        self.activity.change(|state| {
            if let Some(sending) = state.answers.get_mut(&self.number) {
                sending.sent_bytes += bytes as u64;
            }
        });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.change(|state| {
            state.answers.remove(&self.number);
        });
    }
}

/// An answer that keeps its request in progress for as long as its body lives, and must be taken if its length is known.
pub(super) fn held(answer: Response<Body>, request: InProgress) -> Response<Body> {
    if answer.body().is_end_stream() {
        return answer;
    }
    let is_sized = answer.headers().contains_key(CONTENT_LENGTH) || answer.body().size_hint().exact().is_some();
    let sending = is_sized.then(|| Answer::begin(&request.0));
    answer.map(|body| Body::new(Held { body, rest: Bytes::new(), sending, _request: request }))
}

struct Held {
    body: Body,
    /// What is left of a large frame.
    rest: Bytes,
    sending: Option<Answer>,
    _request: InProgress,
}

impl Held {
    /// The next piece of what is left.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        if let Some(sending) = &self.sending {
            sending.sent(piece.len());
        }
        Frame::data(piece)
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context)?);
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.rest = data;
                Poll::Ready(Some(Ok(self.piece())))
            }
            // Trailers.
            Some(Err(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}
