//! What can go wrong with the site database, each with its remedy.

use std::{path::PathBuf, sync::Arc};

/// The site database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file cannot be opened or created.
    #[error(
        "the site database {path} cannot be opened; check that its directory exists, belongs to this user and has space"
    )]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a site database of Waybill; move it away or use another state directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version changed the file in a way that this one does not understand.
    #[error(
        "the site database {path} has schema {schema}, which needs a version that knows schema {min_reader}; this one knows {known}: start the newer version again, or restore a backup made before the upgrade"
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        schema: i64,
        /// The oldest schema whose programs may open it.
        min_reader: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The file is older than what this version can upgrade.
    #[error(
        "the site database {path} has schema {schema}; this version upgrades from {oldest} on: start the version in between first, which upgrades it"
    )]
    TooOld {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        schema: i64,
        /// The oldest schema that can be upgraded.
        oldest: i64,
    },
    /// SQLite refused a statement.
    #[error("the site database refused an operation")]
    Sqlite(#[from] rusqlite::Error),
    /// The transaction was lost as a whole; the caller may try again.
    #[error("the transaction could not be made durable and nothing of it was kept; check the space on the disk")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// A stored document cannot be read back or a new one cannot be written.
    #[error("a document of the site database has no valid JSON form")]
    Json(#[from] serde_json::Error),
    /// More than a limit allows.
    #[error("{what}: at most {limit} are kept; remove what is no longer needed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// The row does not exist.
    #[error("there is no {0}")]
    NotFound(String),
    /// The new row contradicts one that exists.
    #[error("{0}")]
    Conflict(String),
    /// The function given to `write` or `read` panicked; its changes were undone.
    #[error("an operation on the site database ended abnormally and was undone; the log has the details")]
    Panicked,
    /// The writer is gone: the process is about to end.
    #[error("the site database is closed")]
    Closed,
}

impl DbError {
    /// Whether room on the disk is all that is missing.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let error = match self {
            Self::Sqlite(error) => error,
            Self::Commit(error) => error,
            _ => return false,
        };
        error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}
