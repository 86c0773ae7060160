//! What a distribution point remembers across restarts and cannot read off its drives: the highest epoch, when versions
//! were verified, which faults are already reported, and the outbox of status messages. All SQL of a point is here.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::{
    database::Database,
    trouble::{Failure, Trouble},
};
use crate::{
    clock,
    content::Fault,
    model::message::{Severity, StatusMessage},
    wire::points::{Assignment, VersionRef},
};

/// Messages kept while the site is away; beyond it the oldest that tell of no failure go first.
const OUTBOX_MAX: i64 = 10_000;

/// The point's database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its directory or its database file cannot be made.
    #[error("the distribution point's directory or database cannot be made")]
    Directory(#[source] std::io::Error),
    /// SQLite.
    #[error("the distribution point's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// Something in it cannot be read.
    #[error("the distribution point's database holds something unreadable")]
    Json(#[from] serde_json::Error),
    /// A newer program wrote it.
    #[error("the distribution point's database was written by a newer version (layout {schema}); upgrade this one")]
    Newer {
        /// Its layout.
        schema: i64,
    },
}

/// What is remembered of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Notes {
    /// When all its bytes were last right, Unix milliseconds.
    pub(super) verified_at_ms: Option<i64>,
    /// The resend token last honoured.
    pub(super) resend_token: Option<String>,
    /// The check number last honoured.
    pub(super) check: u64,
    /// Whether the site was told that copying began.
    pub(super) begun: bool,
    /// Faults the site was told of and that are not repaired yet: each is told once.
    pub(super) faults: Vec<(std::path::PathBuf, crate::content::FaultKind)>,
}

impl Notes {
    /// Whether this fault was told already.
    pub(super) fn knows(&self, fault: &Fault) -> bool {
        self.faults.iter().any(|(path, _)| *path == fault.path)
    }
}

/// The point's database.
#[derive(Debug)]
pub(super) struct Store {
    database: Mutex<Database>,
    outbox: String,
    trouble: Mutex<Trouble>,
}

impl Store {
    /// Opens or makes it. On a full disk what it holds can be read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let (database, failed) = Database::open(path)?;
        let outbox = kept(&database, "outbox")?.unwrap_or_default();
        let mut trouble = Trouble::default();
        if let Some(error) = failed {
            tracing::error!(%error, "the distribution point's disk is full: it serves what it has and keeps nothing new");
            trouble.failed(failure(true, &error));
        }
        Ok(Self { database: Mutex::new(database), outbox, trouble: Mutex::new(trouble) })
    }

    /// Writes something, and notes how that went.
    fn write(&self, f: impl FnOnce(&mut Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let (written, is_full) = {
            let mut database = self.lock();
            let written = database.for_writing().and_then(f);
            let is_full = matches!(&written, Err(StoreError::Sqlite(error)) if database.is_full(error));
            (written, is_full)
        };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &written {
            Ok(()) => trouble.succeeded(),
            Err(StoreError::Sqlite(error)) => trouble.failed(failure(is_full, error)),
            Err(_) => {}
        }
        written
    }

    /// Why the database cannot be written: once for as long as that lasts.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The outbox of what is told while the other one cannot be written. Its numbers are those that the site has.
    pub(super) fn aloud_id(&self) -> String {
        format!("{}-aloud", self.outbox)
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outbox's name: another one after a loss of state.
    pub(super) fn outbox_id(&self) -> &str {
        &self.outbox
    }

    /// The highest epoch seen.
    pub(super) fn epoch(&self) -> Result<u64, StoreError> {
        Ok(kept(&self.lock(), "epoch")?.and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    /// The assignment that is worked on.
    pub(super) fn assignment(&self) -> Result<Option<Assignment>, StoreError> {
        Ok(kept(&self.lock(), "assignment")?.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Remembers an assignment and that its epoch was seen. The caller has compared it with [`Store::epoch`].
    pub(super) fn keep_assignment(&self, assignment: &Assignment) -> Result<(), StoreError> {
        self.write(|connection| {
            let tx = connection.transaction()?;
            keep(&tx, "epoch", &assignment.epoch.to_string())?;
            keep(&tx, "assignment", &serde_json::to_string(assignment)?)?;
            Ok(tx.commit()?)
        })
    }

    /// The scrub token last honoured and when it came, Unix milliseconds.
    pub(super) fn scrub_token(&self) -> Result<Option<(String, i64)>, StoreError> {
        Ok(kept(&self.lock(), "scrub")?.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Remembers a scrub token.
    pub(super) fn keep_scrub_token(&self, token: &str, at_ms: i64) -> Result<(), StoreError> {
        self.write(|connection| keep(connection, "scrub", &serde_json::to_string(&(token, at_ms))?))
    }

    /// What is remembered of a version.
    pub(super) fn notes(&self, version: &VersionRef) -> Result<Notes, StoreError> {
        let key = serde_json::to_string(version)?;
        let text: Option<String> = self
            .lock()
            .prepare_cached("SELECT notes FROM versions WHERE version = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
    }

    /// Remembers something of a version and queues the messages that tell of it, together.
    pub(super) fn note(
        &self,
        version: &VersionRef,
        notes: &Notes,
        messages: &[StatusMessage],
    ) -> Result<(), StoreError> {
        self.write(|connection| {
            let tx = connection.transaction()?;
            tx.execute(
                "INSERT OR REPLACE INTO versions VALUES (?1, ?2)",
                [serde_json::to_string(version)?, serde_json::to_string(notes)?],
            )?;
            messages.iter().try_for_each(|message| enqueue(&tx, message))?;
            Ok(tx.commit()?)
        })
    }

    /// Forgets a version, and queues messages with that.
    pub(super) fn forget(&self, version: &VersionRef, messages: &[StatusMessage]) -> Result<(), StoreError> {
        self.write(|connection| {
            let tx = connection.transaction()?;
            tx.execute("DELETE FROM versions WHERE version = ?1", [serde_json::to_string(version)?])?;
            messages.iter().try_for_each(|message| enqueue(&tx, message))?;
            Ok(tx.commit()?)
        })
    }

    /// The oldest messages that are not acknowledged, within both limits, with their numbers; one at least.
    pub(super) fn outbox(&self, count_max: usize, bytes_max: usize) -> Result<Vec<(u64, StatusMessage)>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT seq, message FROM outbox ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([i64::try_from(count_max).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let (seq, text) = row?;
            bytes += text.len();
            if bytes > bytes_max && !batch.is_empty() {
                break;
            }
            batch.push((seq.cast_unsigned(), serde_json::from_str(&text)?));
        }
        Ok(batch)
    }

    /// Forgets messages that the site has stored. Without any nothing is written, which proves nothing.
    pub(super) fn acknowledge(&self, through: u64) -> Result<(), StoreError> {
        if self.outbox(1, usize::MAX)?.first().is_none_or(|(first, _)| *first > through) {
            return Ok(());
        }
        self.write(|connection| {
            connection.execute("DELETE FROM outbox WHERE seq <= ?1", [through.cast_signed()])?;
            Ok(())
        })
    }
}

fn failure(is_full: bool, error: &rusqlite::Error) -> Failure {
    Failure { at_ms: clock::now_unix_ms(), is_full, why: error.to_string() }
}

pub(super) fn kept(connection: &Connection, topic: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM kept WHERE topic = ?1")?;
    Ok(statement.query_row([topic], |row| row.get(0)).optional()?)
}

pub(super) fn keep(connection: &Connection, topic: &str, value: &str) -> Result<(), StoreError> {
    connection.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2)", [topic, value])?;
    Ok(())
}

/// Failures are never dropped; other messages make room for them.
fn enqueue(connection: &Connection, message: &StatusMessage) -> Result<(), StoreError> {
    let waiting: i64 = connection.query_row("SELECT count(*) FROM outbox", (), |row| row.get(0))?;
    if waiting >= OUTBOX_MAX {
        connection.execute(
            "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE failure = 0 ORDER BY seq LIMIT 1)",
            (),
        )?;
    }
    connection.execute(
        "INSERT INTO outbox (failure, message) VALUES (?1, ?2)",
        params![message.severity != Severity::Informational, serde_json::to_string(message)?],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{Digest, FaultKind},
        dp::messages::About,
        model::identity::ObjectName,
    };

    fn version() -> VersionRef {
        VersionRef { package: ObjectName::new("apps", "editor"), source_version: 3, content: Digest::of(b"x") }
    }

    #[test]
    fn notes_messages_and_epoch_survive_and_numbers_go_on() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("dp.db");
        let store = Store::open(&path).unwrap();
        let outbox = store.outbox_id().to_owned();
        let about = About { point: "dp-1", version: &version(), now_ms: 5 };
        let notes = Notes { faults: vec![("bin/x".into(), FaultKind::Flipped)], check: 4, ..Notes::default() };
        store.note(&version(), &notes, &[about.begins(), about.installed("/d")]).unwrap();
        let assignment = Assignment {
            epoch: 7,
            version: "v".into(),
            drives: Vec::new(),
            scrub_interval: crate::model::duration::Span::from_secs(60),
            scrub_token: None,
            hold: Vec::new(),
            remove: vec![version()],
        };
        store.keep_assignment(&assignment).unwrap();
        store.acknowledge(2).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!((store.outbox_id(), store.epoch().unwrap()), (outbox.as_str(), 7));
        assert_eq!(store.assignment().unwrap(), Some(assignment));
        assert_eq!(store.notes(&version()).unwrap(), notes);
        store.forget(&version(), &[about.removed()]).unwrap();
        assert_eq!(store.notes(&version()).unwrap(), Notes::default());
        let waiting = store.outbox(10, usize::MAX).unwrap();
        assert_eq!(waiting.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_database_that_cannot_be_written_says_so_once_and_goes_on_afterwards() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("dp.db")).unwrap();
        let about = About { point: "dp-1", version: &version(), now_ms: 5 };
        let note = |messages: &[StatusMessage]| store.note(&version(), &Notes::default(), messages);
        note(&[about.begins()]).unwrap();
        assert_eq!(store.take_failure(), None);
        let pages: i64 = store.lock().query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap();
        let limit = |pages: i64| {
            store.lock().query_row(&format!("PRAGMA max_page_count = {pages}"), (), |row| row.get::<_, i64>(0)).unwrap()
        };
        limit(pages);
        let many = vec![about.begins(); 1_000];
        assert!(note(&many).is_err());
        assert!(note(&many).is_err());
        let failure = store.take_failure().unwrap();
        assert!(failure.is_full && failure.why.contains("full"), "{failure:?}");
        store.acknowledge(0).unwrap();
        assert!(note(&many).is_err());
        assert_eq!(store.take_failure(), None, "told once");
        assert_eq!(store.outbox(10, usize::MAX).unwrap().len(), 1, "what cannot be written is not there");
        limit(1_000_000);
        note(&many).unwrap();
        assert_eq!(store.outbox(2_000, usize::MAX).unwrap().len(), 1_001);
    }

    #[test]
    fn a_batch_keeps_to_its_bytes_but_is_never_stuck() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("dp.db")).unwrap();
        let about = About { point: "dp-1", version: &version(), now_ms: 5 };
        store.note(&version(), &Notes::default(), &[about.begins(), about.begins(), about.begins()]).unwrap();
        assert_eq!(store.outbox(10, 1).unwrap().len(), 1);
        assert_eq!(store.outbox(2, usize::MAX).unwrap().len(), 2);
    }
}
