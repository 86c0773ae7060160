//! The agent's own small database: policy as it was verified, history of runs, and (in [`super::outbox`]) status
//! messages and users' requests. The journal of runs is the truth about what was started; see `run`.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    outbox::{self, Report},
    run::name_of,
};
use crate::{
    content::durable,
    model::{identity::ProgramIdentity, reason::Reason, state::RunState},
    plan::run::{Occurrence, PastRun},
};

/// Layout that this program writes.
const SCHEMA: i64 = 1;
/// Oldest layout whose programs can open what this one writes.
const MIN_READER: i64 = 1;
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
CREATE TABLE IF NOT EXISTS standings (advertisement TEXT PRIMARY KEY, standing TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, advertisement TEXT NOT NULL, user TEXT NOT NULL, made_ms INTEGER NOT NULL);
";

/// The agent's database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made.
    #[error("the agent's database cannot be made")]
    File(#[from] std::io::Error),
    /// SQLite.
    #[error("the agent's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// It is no database, or a damaged one.
    #[error(
        "{0} is damaged; bring it back from a backup, or move it and what is called {0}-* away: then what ran on this machine is \
         known only as far as its journal beside it goes back, and a program from before may run a second time"
    )]
    Damaged(PathBuf),
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

/// Where an offer stood when it was last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The state.
    pub state: RunState,
    /// Why.
    pub reason: Reason,
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
        Self::open_file(path).map_err(|error| match error {
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
                if matches!(failure.code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) =>
            {
                StoreError::Damaged(path.to_owned())
            }
            other => other,
        })
    }

    fn open_file(path: &Path) -> Result<Self, StoreError> {
        durable::prepare_private(path)?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What the outbox acknowledges to programs' users must survive a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(TABLES)?;
        // A page that is only met later would stop the agent in the middle of something.
        let sound: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if sound != "ok" {
            return Err(StoreError::Damaged(path.to_owned()));
        }
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
        outbox::create_id(&connection)?;
        name_runs(&connection)?;
        Ok(Self(Mutex::new(connection)))
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
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

    /// Writes a run and all that is to be reported of it together, and forgets the request that it honours once its program
    /// has started or never will; the run by its name ([`crate::agent::run::name_of`]), so that a second time changes the same row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_run(&self, name: &str, run: &PastRun, reports: &[Report]) -> Result<(), StoreError> {
        let program = run.key.program.to_string();
        let text = serde_json::to_string(run)?;
        self.with(|connection| {
            let tx = connection.transaction()?;
            tx.execute(
                "INSERT INTO runs (program, run_dir, run) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run_dir) DO UPDATE SET run = excluded.run",
                [&program, name, &text],
            )?;
            tx.execute(
                "DELETE FROM runs WHERE program = ?1 AND id NOT IN
                 (SELECT id FROM runs WHERE program = ?1 ORDER BY id DESC LIMIT ?2)",
                params![program, RUNS_PER_PROGRAM_MAX],
            )?;
            let honoured = run.outcome.is_some() || run.state == RunState::Running;
            if let (true, Occurrence::Request(id)) = (honoured, &run.key.occurrence) {
                tx.execute("DELETE FROM requests WHERE id = ?1", [id])?;
            }
            for report in reports {
                outbox::write(&tx, report)?;
            }
            tx.commit()?;
            Ok(())
        })
    }

    /// Forgets a run that is proven not to have started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_run(&self, name: &str) -> Result<(), StoreError> {
        self.with(|connection| {
            connection.execute("DELETE FROM runs WHERE run_dir = ?1", [name])?;
            Ok(())
        })
    }

    /// The names of all runs that have not ended as far as is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unfinished(&self) -> Result<Vec<String>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare("SELECT run_dir FROM runs WHERE json_extract(run, '$.outcome') IS NULL")?;
            let rows = statement.query_map((), |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// A run by its name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn run(&self, name: &str) -> Result<Option<PastRun>, StoreError> {
        self.with(|connection| {
            let text: Option<String> =
                connection.query_row("SELECT run FROM runs WHERE run_dir = ?1", [name], |row| row.get(0)).optional()?;
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
}

/// Earlier versions kept runs by their directories, which are others once the state is moved: of two rows of one run the first
/// stays.
fn name_runs(connection: &Connection) -> Result<(), StoreError> {
    let tx = connection.unchecked_transaction()?;
    let mut statement = tx.prepare("SELECT id, run_dir FROM runs WHERE run_dir LIKE '/%' ORDER BY id")?;
    let rows = statement.query_map((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for (id, directory) in rows.collect::<Result<Vec<_>, _>>()? {
        let name = name_of(Path::new(&directory));
        if tx.execute("UPDATE OR IGNORE runs SET run_dir = ?2 WHERE id = ?1", params![id, name])? == 0 {
            tx.execute("DELETE FROM runs WHERE id = ?1", [id])?;
        }
    }
    drop(statement);
    Ok(tx.commit()?)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
