//! Distribution jobs: what a Distribution (or an advertisement's run) makes of one package version and one point, with
//! the phases Send, Distribute and Run of SMS 1.x. Derived and listed, never authored.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{count, digest_opt, parsed, signed},
};
use crate::{
    content::digest::Digest,
    model::{identity::ObjectName, state::LocationState},
};

pub use phase::{Phase, PhaseState, Priority, overall};

mod phase;

/// Rows in one page of a listing at most.
pub const PAGE_MAX: usize = 1_000;
/// Characters of the distribution's name in a job's id; the digest behind it makes the id unique.
const NAME_CHARS_MAX: usize = 60;

/// What a job is about; the same facts always make the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Namespace of everything below.
    pub namespace: String,
    /// The Distribution it comes from.
    pub distribution: String,
    /// The package.
    pub package: String,
    /// The version to bring.
    pub source_version: u64,
    /// Digest of its manifest.
    pub content: Option<Digest>,
    /// The distribution point.
    pub point: String,
    /// The Distribution's token for sending everything again.
    pub resend_token: Option<String>,
    /// The advertisement that runs it, if the job has a Run phase.
    pub advertisement: Option<String>,
    /// Which of several goes first.
    pub priority: Priority,
    /// Not before, by the server's clock, Unix milliseconds.
    pub start_after_ms: Option<i64>,
    /// Whether the content has to be sent to another site.
    pub send: bool,
}

impl JobSpec {
    /// The job's id and name: of the distribution, and of everything that makes it another job.
    #[must_use]
    pub fn id(&self) -> String {
        let facts = serde_json::json!([
            self.namespace,
            self.distribution,
            self.package,
            self.source_version,
            self.point,
            self.resend_token,
            self.advertisement,
        ]);
        let name: String = self.distribution.chars().take(NAME_CHARS_MAX).collect();
        format!("{}-{}", name.trim_end_matches(['-', '.']), Digest::of(facts.to_string().as_bytes()).short())
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// [`JobSpec::id`].
    pub id: String,
    /// What it is about.
    pub spec: JobSpec,
    /// Sending to the site; `None` inside one.
    pub send_state: PhaseState,
    /// Copying to the point.
    pub distribute: PhaseState,
    /// Running on clients; `None` without an advertisement.
    pub run: PhaseState,
    /// All phases together.
    pub state: PhaseState,
    /// What holds it up, if anything does.
    pub detail: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it was complete or cancelled, Unix milliseconds.
    pub finished_ms: Option<i64>,
}

/// Sets the unfinished jobs of one Distribution: makes those that are new, takes up cancelled ones that are wanted
/// again, cancels the others. `false` if nothing changed. What the points should hold is set before
/// ([`super::locations::want`]): where the jobs stand is read from there.
///
/// # Errors
/// If the database cannot be written.
pub fn set(tx: &mut Tx, namespace: &str, distribution: &str, specs: &[JobSpec], now_ms: i64) -> Result<bool, DbError> {
    let known = of_distribution(tx, namespace, distribution)?;
    let wanted: BTreeSet<String> = specs.iter().map(JobSpec::id).collect();
    let mut changed = false;
    for row in known.iter().filter(|row| row.finished_ms.is_none() && !wanted.contains(&row.id)) {
        write_states(tx, row, [PhaseState::Cancelled; 3], Some("no longer wanted"), now_ms)?;
        changed = true;
    }
    for spec in specs {
        let id = spec.id();
        let row = known.iter().find(|row| row.id == id);
        changed |= match row {
            Some(row) if row.state != PhaseState::Cancelled => {
                row.finished_ms.is_none() && reschedule(tx, row, spec.start_after_ms)?
            }
            _ => {
                insert(tx, &id, spec, now_ms)?;
                true
            }
        };
    }
    if changed {
        tx.touch(Change::Jobs);
    }
    let packages: BTreeSet<&String> = specs.iter().map(|spec| &spec.package).collect();
    for package in packages {
        changed |= follow(tx, &ObjectName::new(namespace, package), now_ms)?;
    }
    Ok(changed)
}

/// Notes where a phase of a job stands. `false` if it stood there already or there is no such job.
///
/// # Errors
/// If the database cannot be written.
pub fn set_phase(
    tx: &mut Tx,
    id: &str,
    phase: Phase,
    state: PhaseState,
    detail: Option<&str>,
    now_ms: i64,
) -> Result<bool, DbError> {
    let Some(row) = get(tx, id)? else { return Ok(false) };
    let mut states = [row.send_state, row.distribute, row.run];
    states[phase as usize] = state;
    let changed = write_states(tx, &row, states, detail, now_ms)?;
    if changed {
        tx.touch(Change::Jobs);
    }
    Ok(changed)
}

/// Brings the Distribute phase of a package's unfinished jobs in line with what the points report. A job whose start
/// lies ahead stays pending: its version is not wanted anywhere yet.
pub(super) fn follow(tx: &mut Tx, package: &ObjectName, now_ms: i64) -> Result<bool, DbError> {
    let found: Vec<(JobRow, bool, LocationState, Option<String>)> = {
        let mut statement = tx.prepare_cached(
            "SELECT jobs.*, locations.wanted AS wanted, locations.state AS location, locations.detail AS why,
                 coalesce(locations.resend_honoured, '') = coalesce(locations.resend_wanted, '') AS honoured
             FROM jobs JOIN locations ON locations.point = jobs.point AND locations.namespace = jobs.namespace
                 AND locations.package = jobs.package AND locations.source_version = jobs.source_version
             WHERE jobs.namespace = ?1 AND jobs.package = ?2 AND jobs.finished_ms IS NULL",
        )?;
        let rows = statement.query_map((&package.namespace, &package.name), |row| {
            let hold = row.get::<_, String>("wanted")? == "Hold";
            let state = match parsed(row, "location", LocationState::parse)? {
                LocationState::Installed if !row.get::<_, bool>("honoured")? => LocationState::InstallPending,
                state => state,
            };
            Ok((from_row(row)?, hold, state, row.get("why")?))
        })?;
        rows.collect::<Result<_, _>>()?
    };
    let mut changed = false;
    for (row, hold, state, why) in found {
        let waiting = row.spec.start_after_ms.is_some_and(|start| start > now_ms);
        let distribute = match state {
            _ if waiting => PhaseState::Pending,
            _ if !hold => continue,
            LocationState::Installed => PhaseState::Complete,
            LocationState::InstallRetrying => PhaseState::Retrying,
            LocationState::InstallFailed => PhaseState::Failed,
            _ => PhaseState::Active,
        };
        changed |= write_states(tx, &row, [row.send_state, distribute, row.run], why.as_deref(), now_ms)?;
    }
    if changed {
        tx.touch(Change::Jobs);
    }
    Ok(changed)
}

/// Deletes jobs that were finished before `before_ms`.
///
/// # Errors
/// If the database cannot be written.
pub fn forget_finished(tx: &mut Tx, before_ms: i64) -> Result<usize, DbError> {
    let gone = tx.prepare_cached("DELETE FROM jobs WHERE finished_ms < ?1")?.execute([before_ms])?;
    if gone > 0 {
        tx.touch(Change::Jobs);
    }
    Ok(gone)
}

/// Cancels unfinished jobs whose Distribution and package are gone, in the caller's judgement. Gives how many.
///
/// # Errors
/// If the database cannot be written.
pub(super) fn cancel_orphans(
    tx: &mut Tx,
    now_ms: i64,
    is_gone: impl Fn(&ObjectName, &ObjectName) -> bool,
) -> Result<usize, DbError> {
    let unfinished: Vec<JobRow> = {
        let mut statement = tx.prepare_cached("SELECT * FROM jobs WHERE finished_ms IS NULL")?;
        statement.query_map((), from_row)?.collect::<Result<_, _>>()?
    };
    let mut cancelled = 0;
    for row in unfinished {
        let name = |name: &String| ObjectName::new(&row.spec.namespace, name);
        if is_gone(&name(&row.spec.distribution), &name(&row.spec.package)) {
            let why = Some("its Distribution or package was deleted");
            cancelled += usize::from(write_states(tx, &row, [PhaseState::Cancelled; 3], why, now_ms)?);
        }
    }
    if cancelled > 0 {
        tx.touch(Change::Jobs);
    }
    Ok(cancelled)
}

/// The earliest start of a pending job after `now_ms`: when the scheduler has to look again.
///
/// # Errors
/// If the database cannot be read.
pub fn next_start(connection: &Connection, now_ms: i64) -> Result<Option<i64>, DbError> {
    let mut statement = connection
        .prepare_cached("SELECT min(start_after_ms) FROM jobs WHERE finished_ms IS NULL AND start_after_ms > ?1")?;
    Ok(statement.query_row([now_ms], |row| row.get(0))?)
}

/// The job of this id.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, id: &str) -> Result<Option<JobRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM jobs WHERE id = ?1")?;
    Ok(statement.query_row([id], from_row).optional()?)
}

/// Every job of a Distribution that is not forgotten, by id.
///
/// # Errors
/// If the database cannot be read.
pub fn of_distribution(connection: &Connection, namespace: &str, name: &str) -> Result<Vec<JobRow>, DbError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM jobs WHERE namespace = ?1 AND distribution = ?2 ORDER BY id")?;
    let rows = statement.query_map((namespace, name), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Jobs in order of their ids, after the id `after`: one page for a listing.
///
/// # Errors
/// If the database cannot be read.
pub fn page(
    connection: &Connection,
    namespace: Option<&str>,
    after: &str,
    limit: usize,
) -> Result<Vec<JobRow>, DbError> {
    let limit = i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0);
    let mut statement = connection
        .prepare_cached("SELECT * FROM jobs WHERE id > ?2 AND (?1 IS NULL OR namespace = ?1) ORDER BY id LIMIT ?3")?;
    let rows = statement.query_map((namespace, after, limit), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn insert(tx: &Tx, id: &str, spec: &JobSpec, now_ms: i64) -> Result<(), DbError> {
    let or_none = |wanted: bool| if wanted { PhaseState::Pending } else { PhaseState::None };
    tx.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached(
        "INSERT INTO jobs (id, namespace, distribution, package, source_version, content, point, resend_token,
             advertisement, priority, send, distribute, run, state, start_after_ms, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'Pending', ?12, 'Pending', ?13, ?14)",
    )?
    .execute((
        id,
        &spec.namespace,
        &spec.distribution,
        &spec.package,
        signed(spec.source_version),
        spec.content.map(|content| content.to_string()),
        &spec.point,
        &spec.resend_token,
        &spec.advertisement,
        spec.priority.as_str(),
        or_none(spec.send).as_str(),
        or_none(spec.advertisement.is_some()).as_str(),
        spec.start_after_ms,
        now_ms,
    ))?;
    Ok(())
}

fn reschedule(tx: &Tx, row: &JobRow, start_after_ms: Option<i64>) -> Result<bool, DbError> {
    if row.spec.start_after_ms == start_after_ms {
        return Ok(false);
    }
    tx.prepare_cached("UPDATE jobs SET start_after_ms = ?2 WHERE id = ?1")?.execute((&row.id, start_after_ms))?;
    Ok(true)
}

/// Writes the states of Send, Distribute and Run and what follows from them; `false` if all was so already. A phase
/// that the job does not have stays `None`, and one that is complete is not cancelled.
fn write_states(
    tx: &Tx,
    row: &JobRow,
    states: [PhaseState; 3],
    detail: Option<&str>,
    now_ms: i64,
) -> Result<bool, DbError> {
    let before = [row.send_state, row.distribute, row.run];
    let mut after = states;
    for (after, before) in after.iter_mut().zip(before) {
        let done = before == PhaseState::Complete && *after == PhaseState::Cancelled;
        if before == PhaseState::None || done {
            *after = before;
        }
    }
    let state = overall(after);
    let finished_ms = matches!(state, PhaseState::Complete | PhaseState::Cancelled).then_some(now_ms);
    let detail = detail.filter(|_| state != PhaseState::Complete);
    if after == before && row.detail.as_deref() == detail {
        return Ok(false);
    }
    tx.prepare_cached(
        "UPDATE jobs SET send = ?2, distribute = ?3, run = ?4, state = ?5, detail = ?6, finished_ms = ?7 WHERE id = ?1",
    )?
    .execute((
        &row.id,
        after[0].as_str(),
        after[1].as_str(),
        after[2].as_str(),
        state.as_str(),
        detail,
        finished_ms,
    ))?;
    Ok(true)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let send_state = parsed(row, "send", PhaseState::parse)?;
    Ok(JobRow {
        id: row.get("id")?,
        spec: JobSpec {
            namespace: row.get("namespace")?,
            distribution: row.get("distribution")?,
            package: row.get("package")?,
            source_version: count(row, "source_version")?,
            content: digest_opt(row, "content")?,
            point: row.get("point")?,
            resend_token: row.get("resend_token")?,
            advertisement: row.get("advertisement")?,
            priority: parsed(row, "priority", Priority::parse)?,
            start_after_ms: row.get("start_after_ms")?,
            send: send_state != PhaseState::None,
        },
        send_state,
        distribute: parsed(row, "distribute", PhaseState::parse)?,
        run: parsed(row, "run", PhaseState::parse)?,
        state: parsed(row, "state", PhaseState::parse)?,
        detail: row.get("detail")?,
        created_ms: row.get("created_ms")?,
        finished_ms: row.get("finished_ms")?,
    })
}

#[cfg(test)]
mod tests;
