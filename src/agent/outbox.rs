//! The part of the agent's database that talks: status messages until the site has stored them, where each offer was
//! last said to stand, and what local users asked for.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::store::{Standing, Store, StoreError};
use crate::{
    model::{message::StatusMessage, state::RunState},
    wire::status::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX},
};

/// Messages kept while the site cannot be reached; beyond it the oldest that tell of no outcome go first.
pub const OUTBOX_MAX: i64 = 10_000;
/// Requests kept at most: one for each advertisement, and no more advertisements than this can be asked for at once.
const REQUESTS_MAX: i64 = 1_000;
/// JSON around the messages of a batch.
const BATCH_FRAME_BYTES: usize = 1 << 10;

/// A message, and where it leaves its advertisement; both are written together or not at all.
#[derive(Clone, Debug)]
pub struct Report {
    /// The message.
    pub message: StatusMessage,
    /// The advertisement, `namespace/name`, and where it stands now.
    pub standing: Option<(String, Standing)>,
}

/// A local user's request to start a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id, the occurrence of the run.
    pub id: String,
    /// The advertisement, `namespace/name`.
    pub advertisement: String,
    /// The user's name and id, from the socket's peer.
    pub user: String,
}

/// Makes the random id of a new outbox: a state directory that was lost must not look like the old one, whose numbers
/// the site knows.
pub(super) fn create_id(connection: &Connection) -> Result<(), StoreError> {
    let id = serde_json::to_string(&uuid::Uuid::new_v4().simple().to_string())?;
    connection.execute("INSERT OR IGNORE INTO kept VALUES ('outbox', ?1)", [id])?;
    Ok(())
}

/// Writes a report within somebody's transaction.
pub(super) fn write(connection: &Connection, report: &Report) -> Result<(), StoreError> {
    if let Some((advertisement, standing)) = &report.standing {
        let text = serde_json::to_string(standing)?;
        connection.execute("INSERT OR REPLACE INTO standings VALUES (?1, ?2)", [advertisement, &text])?;
    }
    enqueue(connection, &report.message)
}

/// Outcomes are never dropped; other messages make room for them.
fn enqueue(connection: &Connection, message: &StatusMessage) -> Result<(), StoreError> {
    let outcome = message
        .state
        .is_some_and(|state| state.is_failure() || matches!(state, RunState::Succeeded | RunState::Running));
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

impl Store {
    /// Puts a report into the outbox, durably, unless its advertisement was last said to stand just there. Whether it
    /// was put.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn say(&self, report: &Report) -> Result<bool, StoreError> {
        if let Some((advertisement, standing)) = &report.standing
            && self.standing(advertisement)?.as_ref() == Some(standing)
        {
            return Ok(false);
        }
        self.with(|connection| {
            let tx = connection.transaction()?;
            write(&tx, report)?;
            tx.commit()?;
            Ok(true)
        })
    }

    /// Where an advertisement was last said to stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standing(&self, advertisement: &str) -> Result<Option<Standing>, StoreError> {
        self.with(|connection| {
            let text: Option<String> = connection
                .query_row("SELECT standing FROM standings WHERE advertisement = ?1", [advertisement], |row| row.get(0))
                .optional()?;
            Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })
    }

    /// All that was last said.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standings(&self) -> Result<Vec<(String, Standing)>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT advertisement, standing FROM standings")?;
            let rows = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            rows.map(|row| {
                let (advertisement, text) = row?;
                Ok((advertisement, serde_json::from_str(&text)?))
            })
            .collect()
        })
    }

    /// Forgets where an advertisement stood, with a last word if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn withdraw(&self, advertisement: &str, last: Option<&StatusMessage>) -> Result<(), StoreError> {
        self.with(|connection| {
            let tx = connection.transaction()?;
            tx.execute("DELETE FROM standings WHERE advertisement = ?1", [advertisement])?;
            if let Some(message) = last {
                enqueue(&tx, message)?;
            }
            tx.commit()?;
            Ok(())
        })
    }

    /// The outbox's id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox_id(&self) -> Result<String, StoreError> {
        Ok(self.get("outbox")?.unwrap_or_default())
    }

    /// The oldest messages that are not acknowledged, with their numbers: at most `limit` of them, and no more than fit
    /// into a batch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(&self, limit: usize) -> Result<Vec<(u64, StatusMessage)>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT seq, message FROM outbox ORDER BY seq LIMIT ?1")?;
            let limit = i64::try_from(limit.min(BATCH_MESSAGES_MAX)).unwrap_or(i64::MAX);
            let mut rows = statement.query([limit])?;
            let (mut messages, mut bytes) = (Vec::new(), BATCH_FRAME_BYTES);
            while let Some(row) = rows.next()? {
                let (seq, text): (i64, String) = (row.get(0)?, row.get(1)?);
                bytes += text.len();
                if bytes > BATCH_BYTES_MAX && !messages.is_empty() {
                    break;
                }
                messages.push((seq.cast_unsigned(), serde_json::from_str(&text)?));
            }
            Ok(messages)
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

    /// Notes a user's request. `false` if one for the same advertisement is waiting already, or too many are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_request(&self, request: &Request, now: Timestamp) -> Result<bool, StoreError> {
        self.with(|connection| {
            let inserted = connection.execute(
                "INSERT INTO requests SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM requests) < ?5
                 AND NOT EXISTS (SELECT 1 FROM requests WHERE advertisement = ?2)",
                params![request.id, request.advertisement, request.user, now.as_millisecond(), REQUESTS_MAX],
            )?;
            Ok(inserted > 0)
        })
    }

    /// Every request that was not honoured yet, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requests(&self) -> Result<Vec<Request>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, advertisement, user FROM requests ORDER BY made_ms, id")?;
            let rows = statement
                .query_map((), |row| Ok(Request { id: row.get(0)?, advertisement: row.get(1)?, user: row.get(2)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
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
