//! Package records as signed envelopes, by digest. The newest of a package is its current one; the one that may be
//! offered is the newest whose content a distribution point holds.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{count, digest, digest_opt, json, signed},
    versions::PackageKey,
};
use crate::{
    content::digest::Digest, model::identity::ObjectName, trust::envelope::Envelope, wire::record::PackageRecord,
};

/// Records deleted in one transaction at most, so that other writes do not wait.
pub const RETENTION_STEP: usize = 1_000;

/// A published record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Digest of the signed text; the record's name.
    pub digest: Digest,
    /// The package.
    pub key: PackageKey,
    /// Its source version; 0 without files.
    pub source_version: u64,
    /// Digest of the content's manifest; `None` without files.
    pub content: Option<Digest>,
    /// The signed record.
    pub envelope: Envelope,
    /// When it became current last, Unix milliseconds.
    pub published_ms: i64,
}

/// Makes the record in this envelope its package's current one. Gives its digest, and `false` if it was already.
/// The signature is the caller's own and not checked here.
///
/// # Errors
/// [`DbError::Json`] if the envelope holds no record.
pub fn publish(tx: &mut Tx, envelope: &Envelope, now_ms: i64) -> Result<(Digest, bool), DbError> {
    let record = PackageRecord::decode(envelope.payload.as_bytes())?;
    let digest = Digest::of(envelope.payload.as_bytes());
    let package = ObjectName::new(&record.namespace, &record.package);
    if current(tx, &package)?.is_some_and(|row| row.digest == digest) {
        return Ok((digest, false));
    }
    tx.prepare_cached(
        "INSERT INTO records (digest, site, namespace, package, source_version, content, envelope, place, published_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT coalesce(max(place), 0) + 1 FROM records), ?8)
         ON CONFLICT (digest) DO UPDATE SET place = excluded.place, published_ms = excluded.published_ms",
    )?
    .execute((
        digest.to_string(),
        &record.site,
        &record.namespace,
        &record.package,
        signed(record.source_version),
        record.content.map(|content| content.to_string()),
        serde_json::to_string(envelope)?,
        now_ms,
    ))?;
    tx.prepare_cached(
        "INSERT INTO current_records (namespace, package, digest) VALUES (?1, ?2, ?3)
         ON CONFLICT (namespace, package) DO UPDATE SET digest = excluded.digest",
    )?
    .execute((&record.namespace, &record.package, digest.to_string()))?;
    tx.touch(Change::Records(package));
    Ok((digest, true))
}

/// The package is gone: it has no current record any more. The records stay for clients that still hold an older
/// policy, until [`retain`] takes them.
///
/// # Errors
/// If the database cannot be written.
pub fn withdraw(tx: &mut Tx, package: &ObjectName) -> Result<bool, DbError> {
    let gone = tx
        .prepare_cached("DELETE FROM current_records WHERE namespace = ?1 AND package = ?2")?
        .execute((&package.namespace, &package.name))?
        > 0;
    if gone {
        tx.touch(Change::Records(package.clone()));
    }
    Ok(gone)
}

/// Deletes at most [`RETENTION_STEP`] records that were published before `before_ms`, are neither current nor
/// offerable, and are not in `keep` (what published policy still names). Repeat while it gives that number.
///
/// # Errors
/// If the database cannot be written.
pub fn retain(tx: &mut Tx, keep: &BTreeSet<Digest>, before_ms: i64) -> Result<usize, DbError> {
    let offered: BTreeSet<_> = offerable(tx)?.into_iter().map(|row| row.digest).collect();
    let old: Vec<Digest> = {
        let mut statement = tx.prepare_cached(
            "SELECT digest FROM records WHERE published_ms < ?1
             AND NOT EXISTS (SELECT 1 FROM current_records WHERE current_records.digest = records.digest)
             ORDER BY place",
        )?;
        let rows = statement.query_map([before_ms], |row| digest(row, "digest"))?;
        rows.collect::<Result<_, _>>()?
    };
    let mut delete = tx.prepare_cached("DELETE FROM records WHERE digest = ?1")?;
    let unused = old.iter().filter(|digest| !keep.contains(digest) && !offered.contains(digest));
    let mut gone = 0;
    for digest in unused.take(RETENTION_STEP) {
        gone += delete.execute([digest.to_string()])?;
    }
    Ok(gone)
}

/// The record with this digest.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, digest: &Digest) -> Result<Option<RecordRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM records WHERE digest = ?1")?;
    Ok(statement.query_row([digest.to_string()], from_row).optional()?)
}

/// A package's current record.
///
/// # Errors
/// If the database cannot be read.
pub fn current(connection: &Connection, package: &ObjectName) -> Result<Option<RecordRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT records.* FROM current_records JOIN records ON records.digest = current_records.digest
         WHERE current_records.namespace = ?1 AND current_records.package = ?2",
    )?;
    Ok(statement.query_row((&package.namespace, &package.name), from_row).optional()?)
}

/// Every package's current record, in order of names.
///
/// # Errors
/// If the database cannot be read.
pub fn all_current(connection: &Connection) -> Result<Vec<RecordRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT records.* FROM current_records JOIN records ON records.digest = current_records.digest
         ORDER BY current_records.namespace, current_records.package",
    )?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// For every package that has a current record, the newest record that may be offered: without content, or with
/// content that a distribution point holds. Packages without any such record are missing.
///
/// # Errors
/// If the database cannot be read.
pub fn offerable(connection: &Connection) -> Result<Vec<RecordRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT records.* FROM current_records JOIN records
             ON records.namespace = current_records.namespace AND records.package = current_records.package
         WHERE records.place = (
             SELECT max(candidate.place) FROM records AS candidate
             WHERE candidate.namespace = records.namespace AND candidate.package = records.package
               AND (candidate.content IS NULL OR EXISTS (
                   SELECT 1 FROM locations
                   WHERE locations.content = candidate.content AND locations.state = 'Installed'
                     AND locations.wanted = 'Hold' AND locations.namespace = candidate.namespace
                     AND locations.package = candidate.package)))
         ORDER BY records.namespace, records.package",
    )?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<RecordRow> {
    Ok(RecordRow {
        digest: digest(row, "digest")?,
        key: PackageKey {
            site: row.get("site")?,
            package: ObjectName { namespace: row.get("namespace")?, name: row.get("package")? },
        },
        source_version: count(row, "source_version")?,
        content: digest_opt(row, "content")?,
        envelope: json(row, "envelope")?,
        published_ms: row.get("published_ms")?,
    })
}

#[cfg(test)]
mod tests;
