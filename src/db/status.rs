//! Where every client stands with every advertisement, folded from its messages as they are stored. A row outlives the
//! messages it came from. Clients that have said nothing have no row: membership says who is targeted.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{json_opt, parsed, reason, signed},
    summaries,
};
use crate::model::{
    identity::ObjectName,
    message::{self, StatusMessage},
    reason::Reason,
    state::RunState,
};

mod answered;

pub use answered::{answered, states};

/// Rows in one page of a listing at most.
pub const PAGE_MAX: usize = 1_000;

/// One client and one advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRow {
    /// Id of the client.
    pub client: String,
    /// The advertisement.
    pub advertisement: ObjectName,
    /// Where it stands.
    pub state: RunState,
    /// Why, from the one list.
    pub reason: Option<Reason>,
    /// The client's own words.
    pub text: String,
    /// When, by the client's clock, Unix milliseconds.
    pub time_ms: i64,
    /// When this site learnt of it, Unix milliseconds.
    pub received_ms: i64,
    /// When the client accepted the offer last, by its clock, Unix milliseconds.
    pub accepted_ms: Option<i64>,
    /// The program.
    pub program: Option<String>,
    /// The source version of its last run or attempt.
    pub source_version: Option<u64>,
    /// How its last run ended, if it ended by itself.
    pub exit_code: Option<i32>,
    /// How often it was started.
    pub attempts: u32,
    /// The local user who started it last, if one did.
    pub user: Option<String>,
    /// The end of the last run's output, as far as the client sent it. Only [`get`] fills it: outputs are large.
    pub output: Option<String>,
    /// The rerun tokens that its last runs were made for, newest last; `None` if it never said what a run was for.
    pub rerun_tokens: Option<Vec<String>>,
}

/// Folds one message into the row of its client and advertisement, unless the row already stands on a later message.
/// `place` is the number of the outbox and the sequence number in it.
pub(super) fn fold(
    tx: &mut Tx,
    client: &str,
    advertisement: &ObjectName,
    state: RunState,
    message: &StatusMessage,
    place: (i64, u64),
    received_ms: i64,
) -> Result<(), DbError> {
    let known = tx
        .prepare_cached(
            "SELECT *, (outbox, seq) >= (?4, ?5) AS later FROM client_status
             WHERE client = ?1 AND namespace = ?2 AND advertisement = ?3",
        )?
        .query_row((client, &advertisement.namespace, &advertisement.name, place.0, signed(place.1)), |row| {
            Ok((from_row(row)?, row.get::<_, bool>("later")?))
        })
        .optional()?;
    if known.as_ref().is_some_and(|(_, later)| *later) {
        return Ok(());
    }
    let before = known.map(|(row, _)| row);
    let before_state = before.as_ref().map(|row| row.state);
    let after = next(before, client, advertisement, state, message, received_ms);
    write(tx, &after, place)?;
    if before_state != Some(after.state) {
        if let Some(before) = before_state {
            summaries::count_state(tx, advertisement, before, -1)?;
        }
        summaries::count_state(tx, advertisement, after.state, 1)?;
    }
    tx.touch(Change::Status(advertisement.clone()));
    Ok(())
}

/// The row after a message. A new run begins with its start, or with an end if it never started or nobody knows: exit
/// code, output and user of the one before are gone.
fn next(
    before: Option<StatusRow>,
    client: &str,
    advertisement: &ObjectName,
    state: RunState,
    message: &StatusMessage,
    received_ms: i64,
) -> StatusRow {
    let attribute = |key| message.attributes.get(key);
    let was_running = before.as_ref().is_some_and(|row| row.state == RunState::Running);
    let started = state == RunState::Running && !was_running;
    let unstarted = matches!(state, RunState::PrepareFailed | RunState::Unknown) && !was_running;
    let kept = before.as_ref().filter(|_| !started && !unstarted);
    StatusRow {
        client: client.to_owned(),
        advertisement: advertisement.clone(),
        state,
        reason: message.reason,
        text: message.text.clone(),
        time_ms: message.time_ms,
        received_ms,
        accepted_ms: match state {
            RunState::Accepted => Some(message.time_ms),
            _ => before.as_ref().and_then(|row| row.accepted_ms),
        },
        program: attribute(message::PROGRAM).cloned().or_else(|| before.as_ref()?.program.clone()),
        source_version: attribute(message::SOURCE_VERSION)
            .and_then(|text| text.parse().ok())
            .or_else(|| before.as_ref()?.source_version),
        exit_code: attribute(message::EXIT_CODE).and_then(|text| text.parse().ok()).or_else(|| kept?.exit_code),
        attempts: before.as_ref().map_or(0, |row| row.attempts).saturating_add(u32::from(started)),
        user: attribute(message::USER).cloned().or_else(|| kept?.user.clone()),
        output: attribute(message::OUTPUT).cloned().or_else(|| kept?.output.clone()),
        rerun_tokens: answered::tokens(before.and_then(|row| row.rerun_tokens), message),
    }
}

fn write(tx: &Tx, row: &StatusRow, place: (i64, u64)) -> Result<(), DbError> {
    tx.prepare_cached(
        "INSERT INTO client_status (client, namespace, advertisement, state, reason, text, time_ms, received_ms,
             accepted_ms, program, source_version, exit_code, attempts, local_user, output, outbox, seq, rerun_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT (client, namespace, advertisement) DO UPDATE
         SET state = excluded.state, reason = excluded.reason, text = excluded.text, time_ms = excluded.time_ms,
             received_ms = excluded.received_ms, accepted_ms = excluded.accepted_ms, program = excluded.program,
             source_version = excluded.source_version, exit_code = excluded.exit_code, attempts = excluded.attempts,
             local_user = excluded.local_user, output = excluded.output, outbox = excluded.outbox, seq = excluded.seq,
             rerun_tokens = excluded.rerun_tokens",
    )?
    .execute(rusqlite::params![
        row.client,
        row.advertisement.namespace,
        row.advertisement.name,
        row.state.as_str(),
        row.reason.map(Reason::as_str),
        row.text,
        row.time_ms,
        row.received_ms,
        row.accepted_ms,
        row.program,
        row.source_version.map(signed),
        row.exit_code,
        row.attempts,
        row.user,
        row.output,
        place.0,
        signed(place.1),
        row.rerun_tokens.as_ref().map(serde_json::to_string).transpose()?,
    ])?;
    Ok(())
}

/// Deletes the rows of a client that is deleted.
pub(super) fn forget_client(tx: &mut Tx, client: &str) -> Result<(), DbError> {
    for row in of_client(tx, client)? {
        summaries::count_state(tx, &row.advertisement, row.state, -1)?;
        tx.touch(Change::Status(row.advertisement));
    }
    tx.prepare_cached("DELETE FROM client_status WHERE client = ?1")?.execute([client])?;
    Ok(())
}

/// Deletes the rows and summary of an advertisement that was deleted. Its messages stay until retention takes them,
/// and count for nothing should an advertisement of the same name be made again.
pub(super) fn forget_advertisement(tx: &mut Tx, advertisement: &ObjectName) -> Result<(), DbError> {
    tx.prepare_cached("DELETE FROM client_status WHERE namespace = ?1 AND advertisement = ?2")?
        .execute((&advertisement.namespace, &advertisement.name))?;
    summaries::forget_advertisement(tx, advertisement)?;
    tx.touch(Change::Status(advertisement.clone()));
    Ok(())
}

/// Every advertisement that something is kept of: rows or counts.
pub(super) fn advertisements(connection: &Connection) -> Result<BTreeSet<ObjectName>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, advertisement FROM client_status
         UNION SELECT namespace, advertisement FROM advertisement_counts",
    )?;
    let rows = statement.query_map((), |row| Ok(ObjectName { namespace: row.get(0)?, name: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where one client stands with one advertisement, with output.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, client: &str, advertisement: &ObjectName) -> Result<Option<StatusRow>, DbError> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM client_status WHERE client = ?1 AND namespace = ?2 AND advertisement = ?3")?;
    Ok(statement.query_row((client, &advertisement.namespace, &advertisement.name), from_row).optional()?)
}

/// All columns but the output, which would make a listing of ten thousand rows half a gigabyte.
const LISTED: &str =
    "client, namespace, advertisement, state, reason, text, time_ms, received_ms, accepted_ms, program,
    source_version, exit_code, attempts, local_user, rerun_tokens, NULL AS output";

/// Where every client that has said something stands with this advertisement, by client id.
///
/// # Errors
/// If the database cannot be read.
pub fn of_advertisement(connection: &Connection, advertisement: &ObjectName) -> Result<Vec<StatusRow>, DbError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {LISTED} FROM client_status WHERE namespace = ?1 AND advertisement = ?2 ORDER BY client"
    ))?;
    let rows = statement.query_map((&advertisement.namespace, &advertisement.name), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of these clients and advertisements whose program runs, as far as its client has said.
///
/// # Errors
/// If the database cannot be read.
pub fn running(
    connection: &Connection,
    pairs: Vec<(String, ObjectName)>,
) -> Result<BTreeSet<(String, ObjectName)>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM client_status WHERE client = ?1 AND namespace = ?2 AND advertisement = ?3 AND state = ?4",
    )?;
    let mut running = BTreeSet::new();
    for (client, name) in pairs {
        if statement.exists((&client, &name.namespace, &name.name, RunState::Running.as_str()))? {
            running.insert((client, name));
        }
    }
    Ok(running)
}

/// Where one client stands with all advertisements it has spoken of.
///
/// # Errors
/// If the database cannot be read.
pub fn of_client(connection: &Connection, client: &str) -> Result<Vec<StatusRow>, DbError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {LISTED} FROM client_status WHERE client = ?1 ORDER BY namespace, advertisement"
    ))?;
    let rows = statement.query_map([client], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows in order of namespace, advertisement and client, after the row `after`: one page for a listing.
///
/// # Errors
/// If the database cannot be read.
pub fn page(
    connection: &Connection,
    namespace: Option<&str>,
    after: Option<&StatusRow>,
    limit: usize,
) -> Result<Vec<StatusRow>, DbError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {LISTED} FROM client_status
         WHERE (?1 IS NULL OR namespace = ?1) AND (namespace, advertisement, client) > (?2, ?3, ?4)
         ORDER BY namespace, advertisement, client LIMIT ?5"
    ))?;
    let limit = i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0);
    let (from, name, client) = after.map_or(("", "", ""), |row| {
        (row.advertisement.namespace.as_str(), row.advertisement.name.as_str(), row.client.as_str())
    });
    let rows = statement.query_map((namespace, from, name, client, limit), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn version(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(name)?.map(|number| number.max(0).cast_unsigned()))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<StatusRow> {
    Ok(StatusRow {
        client: row.get("client")?,
        advertisement: ObjectName { namespace: row.get("namespace")?, name: row.get("advertisement")? },
        state: parsed(row, "state", RunState::parse)?,
        reason: reason(row, "reason")?,
        text: row.get("text")?,
        time_ms: row.get("time_ms")?,
        received_ms: row.get("received_ms")?,
        accepted_ms: row.get("accepted_ms")?,
        program: row.get("program")?,
        source_version: version(row, "source_version")?,
        exit_code: row.get("exit_code")?,
        attempts: row.get("attempts")?,
        user: row.get("local_user")?,
        output: row.get("output")?,
        rerun_tokens: json_opt(row, "rerun_tokens")?,
    })
}

#[cfg(test)]
mod tests;
