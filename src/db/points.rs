//! Distribution points as they report themselves: where clients reach them and what their drives have left.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{count, digest, json},
    devices::SILENCE_MS_MAX,
};
use crate::{
    content::digest::Digest,
    model::identity::ObjectName,
    plan::summary::storage_health,
    wire::{
        access::PointRef,
        points::{DriveReport, PointReport, VersionRef},
    },
};

/// A distribution point that has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRow {
    /// Name of its `DistributionPoint`.
    pub name: String,
    /// The device that reported; the built-in point names itself.
    pub device: String,
    /// Where clients reach it.
    pub url: String,
    /// Its drives.
    pub drives: Vec<DriveReport>,
    /// The version of the assignment it works on.
    pub assignment: String,
    /// When it reported last, Unix milliseconds.
    pub reported_ms: i64,
}

/// Notes a point's address, drives and assignment. Tells subscribers only if its address, or what its drives are good
/// for, changed, or if it had been silent: free space moves all the time.
///
/// # Errors
/// If the database cannot be written.
pub fn heard(tx: &mut Tx, point: &str, device: &str, report: &PointReport, now_ms: i64) -> Result<(), DbError> {
    let before = get(tx, point)?;
    tx.prepare_cached(
        "INSERT INTO points (name, device, url, drives, assignment, reported_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET device = excluded.device, url = excluded.url, drives = excluded.drives,
             assignment = excluded.assignment, reported_ms = excluded.reported_ms",
    )?
    .execute((point, device, &report.url, serde_json::to_string(&report.drives)?, &report.assignment, now_ms))?;
    let standing = |drives: &[DriveReport]| -> Vec<_> {
        drives
            .iter()
            .map(|drive| (drive.path.clone(), drive.usable, storage_health(drive.free_bytes, drive.total_bytes)))
            .collect()
    };
    let same = before.is_some_and(|row| {
        let was_silent = now_ms - row.reported_ms > SILENCE_MS_MAX;
        let is_same = row.url == report.url && row.device == device;
        is_same && !was_silent && standing(&row.drives) == standing(&report.drives)
    });
    if !same {
        tx.touch(Change::Points(point.to_owned()));
    }
    Ok(())
}

/// Forgets a point's address and drives, after its object was deleted. What it holds stays in the ledger.
///
/// # Errors
/// If the database cannot be written.
pub fn forget(tx: &mut Tx, point: &str) -> Result<bool, DbError> {
    let gone = tx.prepare_cached("DELETE FROM points WHERE name = ?1")?.execute([point])? > 0;
    if gone {
        tx.touch(Change::Points(point.to_owned()));
    }
    Ok(gone)
}

/// The point of this name, once it has reported.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, point: &str) -> Result<Option<PointRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM points WHERE name = ?1")?;
    Ok(statement.query_row([point], from_row).optional()?)
}

/// Every point that has reported, by name.
///
/// # Errors
/// If the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<PointRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM points ORDER BY name")?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The points that hold this content completely and whose device is not blocked, by name.
///
/// # Errors
/// If the database cannot be read.
pub fn holders(connection: &Connection, content: &Digest) -> Result<Vec<PointRef>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT points.name, points.url FROM locations
             JOIN points ON points.name = locations.point
             LEFT JOIN devices ON devices.id = points.device
         WHERE locations.content = ?1 AND locations.state = 'Installed' AND locations.wanted = 'Hold'
           AND coalesce(devices.blocked, 0) = 0
         ORDER BY points.name",
    )?;
    let rows = statement.query_map([content.to_string()], point_ref)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every version that some point holds, with the points: what client access points answer clients with.
///
/// # Errors
/// If the database cannot be read.
pub fn all_holders(connection: &Connection) -> Result<Vec<(VersionRef, Vec<PointRef>)>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT locations.namespace, locations.package, locations.source_version, locations.content,
             points.name, points.url
         FROM locations
             JOIN points ON points.name = locations.point
             LEFT JOIN devices ON devices.id = points.device
         WHERE locations.state = 'Installed' AND locations.wanted = 'Hold' AND coalesce(devices.blocked, 0) = 0",
    )?;
    let rows = statement.query_map((), |row| {
        let version = VersionRef {
            package: ObjectName { namespace: row.get("namespace")?, name: row.get("package")? },
            source_version: count(row, "source_version")?,
            content: digest(row, "content")?,
        };
        Ok((version, point_ref(row)?))
    })?;
    let mut held: BTreeMap<VersionRef, Vec<PointRef>> = BTreeMap::new();
    for row in rows {
        let (version, point) = row?;
        held.entry(version).or_default().push(point);
    }
    held.values_mut().for_each(|points| points.sort_unstable());
    Ok(held.into_iter().collect())
}

fn point_ref(row: &Row<'_>) -> rusqlite::Result<PointRef> {
    Ok(PointRef { name: row.get("name")?, url: row.get("url")? })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<PointRow> {
    Ok(PointRow {
        name: row.get("name")?,
        device: row.get("device")?,
        url: row.get("url")?,
        drives: json(row, "drives")?,
        assignment: row.get("assignment")?,
        reported_ms: row.get("reported_ms")?,
    })
}
