//! The four summarizers of SMS: component and advertisement count messages, package and site system
//! show states. Counts are kept in the transaction that stores a message and can be rebuilt from what is stored.
//!
//! No counter is reset at midnight. The component summary's window is the retention of messages: it counts what
//! is stored. An advertisement's counts cover its whole life: retention carries deleted messages over to a base that a
//! rebuild leaves alone. Package and site system are not counted at all: they are read from the rows that hold them.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    DbError, Tx,
    column::{count, parsed},
};
use crate::{
    model::{
        identity::ObjectName,
        message::Severity,
        state::{LocationState, RunState},
    },
    plan::summary::{Health, component_health},
};

pub use systems::{SystemStatus, site_systems};

mod systems;

/// Messages of one component on one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentStatus {
    /// The system: a site, distribution point or client access point; `clients` stands for all clients.
    pub system: String,
    /// The component's name.
    pub component: String,
    /// Informational messages.
    pub informational: u64,
    /// Warnings.
    pub warnings: u64,
    /// Errors.
    pub errors: u64,
    /// By the thresholds.
    pub health: Health,
}

/// Messages about one advertisement, as SMS counts them: messages, not clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Offers received.
    pub received: u64,
    /// Failures before the program was started.
    pub failed_to_start: u64,
    /// Programs started.
    pub started: u64,
    /// Programs that succeeded.
    pub succeeded: u64,
    /// Programs that failed.
    pub failed: u64,
}

/// How many points hold, or should hold, each version of a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackageCounts {
    /// Points that should hold it.
    pub targeted: u64,
    /// Points that hold it completely.
    pub installed: u64,
    /// Points that are to get it.
    pub pending: u64,
    /// Points where a copy failed and is tried again.
    pub retrying: u64,
    /// Points that gave up.
    pub failed: u64,
    /// Points that have yet to confirm its removal.
    pub removing: u64,
}

/// The component summary, by system and component.
///
/// # Errors
/// If the database cannot be read.
pub fn components(connection: &Connection) -> Result<Vec<ComponentStatus>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM component_counts ORDER BY system, component")?;
    let rows = statement.query_map((), |row| {
        let counts = [count(row, "informational")?, count(row, "warnings")?, count(row, "errors")?];
        Ok(ComponentStatus {
            system: row.get("system")?,
            component: row.get("component")?,
            informational: counts[0],
            warnings: counts[1],
            errors: counts[2],
            health: component_health(counts[0], counts[1], counts[2]),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// An advertisement's message counts.
///
/// # Errors
/// If the database cannot be read.
pub fn message_counts(connection: &Connection, advertisement: &ObjectName) -> Result<MessageCounts, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(received), 0) AS received, coalesce(sum(failed_to_start), 0) AS failed_to_start,
             coalesce(sum(started), 0) AS started, coalesce(sum(succeeded), 0) AS succeeded,
             coalesce(sum(failed), 0) AS failed
         FROM advertisement_counts WHERE namespace = ?1 AND advertisement = ?2",
    )?;
    let counts = statement.query_row((&advertisement.namespace, &advertisement.name), |row| {
        Ok(MessageCounts {
            received: count(row, "received")?,
            failed_to_start: count(row, "failed_to_start")?,
            started: count(row, "started")?,
            succeeded: count(row, "succeeded")?,
            failed: count(row, "failed")?,
        })
    })?;
    Ok(counts)
}

/// An advertisement's distinct clients by state, former members of its collection included. Clients that have said
/// nothing are in no state here.
///
/// # Errors
/// If the database cannot be read.
pub fn client_states(connection: &Connection, advertisement: &ObjectName) -> Result<BTreeMap<RunState, u64>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT state, clients FROM advertisement_states WHERE namespace = ?1 AND advertisement = ?2",
    )?;
    let rows = statement.query_map((&advertisement.namespace, &advertisement.name), |row| {
        Ok((parsed(row, "state", RunState::parse)?, count(row, "clients")?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The package summary: every version of a package that some point holds or should hold or remove.
///
/// # Errors
/// If the database cannot be read.
pub fn package(connection: &Connection, package: &ObjectName) -> Result<BTreeMap<u64, PackageCounts>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT source_version, state, count(*) AS points FROM locations
         WHERE namespace = ?1 AND package = ?2 GROUP BY source_version, state",
    )?;
    let rows = statement.query_map((&package.namespace, &package.name), |row| {
        Ok((count(row, "source_version")?, parsed(row, "state", LocationState::parse)?, count(row, "points")?))
    })?;
    let mut versions: BTreeMap<u64, PackageCounts> = BTreeMap::new();
    for row in rows {
        let (version, state, points) = row?;
        let counts = versions.entry(version).or_default();
        let (place, targeted) = match state {
            LocationState::Installed => (&mut counts.installed, true),
            LocationState::InstallPending => (&mut counts.pending, true),
            LocationState::InstallRetrying => (&mut counts.retrying, true),
            LocationState::InstallFailed => (&mut counts.failed, true),
            LocationState::RemovalPending | LocationState::RemovalRetrying | LocationState::RemovalFailed => {
                (&mut counts.removing, false)
            }
            LocationState::Removed | LocationState::Abandoned => continue,
        };
        *place += points;
        if targeted {
            counts.targeted += points;
        }
    }
    versions.retain(|_, counts| *counts != PackageCounts::default());
    Ok(versions)
}

/// Which count a message with this state is, if any.
const fn counted_as(state: RunState) -> Option<&'static str> {
    match state {
        RunState::Accepted => Some("received"),
        RunState::PrepareFailed | RunState::ContentMismatch => Some("failed_to_start"),
        RunState::Running => Some("started"),
        RunState::Succeeded => Some("succeeded"),
        RunState::Failed | RunState::TimedOut | RunState::Unknown => Some("failed"),
        RunState::NoStatus
        | RunState::Rejected
        | RunState::Expired
        | RunState::WillNotRerun
        | RunState::Waiting
        | RunState::Downloading
        | RunState::Retrying
        | RunState::Cancelled => None,
    }
}

/// Counts messages of a component up or down.
pub(super) fn count_component(
    tx: &Tx,
    system: &str,
    component: &str,
    severity: Severity,
    number: i64,
) -> Result<(), DbError> {
    let column = match severity {
        Severity::Informational => "informational",
        Severity::Warning => "warnings",
        Severity::Error => "errors",
    };
    tx.prepare_cached(
        "INSERT INTO component_counts (system, component, informational, warnings, errors) VALUES (?1, ?2, 0, 0, 0)
         ON CONFLICT (system, component) DO NOTHING",
    )?
    .execute((system, component))?;
    tx.prepare_cached(&format!(
        "UPDATE component_counts SET {column} = {column} + ?3 WHERE system = ?1 AND component = ?2"
    ))?
    .execute((system, component, number))?;
    if number < 0 {
        tx.prepare_cached("DELETE FROM component_counts WHERE informational + warnings + errors <= 0")?.execute(())?;
    }
    Ok(())
}

/// Counts stored messages about an advertisement up or down.
pub(super) fn count_advertisement(
    tx: &Tx,
    advertisement: &ObjectName,
    state: RunState,
    number: i64,
) -> Result<(), DbError> {
    add(tx, advertisement, false, state, number)
}

/// Carries deleted messages over from the stored ones to the base.
pub(super) fn carry_over(tx: &Tx, advertisement: &ObjectName, state: RunState, number: i64) -> Result<(), DbError> {
    add(tx, advertisement, false, state, -number)?;
    add(tx, advertisement, true, state, number)
}

fn add(tx: &Tx, advertisement: &ObjectName, deleted: bool, state: RunState, number: i64) -> Result<(), DbError> {
    let Some(column) = counted_as(state) else { return Ok(()) };
    tx.prepare_cached(
        "INSERT INTO advertisement_counts (namespace, advertisement, deleted, received, failed_to_start, started,
             succeeded, failed)
         VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0) ON CONFLICT (namespace, advertisement, deleted) DO NOTHING",
    )?
    .execute((&advertisement.namespace, &advertisement.name, deleted))?;
    tx.prepare_cached(&format!(
        "UPDATE advertisement_counts SET {column} = {column} + ?4
         WHERE namespace = ?1 AND advertisement = ?2 AND deleted = ?3"
    ))?
    .execute((&advertisement.namespace, &advertisement.name, deleted, number))?;
    Ok(())
}

/// Counts clients of an advertisement in a state up or down.
pub(super) fn count_state(tx: &Tx, advertisement: &ObjectName, state: RunState, number: i64) -> Result<(), DbError> {
    tx.prepare_cached(
        "INSERT INTO advertisement_states (namespace, advertisement, state, clients) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (namespace, advertisement, state) DO UPDATE
         SET clients = advertisement_states.clients + excluded.clients",
    )?
    .execute((&advertisement.namespace, &advertisement.name, state.as_str(), number))?;
    tx.prepare_cached(
        "DELETE FROM advertisement_states
         WHERE namespace = ?1 AND advertisement = ?2 AND state = ?3 AND clients <= 0",
    )?
    .execute((&advertisement.namespace, &advertisement.name, state.as_str()))?;
    Ok(())
}

/// Deletes an advertisement's summary; messages stored so far count for nothing any more.
pub(super) fn forget_advertisement(tx: &Tx, advertisement: &ObjectName) -> Result<(), DbError> {
    for table in ["advertisement_counts", "advertisement_states"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE namespace = ?1 AND advertisement = ?2"))?
            .execute((&advertisement.namespace, &advertisement.name))?;
    }
    tx.prepare_cached(
        "INSERT INTO forgotten_advertisements (advertisement, through)
         VALUES (?1, (SELECT coalesce(max(id), 0) FROM messages))
         ON CONFLICT (advertisement) DO UPDATE SET through = excluded.through",
    )?
    .execute([advertisement.to_string()])?;
    Ok(())
}

/// Counts everything anew from what is stored: messages for component and advertisement, rows for client states. Gives
/// the same as the counts kept all along; for a database that somebody mended by hand.
///
/// # Errors
/// If the database cannot be written.
pub fn rebuild(tx: &mut Tx) -> Result<(), DbError> {
    tx.execute_batch(
        "DELETE FROM component_counts;
         INSERT INTO component_counts (system, component, informational, warnings, errors)
             SELECT system, component, sum(CASE WHEN severity = 1 THEN 1 ELSE 0 END),
                 sum(CASE WHEN severity = 2 THEN 1 ELSE 0 END), sum(CASE WHEN severity = 3 THEN 1 ELSE 0 END)
             FROM messages GROUP BY system, component;
         DELETE FROM advertisement_states;
         INSERT INTO advertisement_states (namespace, advertisement, state, clients)
             SELECT namespace, advertisement, state, count(*) FROM client_status
             GROUP BY namespace, advertisement, state;
         DELETE FROM advertisement_counts WHERE deleted = 0;",
    )?;
    let counted: Vec<(String, RunState, i64)> = {
        let mut statement = tx.prepare_cached(
            "SELECT messages.advertisement, state, count(*) AS number
             FROM messages LEFT JOIN forgotten_advertisements AS forgotten
                 ON forgotten.advertisement = messages.advertisement
             WHERE messages.advertisement IS NOT NULL AND state IS NOT NULL AND outbox IS NOT NULL
                 AND client = sender AND id > coalesce(through, 0) AND coalesce(reason, '') <> 'AlreadyRan'
             GROUP BY messages.advertisement, state",
        )?;
        let rows = statement
            .query_map((), |row| Ok((row.get(0)?, parsed(row, "state", RunState::parse)?, row.get("number")?)))?;
        rows.collect::<Result<_, _>>()?
    };
    for (advertisement, state, number) in counted {
        if let Some(advertisement) = ObjectName::parse(&advertisement) {
            add(tx, &advertisement, false, state, number)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
