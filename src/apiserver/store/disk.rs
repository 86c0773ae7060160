//! The SQLite file behind the store: its schema, who may open it, loading, and one transaction per batch.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use serde_json::Value;

use super::{
    Key, Object, State,
    history::{Change, Log},
};
use crate::content::durable;

/// Marks the file as ours in its header ("WBap").
const APPLICATION_ID: i32 = 0x5742_6170;
/// The layout this program writes.
const SCHEMA: u32 = 1;
/// The oldest layout this program can read; written as `minReader` of the files it makes.
const MIN_READER: u32 = 1;
/// The version of an empty store. Not 0 or 1, so that "any version" and a version of before are told apart.
const FIRST_REVISION: u64 = 100;

/// Size of a write that is only tried.
const PROBE_BYTES: usize = 64 << 10;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE objects (resource TEXT, path TEXT, body BLOB NOT NULL, PRIMARY KEY (resource, path)) WITHOUT ROWID;
    CREATE TABLE log (revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, path TEXT NOT NULL, before BLOB, after BLOB);
";

/// Why the store cannot be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open.
    #[error("{path} is in use by another process: stop that one, or choose another state directory")]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot make {path}: look at its directory's permissions and the free space")]
    File {
        /// The database.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is some other program's.
    #[error("{path} is not a Waybill API database: move it away, or choose another state directory")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file needs a later program.
    #[error("{path} was written by a later version (it needs a reader of {needs}, this is {SCHEMA}): upgrade waybill")]
    TooNew {
        /// The database.
        path: PathBuf,
        /// The layout a reader must know.
        needs: u32,
    },
    /// The file is of a layout that is no longer read.
    #[error(
        "{path} has layout {found}, older than the oldest this version reads ({MIN_READER}): open it with the previous version first"
    )]
    TooOld {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// SQLite or the file system refused.
    #[error("cannot open {path}: look at its permissions and the free space, or restore it from a backup")]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A stored object cannot be read.
    #[error("{path}: the stored object {object} is damaged: restore the file from a backup")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// Resource and key.
        object: String,
        /// Why its bytes cannot be read.
        source: serde_json::Error,
    },
    /// A CustomResourceDefinition cannot be served.
    #[error("CustomResourceDefinition {name}: {reason}")]
    Definition {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer thread could not be started.
    #[error("cannot start the writer thread")]
    Thread(#[source] std::io::Error),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

/// What one batch stores.
pub(super) struct Batch<'a> {
    pub(super) changes: &'a [Arc<Change>],
    pub(super) revision: u64,
    /// Log entries up to and including this version may go.
    pub(super) oldest: u64,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path: path.into() },
            Some(ErrorCode::NotADatabase) => OpenError::Foreign { path: path.into() },
            _ => OpenError::Database { path: path.into(), source },
        };
        durable::prepare_private(path).map_err(|source| OpenError::File { path: path.into(), source })?;
        let mut connection = Connection::open(path).map_err(failed)?;
        // Exclusive: a second server on the same file would hand out the same versions.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let id: i32 = tx.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(failed)?;
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(failed)?;
        match (id, tables) {
            (0, 0) => create(&tx).map_err(failed)?,
            (APPLICATION_ID, _) => {
                let number = |key| meta(&tx, key).map(|v| v as u32).map_err(failed);
                let (found, needs) = (number("schema")?, number("minReader")?);
                if needs > SCHEMA {
                    return Err(OpenError::TooNew { path: path.into(), needs });
                }
                if found < MIN_READER {
                    return Err(OpenError::TooOld { path: path.into(), found });
                }
            }
            _ => return Err(OpenError::Foreign { path: path.into() }),
        }
        tx.commit().map_err(failed)?;
        Ok(Database { path: path.into(), connection })
    }

    /// Everything that is stored, as the present schemas see it.
    pub(super) fn load(&mut self, view: &dyn Fn(&str, &mut Value)) -> Result<State, OpenError> {
        let failed = |source| OpenError::Database { path: self.path.clone(), source };
        let parse = |resource: &str, path: &str, body: &[u8]| -> Result<Object, OpenError> {
            let mut object = serde_json::from_slice(body).map_err(|source| OpenError::Damaged {
                path: self.path.clone(),
                object: format!("{resource} {path}"),
                source,
            })?;
            view(resource, &mut object);
            Ok(Arc::new(object))
        };
        let mut state = State {
            revision: meta(&self.connection, "revision").map_err(failed)?,
            log: Log::starting_at(meta(&self.connection, "oldest").map_err(failed)?),
            ..State::default()
        };
        let mut statement = self.connection.prepare("SELECT resource, path, body FROM objects").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (resource, path, body): (String, String, Vec<u8>) = row.try_into().map_err(failed)?;
            let object = parse(&resource, &path, &body)?;
            let key = Key { resource: resource.into(), path };
            state.agenda.note(&key, None, Some(&object));
            state.objects.insert(key, object);
        }
        let mut statement = self
            .connection
            .prepare("SELECT revision, resource, path, before, after FROM log ORDER BY revision")
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            type Row = (i64, String, String, Option<Vec<u8>>, Option<Vec<u8>>);
            let (revision, resource, path, before, after): Row = row.try_into().map_err(failed)?;
            let revision = revision.cast_unsigned();
            let size_bytes = before.as_ref().map_or(0, Vec::len) + after.as_ref().map_or(0, Vec::len);
            let before = before.map(|b| parse(&resource, &path, &b)).transpose()?;
            let after = after.map(|b| parse(&resource, &path, &b)).transpose()?;
            let key = Key { resource: resource.into(), path };
            state.log.push(Arc::new(Change { revision, key, before, after, size_bytes }));
        }
        Ok(state)
    }

    /// Tries a write that changes nothing that is read: larger than most, so that it needs room as they do.
    pub(super) fn probe(&mut self) -> rusqlite::Result<()> {
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('probe', ?1)", [" ".repeat(PROBE_BYTES)])?;
        self.connection.execute("DELETE FROM meta WHERE key = 'probe'", [])?;
        Ok(())
    }

    /// Stores a batch in one transaction; when this returns `Ok` it is on the disk.
    pub(super) fn commit(&mut self, batch: &Batch<'_>) -> rusqlite::Result<()> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3)")?;
            let mut remove = tx.prepare_cached("DELETE FROM objects WHERE resource = ?1 AND path = ?2")?;
            let mut log = tx.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for change in batch.changes {
                let (resource, path) = (&*change.key.resource, &change.key.path);
                let bytes = |o: &Option<Object>| o.as_ref().map(|o| o.to_string().into_bytes());
                let (before, after) = (bytes(&change.before), bytes(&change.after));
                match &after {
                    Some(body) => put.execute(params![resource, path, body])?,
                    None => remove.execute(params![resource, path])?,
                };
                log.execute(params![change.revision.cast_signed(), resource, path, before, after])?;
            }
            tx.prepare_cached("DELETE FROM log WHERE revision <= ?1")?.execute([batch.oldest.cast_signed()])?;
            let mut set = tx.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?;
            set.execute(params!["revision", batch.revision.to_string()])?;
            set.execute(params!["oldest", batch.oldest.to_string()])?;
        }
        tx.commit()
    }
}

fn create(tx: &Connection) -> rusqlite::Result<()> {
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.execute_batch(TABLES)?;
    let first = FIRST_REVISION.to_string();
    let (schema, reader) = (SCHEMA.to_string(), MIN_READER.to_string());
    for (key, value) in [("schema", &schema), ("minReader", &reader), ("revision", &first), ("oldest", &first)] {
        tx.execute("INSERT INTO meta VALUES (?1, ?2)", params![key, value])?;
    }
    Ok(())
}

/// A number of the meta table; a missing or broken one is an error of the file.
fn meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    let value: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()?;
    value.and_then(|v| v.parse().ok()).ok_or_else(|| rusqlite::Error::InvalidParameterName(format!("meta.{key}")))
}
