//! Content locations: every version of a package that a distribution point holds, should hold or should remove. Rows
//! that wait for a removal outlive package and point: they are the ledger that removal works from.

use rusqlite::{Connection, Row};

use super::{
    Change, DbError, Tx,
    column::{count, digest, parsed, signed},
    devices::{self, Admission},
    jobs,
};
use crate::{
    content::digest::Digest,
    model::{identity::ObjectName, state::LocationState},
    wire::points::{VersionRef, VersionReport},
};

/// Rows in one page of a listing at most.
pub const PAGE_MAX: usize = 1_000;

/// What a point should do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// Hold it.
    Hold,
    /// Remove it and confirm.
    Remove,
}

impl Wanted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "Hold",
            Self::Remove => "Remove",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Hold, Self::Remove].into_iter().find(|wanted| wanted.as_str() == text)
    }
}

/// One version on one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationRow {
    /// Name of the distribution point.
    pub point: String,
    /// Package, source version and content.
    pub version: VersionRef,
    /// What the point should do.
    pub wanted: Wanted,
    /// A token that asks for the whole content again.
    pub resend_wanted: Option<String>,
    /// The last such token that the point obeyed.
    pub resend_honoured: Option<String>,
    /// Grows with every report of bad content.
    pub check_wanted: u64,
    /// The last such number that the point obeyed.
    pub check_honoured: u64,
    /// Where it stands.
    pub state: LocationState,
    /// Why it is not where it should be.
    pub detail: Option<String>,
    /// The directory it is published in, as the point reported.
    pub path: Option<String>,
    /// When all its bytes were last verified, Unix milliseconds.
    pub verified_at_ms: Option<i64>,
    /// When it was wanted first, Unix milliseconds.
    pub created_ms: i64,
    /// When its state changed last, Unix milliseconds.
    pub updated_ms: i64,
}

/// A version that a point should hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// Name of the distribution point.
    pub point: String,
    /// The source version.
    pub source_version: u64,
    /// Digest of its manifest.
    pub content: Digest,
    /// A new value asks for the whole content again.
    pub resend_token: Option<String>,
}

/// Sets what all points should hold of a package: these versions, and nothing else. Versions that were wanted and no
/// longer are become removals, wherever they are; none at all is the package's removal. `false` if it was so already.
///
/// # Errors
/// [`DbError::Conflict`] if a version number is known with other content.
pub fn want(tx: &mut Tx, package: &ObjectName, holds: &[Hold], now_ms: i64) -> Result<bool, DbError> {
    let known = of_package(tx, package)?;
    let mut changed = false;
    for row in &known {
        let kept =
            holds.iter().any(|hold| hold.point == row.point && hold.source_version == row.version.source_version);
        if !kept && row.wanted == Wanted::Hold {
            // Nobody is waited for who will not be let in again.
            let is_gone = devices::admission(tx, &row.point)? == Admission::Gone;
            let state = if is_gone { LocationState::Abandoned } else { LocationState::RemovalPending };
            set_wanted(tx, row, Wanted::Remove, None, state, now_ms)?;
            changed = true;
        }
    }
    for hold in holds {
        let row = known.iter().find(|row| hold.point == row.point && hold.source_version == row.version.source_version);
        changed |= match row {
            None => {
                insert(tx, package, hold, now_ms)?;
                true
            }
            Some(row) if row.version.content != hold.content => {
                let (number, known) = (hold.source_version, row.version.content);
                return Err(DbError::Conflict(format!(
                    "version {number} of {package} is {known}, it cannot be {}",
                    hold.content
                )));
            }
            Some(row) if row.wanted == Wanted::Hold && row.resend_wanted == hold.resend_token => false,
            Some(row) => {
                let state = if row.wanted == Wanted::Hold { row.state } else { LocationState::InstallPending };
                set_wanted(tx, row, Wanted::Hold, hold.resend_token.as_deref(), state, now_ms)?;
                true
            }
        };
    }
    if changed {
        jobs::follow(tx, package, now_ms)?;
        tx.touch(Change::Locations(package.clone()));
    }
    Ok(changed)
}

fn insert(tx: &Tx, package: &ObjectName, hold: &Hold, now_ms: i64) -> Result<(), DbError> {
    tx.prepare_cached(
        "INSERT INTO locations (point, namespace, package, source_version, content, wanted, resend_wanted,
             resend_honoured, check_wanted, check_honoured, state, created_ms, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 'Hold', ?6, ?6, 0, 0, 'InstallPending', ?7, ?7)",
    )?
    .execute((
        &hold.point,
        &package.namespace,
        &package.name,
        signed(hold.source_version),
        hold.content.to_string(),
        &hold.resend_token,
        now_ms,
    ))?;
    Ok(())
}

/// Takes a version into the ledger that `point` was found to hold although nothing is known of it: the database was
/// lost. What becomes of it is decided as for every other row. `false` if there is a row of this number.
///
/// # Errors
/// If the database cannot be written.
pub fn found(tx: &mut Tx, point: &str, report: &VersionReport, now_ms: i64) -> Result<bool, DbError> {
    let VersionRef { package, source_version, content } = &report.version;
    let state = if report.state == LocationState::Installed { report.state } else { LocationState::InstallPending };
    let is_news =
        tx.prepare_cached(
            "INSERT INTO locations (point, namespace, package, source_version, content, wanted, resend_wanted,
                 resend_honoured, check_wanted, check_honoured, state, path, verified_at_ms, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, 'Hold', ?6, ?6, ?7, ?7, ?8, ?9, ?10, ?11, ?11)
             ON CONFLICT DO NOTHING",
        )?
        .execute((
            point,
            &package.namespace,
            &package.name,
            signed(*source_version),
            content.to_string(),
            &report.resend_token,
            signed(report.check),
            state.as_str(),
            &report.path,
            report.verified_at_ms,
            now_ms,
        ))? > 0;
    if is_news {
        tx.touch(Change::Locations(package.clone()));
    }
    Ok(is_news)
}

fn set_wanted(
    tx: &Tx,
    row: &LocationRow,
    wanted: Wanted,
    resend_token: Option<&str>,
    state: LocationState,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.prepare_cached(
        "UPDATE locations SET wanted = ?5, resend_wanted = ?6, state = ?7, detail = NULL, updated_ms = ?8
         WHERE point = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4",
    )?
    .execute((
        &row.point,
        &row.version.package.namespace,
        &row.version.package.name,
        signed(row.version.source_version),
        wanted.as_str(),
        resend_token,
        state.as_str(),
        now_ms,
    ))?;
    Ok(())
}

/// Asks a point to verify and repair this content now, because a client got bad bytes from it. Gives the number of
/// versions concerned; 0 if the point should not hold it.
///
/// # Errors
/// If the database cannot be written.
pub fn request_check(tx: &mut Tx, point: &str, content: &Digest) -> Result<usize, DbError> {
    let asked = tx
        .prepare_cached(
            // Above what the point obeyed, which may be of a time before this database.
            "UPDATE locations SET check_wanted = max(check_wanted, check_honoured) + 1
             WHERE content = ?2 AND point = ?1 AND wanted = 'Hold'",
        )?
        .execute((point, content.to_string()))?;
    if asked > 0 {
        for row in holding(tx, content)?.into_iter().filter(|row| row.point == point) {
            tx.touch(Change::Locations(row.version.package));
        }
    }
    Ok(asked)
}

/// Gives up on removals that wait: of this package, on this point, or both. The content may still lie there; the rows
/// say so until [`forget_settled`]. Gives the number of rows.
///
/// # Errors
/// If the database cannot be written.
pub fn abandon(tx: &mut Tx, package: Option<&ObjectName>, point: Option<&str>, now_ms: i64) -> Result<usize, DbError> {
    let waiting: Vec<LocationRow> = match (package, point) {
        (Some(package), _) => of_package(tx, package)?,
        (None, Some(point)) => of_point(tx, point)?,
        (None, None) => Vec::new(),
    };
    let mut given_up = 0;
    for row in waiting {
        let unsettled = !matches!(row.state, LocationState::Removed | LocationState::Abandoned);
        if row.wanted == Wanted::Remove && unsettled && point.is_none_or(|point| point == row.point) {
            set_wanted(tx, &row, Wanted::Remove, None, LocationState::Abandoned, now_ms)?;
            tx.touch(Change::Locations(row.version.package));
            given_up += 1;
        }
    }
    Ok(given_up)
}

/// Deletes rows of removals that were confirmed or given up before `before_ms`.
///
/// # Errors
/// If the database cannot be written.
pub fn forget_settled(tx: &mut Tx, before_ms: i64) -> Result<usize, DbError> {
    let gone = tx
        .prepare_cached("DELETE FROM locations WHERE state IN ('Removed', 'Abandoned') AND updated_ms < ?1")?
        .execute([before_ms])?;
    Ok(gone)
}

/// What one point should do: every version it should hold, and every removal it has not confirmed.
///
/// # Errors
/// If the database cannot be read.
pub fn wanted_of(connection: &Connection, point: &str) -> Result<Vec<LocationRow>, DbError> {
    let mut rows = of_point(connection, point)?;
    rows.retain(|row| !matches!(row.state, LocationState::Removed | LocationState::Abandoned));
    Ok(rows)
}

/// Removals of a package that are neither confirmed nor given up: what its deletion waits for.
///
/// # Errors
/// If the database cannot be read.
pub fn waiting_removals(connection: &Connection, package: &ObjectName) -> Result<Vec<LocationRow>, DbError> {
    let mut rows = of_package(connection, package)?;
    rows.retain(|row| {
        row.wanted == Wanted::Remove && !matches!(row.state, LocationState::Removed | LocationState::Abandoned)
    });
    Ok(rows)
}

/// Every row of a package, by version and point.
///
/// # Errors
/// If the database cannot be read.
pub fn of_package(connection: &Connection, package: &ObjectName) -> Result<Vec<LocationRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM locations WHERE namespace = ?1 AND package = ?2 ORDER BY source_version, point",
    )?;
    let rows = statement.query_map((&package.namespace, &package.name), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every row of a point, by package and version.
///
/// # Errors
/// If the database cannot be read.
pub fn of_point(connection: &Connection, point: &str) -> Result<Vec<LocationRow>, DbError> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM locations WHERE point = ?1 ORDER BY namespace, package, source_version")?;
    let rows = statement.query_map([point], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows of points that hold this content completely and should.
///
/// # Errors
/// If the database cannot be read.
pub fn holding(connection: &Connection, content: &Digest) -> Result<Vec<LocationRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM locations WHERE content = ?1 AND state = 'Installed' AND wanted = 'Hold' ORDER BY point",
    )?;
    let rows = statement.query_map([content.to_string()], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows in order of namespace, package, version and point, after the place `after`: one page for a listing.
///
/// # Errors
/// If the database cannot be read.
pub fn page(
    connection: &Connection,
    namespace: Option<&str>,
    after: Option<(&ObjectName, u64, &str)>,
    limit: usize,
) -> Result<Vec<LocationRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM locations
         WHERE (?1 IS NULL OR namespace = ?1) AND (namespace, package, source_version, point) > (?2, ?3, ?4, ?5)
         ORDER BY namespace, package, source_version, point LIMIT ?6",
    )?;
    let (from, package, version, point) = after.map_or(("", "", -1, ""), |(package, version, point)| {
        (package.namespace.as_str(), package.name.as_str(), signed(version), point)
    });
    let limit = i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0);
    let rows = statement.query_map((namespace, from, package, version, point, limit), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<LocationRow> {
    Ok(LocationRow {
        point: row.get("point")?,
        version: VersionRef {
            package: ObjectName { namespace: row.get("namespace")?, name: row.get("package")? },
            source_version: count(row, "source_version")?,
            content: digest(row, "content")?,
        },
        wanted: parsed(row, "wanted", Wanted::parse)?,
        resend_wanted: row.get("resend_wanted")?,
        resend_honoured: row.get("resend_honoured")?,
        check_wanted: count(row, "check_wanted")?,
        check_honoured: count(row, "check_honoured")?,
        state: parsed(row, "state", LocationState::parse)?,
        detail: row.get("detail")?,
        path: row.get("path")?,
        verified_at_ms: row.get("verified_at_ms")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
    })
}

#[cfg(test)]
mod tests;
