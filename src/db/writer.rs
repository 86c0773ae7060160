//! The one writer: a thread that takes queued functions, runs each in a savepoint, commits all of them at once and
//! only then answers. A function that fails is undone alone; a commit that fails fails all of its batch.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc};

use super::{Change, DbError};
use crate::metrics;

/// Functions that wait for the writer; more of them wait in their callers. Bounds memory, not throughput.
pub(super) const QUEUE_MAX: usize = 1_024;
/// Functions in one commit. One fsync (about 2 ms) carries many; the last of a batch still waits a short time only.
const BATCH_MAX: usize = 256;

/// Why a transaction was lost; shared by all who were in it.
type Lost = Arc<rusqlite::Error>;
/// Answers the caller: with its result, or with the reason why the commit was lost.
type Reply = Box<dyn FnOnce(Option<Lost>) + Send>;
/// A queued function: says whether its savepoint is kept, and how its caller is answered.
pub(super) type Job = Box<dyn FnOnce(Result<&mut Tx, Lost>) -> (bool, Reply) + Send>;

/// A write transaction. Reads through it see what it has written.
pub struct Tx {
    connection: Connection,
    touched: Vec<Change>,
}

impl Tx {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, touched: Vec::new() }
    }

    /// Notes that something changed; told to subscribers once it is committed.
    pub fn touch(&mut self, change: Change) {
        self.touched.push(change);
    }

    /// Runs a function in a savepoint of its own and keeps its reply for later.
    fn attempt(&mut self, job: Job, replies: &mut Vec<Reply>) -> Result<(), Lost> {
        if let Err(error) = self.connection.execute_batch("SAVEPOINT one").map_err(Arc::new) {
            replies.push(job(Err(Arc::clone(&error))).1);
            return Err(error);
        }
        let mark = self.touched.len();
        let (keep, reply) = job(Ok(self));
        replies.push(reply);
        if !keep {
            self.touched.truncate(mark);
        }
        // A full disk makes SQLite undo the whole transaction by itself; the statement below then fails, as it should.
        let end = if keep { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
        self.connection.execute_batch(end).map_err(Arc::new)
    }

    /// Runs the batch in one transaction. Every function of it has its reply in `replies`, also when it fails.
    fn commit(&mut self, batch: &mut Vec<Job>, replies: &mut Vec<Reply>) -> Result<(), Lost> {
        let mut outcome = self.connection.execute_batch("BEGIN IMMEDIATE").map_err(Arc::new);
        for job in batch.drain(..) {
            match &outcome {
                Ok(()) => outcome = self.attempt(job, replies),
                Err(lost) => replies.push(job(Err(Arc::clone(lost))).1),
            }
        }
        outcome = outcome.and_then(|()| self.connection.execute_batch("COMMIT").map_err(Arc::new));
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(Arc::new)?;
        }
        outcome
    }
}

impl Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Makes a queued function of `f` that answers through `answer`.
pub(super) fn job<T: Send + 'static>(
    f: impl FnOnce(&mut Tx) -> Result<T, DbError> + Send + 'static,
    answer: tokio::sync::oneshot::Sender<Result<T, DbError>>,
) -> Job {
    Box::new(move |tx| {
        let result = match tx {
            Ok(tx) => catch_unwind(AssertUnwindSafe(|| f(tx))).unwrap_or(Err(DbError::Panicked)),
            Err(lost) => Err(DbError::Commit(lost)),
        };
        let keep = result.is_ok();
        let reply: Reply = Box::new(move |lost| {
            let result = match lost {
                Some(error) if keep => Err(DbError::Commit(error)),
                _ => result,
            };
            // A caller that went away does not need the answer; its write stands all the same.
            let _ = answer.send(result);
        });
        (keep, reply)
    })
}

/// The writer's loop; ends when the last [`super::Database`] is gone and the queue is empty.
pub(super) fn run(
    connection: Connection,
    mut queue: mpsc::Receiver<Job>,
    changes: &broadcast::Sender<Change>,
    refused: &AtomicBool,
) {
    let mut tx = Tx::new(connection);
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        metrics::writes_waiting(batch.len() + queue.len());
        let mut replies = Vec::with_capacity(batch.len());
        let lost = tx.commit(&mut batch, &mut replies).err();
        let mut touched = std::mem::take(&mut tx.touched);
        if let Some(error) = &lost {
            tracing::error!(%error, writes = replies.len(), "a transaction of the site database was lost");
            if !refused.swap(true, Ordering::Relaxed) {
                let _ = changes.send(Change::Site);
            }
        } else {
            touched.sort_unstable();
            touched.dedup();
            for change in touched {
                // Nobody has to listen.
                let _ = changes.send(change);
            }
        }
        for reply in replies {
            reply(lost.clone());
        }
        metrics::writes_waiting(queue.len());
    }
}
