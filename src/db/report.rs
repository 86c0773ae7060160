//! A distribution point's report, taken in: its address and drives, and where each version stands. What it was told
//! last decides how its words are read, for it may still speak of an older assignment.

use rusqlite::OptionalExtension as _;

use super::{
    Change, DbError, Tx,
    column::{parsed, signed},
    jobs, points,
};
use crate::{
    model::state::LocationState,
    wire::points::{PointReport, VersionReport},
};

/// Versions in one report at most: more than 1,000 packages with three versions each, several times over.
pub const VERSIONS_MAX: usize = 20_000;
/// Characters of a version's detail that are kept.
const DETAIL_CHARS_MAX: usize = 1_000;

/// What a report said that needs somebody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// Whether a location changed its state.
    pub changed: bool,
    /// Versions that this database knows nothing of: it was lost, or the point belongs to another past. The caller
    /// rebuilds source versions from them and decides whether the point keeps them.
    pub unknown: Vec<VersionReport>,
}

/// Takes in what `point` (served by `device`) reports. Its messages are stored by [`super::messages::store_batch`].
///
/// # Errors
/// [`DbError::Limit`] beyond [`VERSIONS_MAX`].
pub fn take(tx: &mut Tx, point: &str, device: &str, report: &PointReport, now_ms: i64) -> Result<Taken, DbError> {
    if report.versions.len() > VERSIONS_MAX {
        return Err(DbError::Limit { what: "versions in one report", limit: VERSIONS_MAX as u64 });
    }
    points::heard(tx, point, device, report, now_ms)?;
    let mut taken = Taken::default();
    for version in &report.versions {
        match take_version(tx, point, version, now_ms)? {
            None => taken.unknown.push(version.clone()),
            Some(false) => {}
            Some(true) => {
                taken.changed = true;
                jobs::follow(tx, &version.version.package, now_ms)?;
                tx.touch(Change::Locations(version.version.package.clone()));
            }
        }
    }
    Ok(taken)
}

/// `None` if the version is unknown here, else whether something of interest changed. A later time of verification is
/// kept but interests nobody.
fn take_version(tx: &Tx, point: &str, report: &VersionReport, now_ms: i64) -> Result<Option<bool>, DbError> {
    let version = &report.version;
    let key = (point, &version.package.namespace, &version.package.name, signed(version.source_version));
    let known = tx
        .prepare_cached(
            "SELECT wanted, state, content FROM locations
             WHERE point = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4",
        )?
        .query_row(key, |row| {
            let hold = row.get::<_, String>("wanted")? == "Hold";
            Ok((hold, parsed(row, "state", LocationState::parse)?, row.get::<_, String>("content")?))
        })
        .optional()?;
    let content = version.content.to_string();
    let Some((hold, before, _)) = known.filter(|(_, _, known)| *known == content) else { return Ok(None) };
    let state = reading(hold, before, report.state);
    let detail = report.detail.as_deref().map(|text| text.chars().take(DETAIL_CHARS_MAX).collect::<String>());
    let changed = tx
        .prepare_cached(
            "UPDATE locations SET state = ?5, detail = ?6, path = ?7, resend_honoured = ?8, check_honoured = ?9,
                 updated_ms = ?10
             WHERE point = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4
               AND (state <> ?5 OR coalesce(detail, '') <> coalesce(?6, '') OR coalesce(path, '') <> coalesce(?7, '')
                    OR coalesce(resend_honoured, '') <> coalesce(?8, '') OR check_honoured <> ?9)",
        )?
        .execute((
            key.0,
            key.1,
            key.2,
            key.3,
            state.as_str(),
            detail,
            &report.path,
            &report.resend_token,
            signed(report.check),
            now_ms,
        ))?;
    tx.prepare_cached(
        "UPDATE locations SET verified_at_ms = ?5
         WHERE point = ?1 AND namespace = ?2 AND package = ?3 AND source_version = ?4
           AND coalesce(verified_at_ms, 0) < coalesce(?5, 0)",
    )?
    .execute((key.0, key.1, key.2, key.3, report.verified_at_ms))?;
    Ok(Some(changed > 0))
}

/// How a reported state reads, given what the point should do. A point that has not yet heard that it should do the
/// opposite has everything still before it; a removal that was given up stays so unless it is confirmed after all.
const fn reading(hold: bool, before: LocationState, reported: LocationState) -> LocationState {
    use LocationState::{
        Abandoned, InstallFailed, InstallPending, InstallRetrying, Installed, RemovalFailed, RemovalPending,
        RemovalRetrying, Removed,
    };
    match (hold, before, reported) {
        (true, _, Installed | InstallPending | InstallRetrying | InstallFailed) => reported,
        (true, _, RemovalPending | RemovalRetrying | RemovalFailed | Removed | Abandoned) => InstallPending,
        (false, _, Removed) | (false, Removed, _) => Removed,
        (false, Abandoned, _) => Abandoned,
        (false, _, RemovalPending | RemovalRetrying | RemovalFailed) => reported,
        (false, _, Installed | InstallPending | InstallRetrying | InstallFailed | Abandoned) => RemovalPending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of what is wanted and what is reported.
    #[test]
    fn reports_about_an_older_assignment_do_not_move_a_row_back() {
        use LocationState::{InstallPending, Installed, RemovalPending, RemovalRetrying, Removed};
        assert_eq!(reading(true, InstallPending, Installed), Installed);
        assert_eq!(reading(true, Removed, Removed), InstallPending, "wanted again, not yet told");
        assert_eq!(reading(false, RemovalPending, Installed), RemovalPending);
        assert_eq!(reading(false, RemovalRetrying, Removed), Removed);
        assert_eq!(reading(false, Removed, Installed), Removed, "an older report came late");
        for before in LocationState::ALL {
            for reported in LocationState::ALL {
                assert!(!matches!(
                    reading(true, before, reported),
                    LocationState::RemovalPending | LocationState::Removed | LocationState::Abandoned
                ));
                assert!(!matches!(
                    reading(false, before, reported),
                    LocationState::Installed | LocationState::InstallPending
                ));
            }
        }
    }
}
