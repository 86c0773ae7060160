//! Source versions: a counter for every (origin site, namespace, package) that grows when, and only when, the content's
//! manifest digest changes. The counter outlives the package, so that a number never means two contents.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{count, digest, signed},
    locations,
};
use crate::{
    content::digest::Digest,
    model::{identity::ObjectName, state::LocationState},
};

/// A package, named across sites.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageKey {
    /// Id of the site where it was authored.
    pub site: String,
    /// Namespace and name there.
    pub package: ObjectName,
}

/// One version of a package's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// The package.
    pub key: PackageKey,
    /// Its number, from 1.
    pub source_version: u64,
    /// Digest of its manifest.
    pub content: Digest,
    /// Size of all its files; 0 if it was rebuilt from reports.
    pub size_bytes: u64,
    /// Number of its files; 0 if it was rebuilt from reports.
    pub files: u64,
    /// When it was first seen, Unix milliseconds.
    pub created_ms: i64,
    /// Kept although newer ones exist.
    pub pinned: bool,
}

/// What [`observe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The version that this content is.
    pub source_version: u64,
    /// Whether the counter grew.
    pub new: bool,
}

/// A snapshot of the package's source has this content: the version it had last, or the next one.
///
/// # Errors
/// If the database cannot be written.
pub fn observe(
    tx: &mut Tx,
    key: &PackageKey,
    content: &Digest,
    size_bytes: u64,
    files: u64,
    now_ms: i64,
) -> Result<Observed, DbError> {
    let last = counter(tx, key)?;
    let new = last.is_none_or(|(_, last)| last != *content);
    let source_version = last.map_or(0, |(number, _)| number) + u64::from(new);
    if new {
        set_counter(tx, key, source_version, content)?;
    }
    // A package that was deleted and created again lost its rows; one rebuilt from reports lacks size and files.
    let row = VersionRow {
        key: key.clone(),
        source_version,
        content: *content,
        size_bytes,
        files,
        created_ms: now_ms,
        pinned: false,
    };
    if put(tx, &row)? {
        tx.touch(Change::Versions(key.package.clone()));
    }
    Ok(Observed { source_version, new })
}

/// Somebody remembers that this number was given out for this content: it is not given out again, also if the database
/// was lost. `false` if the counter is as far already.
///
/// # Errors
/// If the database cannot be written.
pub fn given_out(tx: &mut Tx, key: &PackageKey, source_version: u64, content: &Digest) -> Result<bool, DbError> {
    let is_news = counter(tx, key)?.is_none_or(|(last, _)| last < source_version);
    if is_news {
        set_counter(tx, key, source_version, content)?;
    }
    Ok(is_news)
}

/// Takes in what a distribution point reports to hold, after the database was lost. `false` if it is known.
///
/// # Errors
/// [`DbError::Conflict`] if this number is known with other content: the report is of another site's past.
pub fn restore(
    tx: &mut Tx,
    key: &PackageKey,
    source_version: u64,
    content: &Digest,
    now_ms: i64,
) -> Result<bool, DbError> {
    let last = counter(tx, key)?;
    let known = match get(tx, key, source_version)? {
        Some(row) => Some(row.content),
        None => last.filter(|(number, _)| *number == source_version).map(|(_, content)| content),
    };
    match known {
        Some(known) if known == *content => return Ok(false),
        Some(known) => {
            let package = &key.package;
            return Err(DbError::Conflict(format!(
                "version {source_version} of {package} is {known}, not {content}: the reported one is foreign"
            )));
        }
        None => {}
    }
    given_out(tx, key, source_version, content)?;
    let (size_bytes, files) = (0, 0);
    let row = VersionRow {
        key: key.clone(),
        source_version,
        content: *content,
        size_bytes,
        files,
        created_ms: now_ms,
        pinned: false,
    };
    put(tx, &row)?;
    tx.touch(Change::Versions(key.package.clone()));
    Ok(true)
}

/// Keeps a version although newer ones exist, or no longer; `false` if it is so already or there is none.
///
/// # Errors
/// If the database cannot be written.
pub fn set_pinned(tx: &mut Tx, key: &PackageKey, source_version: u64, pinned: bool) -> Result<bool, DbError> {
    let changed = tx
        .prepare_cached(
            "UPDATE versions SET pinned = ?5
             WHERE site = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4 AND pinned <> ?5",
        )?
        .execute((&key.site, &key.package.namespace, &key.package.name, signed(source_version), pinned))?
        > 0;
    if changed {
        tx.touch(Change::Versions(key.package.clone()));
    }
    Ok(changed)
}

/// Forgets one version, or with `None` all of a deleted package. The counter stays.
///
/// # Errors
/// If the database cannot be written.
pub fn forget(tx: &mut Tx, key: &PackageKey, source_version: Option<u64>) -> Result<usize, DbError> {
    let gone = tx
        .prepare_cached(
            "DELETE FROM versions
             WHERE site = ?1 AND namespace = ?2 AND package = ?3 AND (?4 IS NULL OR source_version = ?4)",
        )?
        .execute((&key.site, &key.package.namespace, &key.package.name, source_version.map(signed)))?;
    if gone > 0 {
        tx.touch(Change::Versions(key.package.clone()));
    }
    Ok(gone)
}

/// Forgets versions that nobody needs: of packages that are not declared any more every one, of others those that are not
/// [`kept`]; but none that a distribution point still holds, gets or has not confirmed as removed. Gives how many.
///
/// # Errors
/// If the database cannot be written.
pub fn forget_unneeded(tx: &mut Tx, is_declared: impl Fn(&ObjectName) -> bool) -> Result<usize, DbError> {
    let packages: BTreeSet<PackageKey> = all(tx)?.into_iter().map(|row| row.key).collect();
    let mut forgotten = 0;
    for key in packages {
        let mut needed: BTreeSet<u64> = locations::of_package(tx, &key.package)?
            .into_iter()
            .filter(|row| !matches!(row.state, LocationState::Removed | LocationState::Abandoned))
            .map(|row| row.version.source_version)
            .collect();
        if is_declared(&key.package) {
            needed.extend(kept(tx, &key)?.iter().map(|row| row.source_version));
        }
        for row in list(tx, &key)?.iter().filter(|row| !needed.contains(&row.source_version)) {
            forgotten += forget(tx, &key, Some(row.source_version))?;
        }
    }
    Ok(forgotten)
}

/// Every version of a package that is not forgotten, the newest first: the current one, the previous one, older ones.
///
/// # Errors
/// If the database cannot be read.
pub fn list(connection: &Connection, key: &PackageKey) -> Result<Vec<VersionRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM versions WHERE site = ?1 AND namespace = ?2 AND package = ?3 ORDER BY source_version DESC",
    )?;
    let rows = statement.query_map((&key.site, &key.package.namespace, &key.package.name), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The versions to keep on distribution points: current, previous and pinned ones, the newest first.
///
/// # Errors
/// If the database cannot be read.
pub fn kept(connection: &Connection, key: &PackageKey) -> Result<Vec<VersionRow>, DbError> {
    /// The current version and the one before it, which clients may still be running.
    const RECENT: usize = 2;
    let all = list(connection, key)?;
    Ok(all.into_iter().enumerate().filter(|(place, row)| *place < RECENT || row.pinned).map(|(_, row)| row).collect())
}

/// The newest version of a package.
///
/// # Errors
/// If the database cannot be read.
pub fn current(connection: &Connection, key: &PackageKey) -> Result<Option<VersionRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM versions WHERE site = ?1 AND namespace = ?2 AND package = ?3
         ORDER BY source_version DESC LIMIT 1",
    )?;
    Ok(statement.query_row((&key.site, &key.package.namespace, &key.package.name), from_row).optional()?)
}

/// One version of a package.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, key: &PackageKey, source_version: u64) -> Result<Option<VersionRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM versions WHERE site = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4",
    )?;
    let found = statement
        .query_row((&key.site, &key.package.namespace, &key.package.name, signed(source_version)), from_row)
        .optional()?;
    Ok(found)
}

/// Every version of every package: whose content the library must keep.
///
/// # Errors
/// If the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<VersionRow>, DbError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM versions ORDER BY site, namespace, package, source_version")?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn counter(connection: &Connection, key: &PackageKey) -> Result<Option<(u64, Digest)>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT last, content FROM version_counters WHERE site = ?1 AND namespace = ?2 AND package = ?3",
    )?;
    let found = statement
        .query_row((&key.site, &key.package.namespace, &key.package.name), |row| {
            Ok((count(row, "last")?, digest(row, "content")?))
        })
        .optional()?;
    Ok(found)
}

fn set_counter(tx: &Tx, key: &PackageKey, last: u64, content: &Digest) -> Result<(), DbError> {
    tx.prepare_cached(
        "INSERT INTO version_counters (site, namespace, package, last, content) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (site, namespace, package) DO UPDATE SET last = excluded.last, content = excluded.content",
    )?
    .execute((&key.site, &key.package.namespace, &key.package.name, signed(last), content.to_string()))?;
    Ok(())
}

/// Inserts a version, or completes one that was rebuilt without size; `false` if nothing changed.
fn put(tx: &Tx, row: &VersionRow) -> Result<bool, DbError> {
    let changed = tx
        .prepare_cached(
            "INSERT INTO versions (site, namespace, package, source_version, content, size_bytes, files, created_ms,
                 pinned)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (site, namespace, package, source_version) DO UPDATE
             SET size_bytes = excluded.size_bytes, files = excluded.files
             WHERE versions.size_bytes <> excluded.size_bytes OR versions.files <> excluded.files",
        )?
        .execute((
            &row.key.site,
            &row.key.package.namespace,
            &row.key.package.name,
            signed(row.source_version),
            row.content.to_string(),
            signed(row.size_bytes),
            signed(row.files),
            row.created_ms,
            row.pinned,
        ))?;
    Ok(changed > 0)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        key: PackageKey {
            site: row.get("site")?,
            package: ObjectName { namespace: row.get("namespace")?, name: row.get("package")? },
        },
        source_version: count(row, "source_version")?,
        content: digest(row, "content")?,
        size_bytes: count(row, "size_bytes")?,
        files: count(row, "files")?,
        created_ms: row.get("created_ms")?,
        pinned: row.get("pinned")?,
    })
}

#[cfg(test)]
mod tests;
