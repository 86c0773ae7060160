//! The site itself: its id, made once with the database, and its epoch, which only ever grows.

use rusqlite::{Connection, Row};

use super::{
    Change, DbError, Tx,
    column::{count, signed},
};

/// What is known of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRow {
    /// Random, made once with the database.
    pub id: String,
    /// Raised when a database is restored or adopted; clients and points refuse lower ones.
    pub epoch: u64,
    /// The version of the last policy root; grows with every root.
    pub root_version: u64,
    /// When the database was made, Unix milliseconds.
    pub created_ms: i64,
}

/// Makes the row of a new database.
pub(super) fn create(connection: &Connection, now_ms: i64) -> rusqlite::Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    connection.execute(
        "INSERT INTO site (only_row, id, epoch, root_version, created_ms) VALUES (1, ?1, 1, 0, ?2)",
        (id, now_ms),
    )?;
    Ok(())
}

/// The site.
///
/// # Errors
/// If the database cannot be read.
pub fn read(connection: &Connection) -> Result<SiteRow, DbError> {
    let mut statement = connection.prepare_cached("SELECT id, epoch, root_version, created_ms FROM site")?;
    Ok(statement.query_row((), from_row)?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<SiteRow> {
    Ok(SiteRow {
        id: row.get("id")?,
        epoch: count(row, "epoch")?,
        root_version: count(row, "root_version")?,
        created_ms: row.get("created_ms")?,
    })
}

/// Raises the epoch above its own value and above `seen` (what others have seen of this site). Gives the new epoch.
///
/// # Errors
/// If the database cannot be written.
pub fn raise_epoch(tx: &mut Tx, seen: u64) -> Result<u64, DbError> {
    let epoch = read(tx)?.epoch.max(seen) + 1;
    tx.prepare_cached("UPDATE site SET epoch = ?1")?.execute([signed(epoch)])?;
    tx.touch(Change::Site);
    Ok(epoch)
}
