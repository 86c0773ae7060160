//! The tables, and who may open them: the file carries its `schema` and `minReader`, the oldest schema whose programs
//! still understand it. A version changes the tables only so that the version before it still opens the file.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::{DbError, site};

/// The schema this version writes and the newest it knows.
const SCHEMA: i64 = 4;
/// The oldest schema whose programs may open what this version writes.
const MIN_READER: i64 = 1;
/// The oldest schema that [`UPGRADES`] start from.
const OLDEST: i64 = 1;
/// SQL from each schema to the next, beginning with [`OLDEST`]. Additions only: see the module's head.
const UPGRADES: [&str; (SCHEMA - OLDEST) as usize] = [
    "ALTER TABLE inventory ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE copied_clients (
         client TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE, noticed_ms INTEGER NOT NULL)",
    "ALTER TABLE client_status ADD COLUMN rerun_tokens TEXT",
];
/// Marks the file as ours in SQLite's header ("WBsd").
const APPLICATION_ID: i64 = 0x5742_7364;

/// Makes the tables of a new file, upgrades those of an older one, refuses every other file. Sets the connection up.
pub(super) fn prepare(connection: &mut Connection, path: &Path, now_ms: i64) -> Result<(), DbError> {
    let foreign = || DbError::Foreign { path: path.to_owned() };
    let application: i64 =
        connection.query_row("PRAGMA application_id", (), |row| row.get(0)).map_err(|error| match error {
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::NotADatabase => foreign(),
            other => other.into(),
        })?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))?;
    let new = application == 0 && tables == 0;
    if !new && application != APPLICATION_ID {
        return Err(foreign());
    }
    // The mode is a property of the file; it cannot be changed inside a transaction.
    connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;

    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if new {
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        write_meta(&tx, SCHEMA, MIN_READER)?;
        site::create(&tx, now_ms)?;
    } else {
        upgrade(&tx, path)?;
    }
    tx.commit()?;
    Ok(())
}

fn upgrade(connection: &Connection, path: &Path) -> Result<(), DbError> {
    let foreign = || DbError::Foreign { path: path.to_owned() };
    let schema = read_meta(connection, "schema")?.ok_or_else(foreign)?;
    let min_reader = read_meta(connection, "minReader")?.ok_or_else(foreign)?;
    if min_reader > SCHEMA {
        return Err(DbError::TooNew { path: path.to_owned(), schema, min_reader, known: SCHEMA });
    }
    if schema < OLDEST {
        return Err(DbError::TooOld { path: path.to_owned(), schema, oldest: OLDEST });
    }
    // A newer schema that this version may read stays as it is.
    let done = usize::try_from(schema - OLDEST).unwrap_or(usize::MAX);
    if schema < SCHEMA {
        for step in UPGRADES.iter().skip(done) {
            connection.execute_batch(step)?;
        }
        write_meta(connection, SCHEMA, MIN_READER)?;
    }
    Ok(())
}

fn read_meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn write_meta(connection: &Connection, schema: i64, min_reader: i64) -> rusqlite::Result<()> {
    let upsert = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(upsert, ("schema", schema))?;
    connection.execute(upsert, ("minReader", min_reader))?;
    Ok(())
}

/// Schema 1. Times are Unix milliseconds, digests their text form, enums their names, documents JSON.
const TABLES: &str = include_str!("schema.sql");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, fixtures::NOW};

    fn open(path: &Path) -> Result<Database, DbError> {
        Database::open(path, jiff::Timestamp::from_millisecond(NOW).unwrap())
    }

    #[test]
    fn a_site_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.db");
        let first = open(&path).unwrap().site_id().to_owned();
        assert_eq!(open(&path).unwrap().site_id(), first);
        assert_eq!(first.len(), 36);
    }

    #[test]
    fn foreign_files_are_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text.db");
        std::fs::write(
            &text,
            "not a database at all, but long enough to be read as the header of one, with more text.",
        )
        .unwrap();
        let before = std::fs::read(&text).unwrap();
        assert!(matches!(open(&text), Err(DbError::Foreign { .. })));
        assert_eq!(std::fs::read(&text).unwrap(), before);

        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(open(&other), Err(DbError::Foreign { .. })));
        let missing = directory.path().join("missing").join("site.db");
        assert!(matches!(open(&missing), Err(DbError::Open { .. })));
    }

    #[test]
    fn a_file_of_an_older_schema_gets_what_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.db");
        drop(open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "ALTER TABLE inventory DROP COLUMN sequence; DROP TABLE copied_clients;
                 ALTER TABLE client_status DROP COLUMN rerun_tokens",
            )
            .unwrap();
        write_meta(&connection, OLDEST, MIN_READER).unwrap();
        drop(connection);
        drop(open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.query_row("SELECT count(sequence) FROM inventory", (), |row| row.get::<_, i64>(0)).unwrap();
        connection.query_row("SELECT count(*) FROM copied_clients", (), |row| row.get::<_, i64>(0)).unwrap();
        connection.query_row("SELECT count(rerun_tokens) FROM client_status", (), |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(read_meta(&connection, "schema").unwrap(), Some(SCHEMA));
    }

    #[test]
    fn min_reader_decides_about_newer_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.db");
        drop(open(&path).unwrap());
        let set = |key: &str, value: i64| {
            let connection = Connection::open(&path).unwrap();
            connection.execute("UPDATE meta SET value = ?2 WHERE key = ?1", (key, value)).unwrap();
        };
        set("schema", SCHEMA + 1);
        drop(open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        assert_eq!(read_meta(&connection, "schema").unwrap(), Some(SCHEMA + 1), "opened as it is, not changed");
        drop(connection);

        set("minReader", SCHEMA + 1);
        let refused = open(&path).err().unwrap();
        assert!(matches!(refused, DbError::TooNew { .. }), "{refused}");
        set("minReader", 0);
        set("schema", OLDEST - 1);
        assert!(matches!(open(&path), Err(DbError::TooOld { .. })));
    }
}
