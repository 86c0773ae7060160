//! The file of a point's database, opened: for writing, or for reading alone while its disk has no room for the files that
//! writing needs. What the point holds is served meanwhile, and the first write that is possible again opens it anew.

use std::{
    ops::Deref,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::store::{StoreError, keep, kept};
use crate::content::durable;

/// Layout that this program writes.
const SCHEMA: i64 = 1;
/// Oldest layout whose programs can open what this one writes.
const MIN_READER: i64 = 1;
/// With less free than this a database finds no room for what it needs beside it.
const FREE_BYTES_MIN: u64 = 256 << 10;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS kept (topic TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (version TEXT PRIMARY KEY, notes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, failure INTEGER NOT NULL, message TEXT NOT NULL);
";

/// The database, opened.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
    writable: bool,
}

impl Database {
    /// Opens it, or makes it. One that cannot be opened for writing because the disk is full is read as it was left; why is given
    /// then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn open(path: &Path) -> Result<(Self, Option<rusqlite::Error>), StoreError> {
        let opened = |connection, writable| Self { path: path.to_owned(), connection, writable };
        match for_writing(path) {
            Ok(connection) => Ok((opened(connection, true), None)),
            Err(StoreError::Sqlite(why)) if is_full(path, &why) => match for_reading(path) {
                Ok(connection) => Ok((opened(connection, false), Some(why))),
                Err(_) => Err(StoreError::Sqlite(why)),
            },
            Err(error) => Err(error),
        }
    }

    /// For a write: opened anew if it could not be written before.
    ///
    /// # Errors
    /// [`StoreError`], as long as that lasts.
    pub(super) fn for_writing(&mut self) -> Result<&mut Connection, StoreError> {
        if !self.writable {
            self.connection = for_writing(&self.path)?;
            self.writable = true;
            tracing::info!("the distribution point's database can be written again");
        }
        Ok(&mut self.connection)
    }

    /// Whether a write failed for want of room.
    pub(super) fn is_full(&self, error: &rusqlite::Error) -> bool {
        is_full(&self.path, error)
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// The library calls it by several names, after what it wanted to write.
fn is_full(path: &Path, error: &rusqlite::Error) -> bool {
    let directory = path.parent().unwrap_or(path);
    let free = rustix::fs::statvfs(directory).map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize));
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => free.is_ok_and(|bytes| bytes < FREE_BYTES_MIN),
        _ => false,
    }
}

fn for_writing(path: &Path) -> Result<Connection, StoreError> {
    durable::prepare_private(path).map_err(StoreError::Directory)?;
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A message that was queued must survive a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(TABLES)?;
    let number = |topic| -> Result<Option<i64>, StoreError> {
        Ok(kept(&connection, topic)?.and_then(|value| value.parse().ok()))
    };
    if number("minReader")?.is_some_and(|min_reader| min_reader > SCHEMA) {
        return Err(StoreError::Newer { schema: number("schema")?.unwrap_or_default() });
    }
    for (topic, mine) in [("schema", SCHEMA), ("minReader", MIN_READER)] {
        if number(topic)? != Some(mine) {
            keep(&connection, topic, &mine.to_string())?;
        }
    }
    if kept(&connection, "outbox")?.is_none() {
        keep(&connection, "outbox", &uuid::Uuid::new_v4().simple().to_string())?;
    }
    Ok(connection)
}

/// As it was left, with nothing beside it: what only the write-ahead log holds is not seen until it can be written.
fn for_reading(path: &Path) -> Result<Connection, StoreError> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(byte);
    let quoted: String = path
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| if is_plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{quoted}?immutable=1"), flags)?;
    // Whether it is one.
    kept(&connection, "outbox")?;
    Ok(connection)
}
