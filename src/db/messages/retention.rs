//! Deleting messages by age, a bounded number at a time. Summaries agree with it: the component summary counts stored
//! messages, so it counts down; an advertisement's counts live on, so what is deleted is carried over to a base.

use std::collections::BTreeMap;

use super::severity;
use crate::{
    db::{Change, DbError, Tx, column::parsed, summaries},
    model::{identity::ObjectName, state::RunState},
};

/// Messages deleted in one transaction at most: some ten milliseconds, so that acknowledgements do not wait.
pub const RETENTION_STEP: usize = 2_000;

/// Deletes at most [`RETENTION_STEP`] messages received before `before_ms`, the oldest first. Repeat, with other
/// writes in between, while it gives that number.
///
/// # Errors
/// If the database cannot be written.
pub fn expire(tx: &mut Tx, before_ms: i64) -> Result<usize, DbError> {
    let mut components: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
    let mut advertisements: BTreeMap<(String, RunState), i64> = BTreeMap::new();
    let mut ids: Vec<i64> = Vec::new();
    {
        let mut statement = tx.prepare_cached(
            "SELECT id, system, component, severity,
                 CASE WHEN outbox IS NOT NULL AND client = sender AND id > coalesce(through, 0)
                           AND coalesce(reason, '') <> 'AlreadyRan'
                      THEN messages.advertisement END AS counted,
                 coalesce(state, 'NoStatus') AS counted_state
             FROM messages LEFT JOIN forgotten_advertisements AS forgotten
                 ON forgotten.advertisement = messages.advertisement
             WHERE received_ms < ?1 ORDER BY received_ms, id LIMIT ?2",
        )?;
        let mut rows = statement.query((before_ms, RETENTION_STEP as i64))?;
        while let Some(row) = rows.next()? {
            ids.push(row.get("id")?);
            *components.entry((row.get("system")?, row.get("component")?, row.get("severity")?)).or_default() += 1;
            if let Some(advertisement) = row.get::<_, Option<String>>("counted")? {
                let state = parsed(row, "counted_state", RunState::parse)?;
                *advertisements.entry((advertisement, state)).or_default() += 1;
            }
        }
    }
    for ((system, component, rank), number) in components {
        summaries::count_component(tx, &system, &component, severity(rank), -number)?;
    }
    for ((advertisement, state), number) in advertisements {
        if let Some(advertisement) = ObjectName::parse(&advertisement) {
            summaries::carry_over(tx, &advertisement, state, number)?;
        }
    }
    {
        let mut delete = tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
        for id in &ids {
            delete.execute([id])?;
        }
    }
    // A mark is of no use once no message is left that it could hide.
    tx.prepare_cached(
        "DELETE FROM forgotten_advertisements WHERE through < coalesce((SELECT min(id) FROM messages), through + 1)",
    )?
    .execute(())?;
    if !ids.is_empty() {
        tx.touch(Change::Messages);
    }
    Ok(ids.len())
}
