//! Request bodies that arrive too slowly are given up: a body has a total time, and after a grace a lowest average rate.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::Limits;
use super::pace::Pace;

/// The body came in too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the request's body arrives too slowly")]
pub(super) struct TooSlow;

/// A request body under the time limits of [`Limits`].
pub(super) struct PacedBody {
    body: Incoming,
    started: Instant,
    received_bytes: u64,
    pace: Pace,
    total: Duration,
    /// Fires at the moment by which more must have come. Made when the body first has to be waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl PacedBody {
    pub(super) fn new(body: Incoming, limits: &Limits) -> Self {
        Self {
            body,
            started: Instant::now(),
            received_bytes: 0,
            pace: Pace { grace: limits.header_timeout, bytes_per_sec_min: limits.body_bytes_per_sec_min },
            total: limits.body_timeout,
            deadline: None,
        }
    }

    /// When more must have come.
    fn due(&self) -> Instant {
        self.started + self.pace.allowance(self.received_bytes).min(self.total)
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some(Ok(data)) = &frame {
                    self.received_bytes += data.data_ref().map_or(0, |data| data.len() as u64);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let due = self.due();
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(due)));
                deadline.as_mut().reset(due);
                deadline.as_mut().poll(context).map(|()| Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
