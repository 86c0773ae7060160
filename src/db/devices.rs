//! Clients, distribution points and client access points: who joined, with which certificate, whether blocked, when
//! last seen. A deleted device is remembered as gone until its last certificate has ended.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{count, json, parsed},
    locations, status,
};
use crate::{trust::identity::Role, wire::turned_away::TurnedAway};

/// Devices at most: twice the largest fleet that one site is measured with.
pub const DEVICES_MAX: u64 = 200_000;
/// Rows in one page of a listing at most.
pub const PAGE_MAX: usize = 1_000;
/// `last_seen_ms` is written at most once in this time per device: polls must not become writes.
pub const SEEN_STEP_MS: i64 = 60_000;
/// A site system that was not heard of for this long is unreachable: three heartbeats of a minute.
pub const SILENCE_MS_MAX: i64 = 3 * 60_000;

/// A device that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Given by the site when it joined, never used again.
    pub id: String,
    /// What it is.
    pub role: Role,
    /// Its name; unique among distribution points and among client access points, not among clients.
    pub name: String,
    /// What it calls itself.
    pub hostname: String,
    /// Set on the server.
    pub labels: BTreeMap<String, String>,
    /// Refused by an administrator.
    pub blocked: bool,
    /// Its certificate, PEM.
    pub certificate: String,
    /// End of that certificate, Unix milliseconds.
    pub not_after_ms: i64,
    /// When it joined last, Unix milliseconds.
    pub joined_at_ms: i64,
    /// When it was heard of last, to the minute, Unix milliseconds.
    pub last_seen_ms: i64,
    /// The version of its agent.
    pub agent_version: String,
}

impl DeviceRow {
    /// Whether [`seen`] would write: ask before queueing a write.
    #[must_use]
    pub fn seen_is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.last_seen_ms + SEEN_STEP_MS
    }
}

/// Whether the holder of a certificate with this id may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It joined and may.
    Admitted(DeviceRow),
    /// It joined and was blocked.
    Blocked(DeviceRow),
    /// It was deleted; it has to join anew, under a new id.
    Gone,
    /// This database has never heard of it.
    Unknown,
}

/// Admits a device under an id that was never used.
///
/// # Errors
/// [`DbError::Conflict`] if id or name is taken or the id was deleted; [`DbError::Limit`] beyond [`DEVICES_MAX`].
pub fn join(tx: &mut Tx, device: &DeviceRow) -> Result<(), DbError> {
    match admission(tx, &device.id)? {
        Admission::Unknown => {}
        _ => return Err(DbError::Conflict(format!("the name '{}' was given out before", device.name))),
    }
    if device.role != Role::Client && by_name(tx, device.role, &device.name)?.is_some() {
        let (role, name) = (device.role, &device.name);
        return Err(DbError::Conflict(format!("a {role} named '{name}' has joined already")));
    }
    let known: i64 = tx.prepare_cached("SELECT count(*) FROM devices")?.query_row((), |row| row.get(0))?;
    if known.cast_unsigned() >= DEVICES_MAX {
        return Err(DbError::Limit { what: "devices of a site", limit: DEVICES_MAX });
    }
    tx.prepare_cached(
        "INSERT INTO devices (id, role, name, hostname, labels, blocked, certificate, not_after_ms, joined_at_ms,
             last_seen_ms, agent_version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute((
        &device.id,
        device.role.as_str(),
        &device.name,
        &device.hostname,
        serde_json::to_string(&device.labels)?,
        device.blocked,
        &device.certificate,
        device.not_after_ms,
        device.joined_at_ms,
        device.last_seen_ms,
        &device.agent_version,
    ))?;
    tx.touch(Change::Devices(device.id.clone()));
    Ok(())
}

/// A device that was off for longer than its certificate lived comes back under its old id. It stays blocked if it
/// was; labels and name stay.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined or it was deleted.
pub fn rejoin(tx: &mut Tx, id: &str, certificate: &str, not_after_ms: i64, now_ms: i64) -> Result<(), DbError> {
    renew(tx, id, certificate, not_after_ms)?;
    tx.prepare_cached("UPDATE devices SET joined_at_ms = ?2, last_seen_ms = ?2 WHERE id = ?1")?
        .execute((id, now_ms))?;
    Ok(())
}

/// Notes a device's new certificate.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined or it was deleted.
pub fn renew(tx: &mut Tx, id: &str, certificate: &str, not_after_ms: i64) -> Result<(), DbError> {
    let changed = tx
        .prepare_cached("UPDATE devices SET certificate = ?2, not_after_ms = ?3 WHERE id = ?1")?
        .execute((id, certificate, not_after_ms))?;
    found(changed, id)?;
    tx.touch(Change::Devices(id.to_owned()));
    Ok(())
}

/// Notes that a device was heard of; writes at most once in [`SEEN_STEP_MS`]. Tells nobody.
///
/// # Errors
/// If the database cannot be written.
pub fn seen(tx: &mut Tx, id: &str, now_ms: i64) -> Result<(), DbError> {
    tx.prepare_cached("UPDATE devices SET last_seen_ms = ?2 WHERE id = ?1 AND last_seen_ms <= ?3")?.execute((
        id,
        now_ms,
        now_ms - SEEN_STEP_MS,
    ))?;
    Ok(())
}

/// Notes that a client was heard of at `at_ms`. For whoever gathers polls: writes each time it is called with a later
/// time. Tells nobody, and knows nothing of devices that did not join.
///
/// # Errors
/// If the database cannot be written.
pub fn heard(tx: &mut Tx, client: &str, at_ms: i64) -> Result<(), DbError> {
    tx.prepare_cached("UPDATE devices SET last_seen_ms = ?2 WHERE id = ?1 AND role = ?3 AND last_seen_ms < ?2")?
        .execute((client, at_ms, Role::Client.as_str()))?;
    Ok(())
}

/// As [`seen`], for a device whose silence is shown: tells that the site changed if it had been silent.
///
/// # Errors
/// If the database cannot be written.
pub fn system_seen(tx: &mut Tx, id: &str, now_ms: i64) -> Result<(), DbError> {
    let was_silent = get(tx, id)?.is_some_and(|device| now_ms - device.last_seen_ms > SILENCE_MS_MAX);
    seen(tx, id, now_ms)?;
    if was_silent {
        tx.touch(Change::Site);
    }
    Ok(())
}

/// Notes what a device says of itself. Writes nothing if it is known.
///
/// # Errors
/// If the database cannot be written.
pub fn describe(tx: &mut Tx, id: &str, hostname: &str, agent_version: &str) -> Result<bool, DbError> {
    let changed = tx
        .prepare_cached(
            "UPDATE devices SET hostname = ?2, agent_version = ?3
             WHERE id = ?1 AND (hostname <> ?2 OR agent_version <> ?3)",
        )?
        .execute((id, hostname, agent_version))?;
    if changed > 0 {
        tx.touch(Change::Devices(id.to_owned()));
    }
    Ok(changed > 0)
}

/// Blocks or unblocks a device; `false` if it already was so.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined.
pub fn set_blocked(tx: &mut Tx, id: &str, blocked: bool) -> Result<bool, DbError> {
    let device = get(tx, id)?.ok_or_else(|| missing(id))?;
    if device.blocked == blocked {
        return Ok(false);
    }
    tx.prepare_cached("UPDATE devices SET blocked = ?2 WHERE id = ?1")?.execute((id, blocked))?;
    tx.touch(Change::Devices(id.to_owned()));
    Ok(true)
}

/// Sets the server's labels of a device; `false` if they are so already.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined.
pub fn set_labels(tx: &mut Tx, id: &str, labels: &BTreeMap<String, String>) -> Result<bool, DbError> {
    let device = get(tx, id)?.ok_or_else(|| missing(id))?;
    if device.labels == *labels {
        return Ok(false);
    }
    tx.prepare_cached("UPDATE devices SET labels = ?2 WHERE id = ?1")?.execute((id, serde_json::to_string(labels)?))?;
    tx.touch(Change::Labels(id.to_owned()));
    Ok(true)
}

/// Deletes a device with its inventory and its rows in the status of advertisements; its messages stay until
/// retention takes them. Its certificate is refused from now on, and no removal waits for it. `false` if there is none.
///
/// # Errors
/// If the database cannot be written.
pub fn delete(tx: &mut Tx, id: &str, now_ms: i64) -> Result<bool, DbError> {
    let Some(device) = get(tx, id)? else { return Ok(false) };
    status::forget_client(tx, id)?;
    tx.prepare_cached("DELETE FROM leaves WHERE client = ?1")?.execute([id])?;
    tx.prepare_cached("DELETE FROM outboxes WHERE sender = ?1")?.execute([id])?;
    tx.prepare_cached("DELETE FROM points WHERE device = ?1")?.execute([id])?;
    tx.prepare_cached("DELETE FROM devices WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached(
        "INSERT INTO gone_devices (id, role, gone_ms, not_after_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET gone_ms = excluded.gone_ms, not_after_ms = excluded.not_after_ms",
    )?
    .execute((id, device.role.as_str(), now_ms, device.not_after_ms))?;
    if device.role == Role::Dp {
        // It will not be let in again to confirm anything.
        locations::abandon(tx, None, Some(id), now_ms)?;
    }
    tx.touch(Change::Devices(id.to_owned()));
    Ok(true)
}

/// Forgets deleted devices whose last certificate ended before `before_ms`; they are unknown then.
///
/// # Errors
/// If the database cannot be written.
pub fn forget_gone(tx: &mut Tx, before_ms: i64) -> Result<usize, DbError> {
    Ok(tx.prepare_cached("DELETE FROM gone_devices WHERE not_after_ms < ?1")?.execute([before_ms])?)
}

/// Whether the holder of a certificate with this id may speak.
///
/// # Errors
/// If the database cannot be read.
pub fn admission(connection: &Connection, id: &str) -> Result<Admission, DbError> {
    if let Some(device) = get(connection, id)? {
        return Ok(if device.blocked { Admission::Blocked(device) } else { Admission::Admitted(device) });
    }
    let mut statement = connection.prepare_cached("SELECT 1 FROM gone_devices WHERE id = ?1")?;
    Ok(if statement.exists([id])? { Admission::Gone } else { Admission::Unknown })
}

/// All devices that are turned away although their certificates may still live, and why.
///
/// # Errors
/// If the database cannot be read.
pub fn turned_away(connection: &Connection) -> Result<BTreeMap<String, TurnedAway>, DbError> {
    let mut statement = connection
        .prepare_cached("SELECT id, 1 FROM devices WHERE blocked <> 0 UNION ALL SELECT id, 0 FROM gone_devices")?;
    let rows = statement.query_map((), |row| {
        let why = if row.get(1)? { TurnedAway::Blocked } else { TurnedAway::Deleted };
        Ok((row.get(0)?, why))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ids of deleted devices of a role whose certificates may still live, in order.
///
/// # Errors
/// If the database cannot be read.
pub fn gone(connection: &Connection, role: Role) -> Result<Vec<String>, DbError> {
    let mut statement = connection.prepare_cached("SELECT id FROM gone_devices WHERE role = ?1 ORDER BY id")?;
    let rows = statement.query_map([role.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The device of this id.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, id: &str) -> Result<Option<DeviceRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM devices WHERE id = ?1")?;
    Ok(statement.query_row([id], from_row).optional()?)
}

/// The distribution point or client access point of this name; of clients, the one that joined last.
///
/// # Errors
/// If the database cannot be read.
pub fn by_name(connection: &Connection, role: Role, name: &str) -> Result<Option<DeviceRow>, DbError> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM devices WHERE role = ?1 AND name = ?2 ORDER BY joined_at_ms DESC, id LIMIT 1")?;
    Ok(statement.query_row((role.as_str(), name), from_row).optional()?)
}

/// Devices of a role in order of their ids, after the id `after`; at most `limit`, at most [`PAGE_MAX`].
///
/// # Errors
/// If the database cannot be read.
pub fn page(connection: &Connection, role: Role, after: &str, limit: usize) -> Result<Vec<DeviceRow>, DbError> {
    let limit = i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0);
    let mut statement =
        connection.prepare_cached("SELECT * FROM devices WHERE role = ?1 AND id > ?2 ORDER BY id LIMIT ?3")?;
    let rows = statement.query_map((role.as_str(), after, limit), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All devices of a role in order of their ids; bounded by [`DEVICES_MAX`].
///
/// # Errors
/// If the database cannot be read.
pub fn all(connection: &Connection, role: Role) -> Result<Vec<DeviceRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM devices WHERE role = ?1 ORDER BY id")?;
    let rows = statement.query_map([role.as_str()], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many devices of a role have joined.
///
/// # Errors
/// If the database cannot be read.
pub fn number(connection: &Connection, role: Role) -> Result<u64, DbError> {
    let mut statement = connection.prepare_cached("SELECT count(*) AS number FROM devices WHERE role = ?1")?;
    Ok(statement.query_row([role.as_str()], |row| count(row, "number"))?)
}

fn found(changed: usize, id: &str) -> Result<(), DbError> {
    if changed == 0 { Err(missing(id)) } else { Ok(()) }
}

fn missing(id: &str) -> DbError {
    DbError::NotFound(format!("device {id}"))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    Ok(DeviceRow {
        id: row.get("id")?,
        role: parsed(row, "role", Role::parse)?,
        name: row.get("name")?,
        hostname: row.get("hostname")?,
        labels: json(row, "labels")?,
        blocked: row.get("blocked")?,
        certificate: row.get("certificate")?,
        not_after_ms: row.get("not_after_ms")?,
        joined_at_ms: row.get("joined_at_ms")?,
        last_seen_ms: row.get("last_seen_ms")?,
        agent_version: row.get("agent_version")?,
    })
}

#[cfg(test)]
mod tests;
