//! Opening the site database, queueing writes, and reading on a small pool of connections.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::{Change, DbError, Tx, kept, schema, site, writer};
use crate::content::durable;

/// Read connections. Reads are short; two cores are kept busy and a long listing does not stop the others.
const READERS_MAX: usize = 4;
/// Changes kept for slow subscribers; one that falls behind further reads everything again.
const CHANGES_MAX: usize = 4_096;
/// How long a statement waits for another process's lock (a backup, an administrator's shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What a write is tried with: the name under which it is kept, and its size.
const PROBE: &str = "probe";
/// See [`PROBE`].
const PROBE_BYTES: usize = 64 << 10;
/// Prepared statements kept per connection: more than this module has.
const STATEMENTS_MAX: usize = 256;

/// The site database. Cheap to clone; the writer ends with the last clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    site: String,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<writer::Job>>,
    writer: Option<JoinHandle<()>>,
    changes: broadcast::Sender<Change>,
    /// Whether a transaction was lost, and none is known to work since.
    refused: Arc<AtomicBool>,
    readers: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Database {
    /// Opens the database, makes it if the file does not exist, upgrades it if it is older. `now` dates a new site.
    ///
    /// # Errors
    /// [`DbError::Open`], [`DbError::Foreign`], [`DbError::TooNew`], [`DbError::TooOld`]; each says the remedy.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, DbError> {
        durable::prepare_private(path).map_err(|source| DbError::Open { path: path.to_owned(), source })?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::prepare(&mut connection, path, now.as_millisecond())?;
        let site = site::read(&connection)?.id;
        let (queue, jobs) = mpsc::channel(writer::QUEUE_MAX);
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let refused = Arc::<AtomicBool>::default();
        let (told, lost) = (changes.clone(), refused.clone());
        let writer = std::thread::Builder::new()
            .name("site-database".into())
            .spawn(move || writer::run(connection, jobs, &told, &lost))
            .map_err(|source| DbError::Open { path: path.to_owned(), source })?;
        let inner = Inner {
            path: path.to_owned(),
            site,
            queue: Some(queue),
            writer: Some(writer),
            changes,
            refused,
            readers: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This site's id: made once, with the database.
    #[must_use]
    pub fn site_id(&self) -> &str {
        &self.inner.site
    }

    /// Runs `f` in the next transaction and answers once that is durable. If `f` fails, nothing of it is kept.
    /// Waits while the queue is full. Dropping the future does not take the write back.
    ///
    /// # Errors
    /// Those of `f`; [`DbError::Commit`] if the transaction was lost, [`DbError::Closed`] at the end of the process.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (answer, result) = oneshot::channel();
        let queue = self.inner.queue.as_ref().ok_or(DbError::Closed)?;
        queue.send(writer::job(f, answer)).await.map_err(|_| DbError::Closed)?;
        result.await.map_err(|_| DbError::Closed)?
    }

    /// Whether writes are taken. After a transaction that was lost another is tried, which changes nothing that is read;
    /// before, none is. That it turned is told as [`Change::Site`].
    ///
    /// # Errors
    /// Those of [`Database::write`].
    pub async fn writable(&self) -> Result<(), DbError> {
        if !self.inner.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Larger than most, so that it needs room as they do.
        self.write(|tx| kept::put(tx, PROBE, &" ".repeat(PROBE_BYTES))).await?;
        self.write(|tx| kept::put(tx, PROBE, "")).await?;
        if self.inner.refused.swap(false, Ordering::Relaxed) {
            // Nobody has to listen.
            let _ = self.inner.changes.send(Change::Site);
        }
        Ok(())
    }

    /// Runs `f` on a read connection, in one consistent view of the database, on a thread for blocking work.
    ///
    /// # Errors
    /// Those of `f`, and [`DbError::Panicked`].
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let permit = Arc::clone(&self.inner.permits).acquire_owned().await.map_err(|_| DbError::Closed)?;
        let inner = Arc::clone(&self.inner);
        let work = tokio::task::spawn_blocking(move || {
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => connect(&inner.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
            };
            let result = {
                let view = connection.unchecked_transaction()?;
                f(&view)
            };
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            result
        });
        work.await.map_err(|_| DbError::Panicked)?
    }

    /// What is committed from now on. A receiver that lags reads everything again.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }
}

impl Drop for Inner {
    /// Lets the writer finish what is queued, so that the file is at rest when the last handle is gone.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            // It ends by itself: panics of queued functions are caught.
            let _ = writer.join();
        }
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, DbError> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

#[cfg(test)]
mod tests;
