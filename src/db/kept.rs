//! What a component has to remember across restarts and keeps as one text of its own making.

use rusqlite::{Connection, OptionalExtension as _};

use super::{DbError, Tx};

/// The text kept under this topic.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, topic: &str) -> Result<Option<String>, DbError> {
    let mut statement = connection.prepare_cached("SELECT text FROM kept WHERE topic = ?1")?;
    Ok(statement.query_row([topic], |row| row.get(0)).optional()?)
}

/// Keeps a text in place of the one before.
///
/// # Errors
/// If the database cannot be written.
pub fn put(tx: &mut Tx, topic: &str, text: &str) -> Result<(), DbError> {
    tx.prepare_cached(
        "INSERT INTO kept (topic, text) VALUES (?1, ?2) ON CONFLICT (topic) DO UPDATE SET text = excluded.text",
    )?
    .execute((topic, text))?;
    Ok(())
}
