//! The agent's own small database: policy as it was verified, history of runs, outbox of status messages, users'
//! requests. All SQL of the agent is here. The journal of runs is the truth about what was started; see `run`.

use std::{path::Path, sync::Mutex};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    model::{identity::ProgramIdentity, message::StatusMessage},
    plan::run::PastRun,
};

/// Layout that this program writes.
const SCHEMA: i64 = 1;
/// Oldest layout whose programs can open what this one writes.
const MIN_READER: i64 = 1;
/// Messages kept while the site cannot be reached; beyond it the oldest that tell of no outcome go first.
pub const OUTBOX_MAX: i64 = 10_000;
/// Runs kept in history for one program; the rules look at the last and at keys, and keys repeat.
const RUNS_PER_PROGRAM_MAX: u32 = 1_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kept (topic TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (digest TEXT PRIMARY KEY, envelope TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, program TEXT NOT NULL, run_dir TEXT NOT NULL UNIQUE, run TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS runs_by_program ON runs (program, id);
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, outcome INTEGER NOT NULL, message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, advertisement TEXT NOT NULL, user TEXT NOT NULL, made_ms INTEGER NOT NULL);
";

/// The agent's database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite.
    #[error("the agent's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// Something in it cannot be read.
    #[error("the agent's database holds something unreadable")]
    Json(#[from] serde_json::Error),
    /// A newer agent wrote it.
    #[error("the agent's database was written by a newer version (layout {schema}); upgrade the agent")]
    Newer {
        /// Its layout.
        schema: i64,
    },
}

/// A local user's request to start a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id, the occurrence of the run.
    pub id: String,
    /// The advertisement, `namespace/name`.
    pub advertisement: String,
    /// The user's name, from the socket's peer.
    pub user: String,
}

/// The agent's database.
#[derive(Debug)]
pub struct Store(Mutex<Connection>);

impl Store {
    /// Opens or makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What the outbox acknowledges to programs' users must survive a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(TABLES)?;
        let meta = |key: &str| -> rusqlite::Result<Option<i64>> {
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
        };
        if let Some(min_reader) = meta("minReader")?
            && min_reader > SCHEMA
        {
            return Err(StoreError::Newer { schema: meta("schema")?.unwrap_or_default() });
        }
        for (key, value) in [("schema", SCHEMA), ("minReader", MIN_READER)] {
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![key, value])?;
        }
        Ok(Self(Mutex::new(connection)))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What is kept under this topic.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get<T: DeserializeOwned>(&self, topic: &str) -> Result<Option<T>, StoreError> {
        self.with(|connection| {
            let text: Option<String> =
                connection.query_row("SELECT text FROM kept WHERE topic = ?1", [topic], |row| row.get(0)).optional()?;
            Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })
    }

    /// Keeps something in place of what was kept before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put<T: Serialize>(&self, topic: &str, value: &T) -> Result<(), StoreError> {
        let text = serde_json::to_string(value)?;
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2)", [topic, &text])?;
            Ok(())
        })
    }

    /// A package record's envelope as it was verified.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record(&self, digest: &str) -> Result<Option<String>, StoreError> {
        self.with(|connection| {
            Ok(connection
                .query_row("SELECT envelope FROM records WHERE digest = ?1", [digest], |row| row.get(0))
                .optional()?)
        })
    }

    /// Keeps a verified record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_record(&self, digest: &str, envelope: &str) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO records VALUES (?1, ?2)", [digest, envelope])?;
            Ok(())
        })
    }

    /// Forgets records that no policy names any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn retain_records(&self, keep: &[String]) -> Result<(), StoreError> {
        self.with(|connection| {
            let keep = serde_json::to_string(keep)?;
            connection.execute("DELETE FROM records WHERE digest NOT IN (SELECT value FROM json_each(?1))", [keep])?;
            Ok(())
        })
    }

    /// Writes a run and the message that tells of it together; the run by its directory, so that a second time changes
    /// the same row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_run(&self, run_dir: &str, run: &PastRun, message: Option<&StatusMessage>) -> Result<(), StoreError> {
        let program = run.key.program.to_string();
        let text = serde_json::to_string(run)?;
        self.with(|connection| {
            let tx = connection.transaction()?;
            tx.execute(
                "INSERT INTO runs (program, run_dir, run) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run_dir) DO UPDATE SET run = excluded.run",
                [&program, run_dir, &text],
            )?;
            tx.execute(
                "DELETE FROM runs WHERE program = ?1 AND id NOT IN
                 (SELECT id FROM runs WHERE program = ?1 ORDER BY id DESC LIMIT ?2)",
                params![program, RUNS_PER_PROGRAM_MAX],
            )?;
            if let Some(message) = message {
                enqueue(&tx, message)?;
            }
            tx.commit()?;
            Ok(())
        })
    }

    /// Forgets a run that is proven not to have started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_run(&self, run_dir: &str) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute("DELETE FROM runs WHERE run_dir = ?1", [run_dir])?;
            Ok(())
        })
    }

    /// A run by its directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn run(&self, run_dir: &str) -> Result<Option<PastRun>, StoreError> {
        self.with(|connection| {
            let text: Option<String> = connection
                .query_row("SELECT run FROM runs WHERE run_dir = ?1", [run_dir], |row| row.get(0))
                .optional()?;
            Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })
    }

    /// Every run of a program, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history(&self, program: &ProgramIdentity) -> Result<Vec<PastRun>, StoreError> {
        self.runs("SELECT run FROM runs WHERE program = ?1 ORDER BY id", &program.to_string())
    }

    /// Every run there is, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn latest_runs(&self, limit: u32) -> Result<Vec<PastRun>, StoreError> {
        self.runs("SELECT run FROM runs ORDER BY id DESC LIMIT ?1", &limit.to_string())
    }

    fn runs(&self, sql: &str, parameter: &str) -> Result<Vec<PastRun>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([parameter], |row| row.get::<_, String>(0))?;
            rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
        })
    }

    /// Puts a message into the outbox, durably.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn enqueue(&self, message: &StatusMessage) -> Result<(), StoreError> {
        self.with(|connection| {
            let tx = connection.transaction()?;
            enqueue(&tx, message)?;
            tx.commit()?;
            Ok(())
        })
    }

    /// The oldest messages that are not acknowledged, with their numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(&self, limit: usize) -> Result<Vec<(u64, StatusMessage)>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT seq, message FROM outbox ORDER BY seq LIMIT ?1")?;
            let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
            rows.map(|row| {
                let (seq, text) = row?;
                Ok((seq.cast_unsigned(), serde_json::from_str(&text)?))
            })
            .collect()
        })
    }

    /// Forgets messages that the site has stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acknowledge(&self, through: u64) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute("DELETE FROM outbox WHERE seq <= ?1", [through.cast_signed()])?;
            Ok(())
        })
    }

    /// Notes a user's request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_request(&self, request: &Request, now: Timestamp) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute(
                "INSERT OR IGNORE INTO requests VALUES (?1, ?2, ?3, ?4)",
                params![request.id, request.advertisement, request.user, now.as_millisecond()],
            )?;
            Ok(())
        })
    }

    /// The oldest request for this advertisement.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn request(&self, advertisement: &str) -> Result<Option<Request>, StoreError> {
        self.with(|connection| {
            Ok(connection
                .query_row(
                    "SELECT id, advertisement, user FROM requests WHERE advertisement = ?1 ORDER BY made_ms LIMIT 1",
                    [advertisement],
                    |row| Ok(Request { id: row.get(0)?, advertisement: row.get(1)?, user: row.get(2)? }),
                )
                .optional()?)
        })
    }

    /// A request was honoured, or never will be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_request(&self, id: &str) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute("DELETE FROM requests WHERE id = ?1", [id])?;
            Ok(())
        })
    }
}

/// Outcomes are never dropped; other messages make room for them (reliability.md D.8).
fn enqueue(connection: &Connection, message: &StatusMessage) -> Result<(), StoreError> {
    let outcome = message.state.is_some_and(|state| {
        state.is_failure()
            || state == crate::model::state::RunState::Succeeded
            || state == crate::model::state::RunState::Running
    });
    let waiting: i64 = connection.query_row("SELECT count(*) FROM outbox", (), |row| row.get(0))?;
    if waiting >= OUTBOX_MAX {
        connection.execute(
            "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE outcome = 0 ORDER BY seq LIMIT 1)",
            (),
        )?;
    }
    connection.execute(
        "INSERT INTO outbox (outcome, message) VALUES (?1, ?2)",
        params![outcome, serde_json::to_string(message)?],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            identity::ObjectName,
            message::{Component, MessageType, Severity},
            state::{RunOutcome, RunState},
        },
        plan::run::{Occurrence, RunKey},
    };

    fn message(state: Option<RunState>) -> StatusMessage {
        StatusMessage {
            time_ms: 1,
            severity: Severity::Informational,
            message_type: MessageType::Milestone,
            component: Component::ClientAgent,
            message_id: 10_005,
            text: "x".into(),
            reason: None,
            state,
            attributes: Default::default(),
        }
    }

    fn past(program: &str) -> PastRun {
        let program =
            ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: program.into() };
        PastRun {
            key: RunKey { program, occurrence: Occurrence::Once },
            advertisement: ObjectName::new("n", "a"),
            started_at: Timestamp::UNIX_EPOCH,
            outcome: None,
            state: RunState::Running,
            source_version: 1,
            program_digest: "d".into(),
        }
    }

    #[test]
    fn a_run_is_one_row_and_its_message_comes_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.db");
        let store = Store::open(&path).unwrap();
        let mut run = past("install");
        store.put_run("d/1", &run, Some(&message(Some(RunState::Running)))).unwrap();
        run.outcome = Some(RunOutcome::Succeeded);
        store.put_run("d/1", &run, None).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.history(&run.key.program).unwrap(), [run]);
        assert_eq!(store.outbox(10).unwrap().len(), 1);
    }

    #[test]
    fn numbers_go_on_after_everything_was_acknowledged() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.db");
        let store = Store::open(&path).unwrap();
        store.enqueue(&message(None)).unwrap();
        store.acknowledge(1).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        store.enqueue(&message(None)).unwrap();
        assert_eq!(store.outbox(10).unwrap()[0].0, 2, "a number used twice would be taken for a duplicate");
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().execute("UPDATE meta SET value = 9", ()).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Newer { schema: 9 })));
    }
}
