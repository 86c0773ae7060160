//! Clients whose state was copied: two machines that report as one, or one that went back to an older state of its own. The
//! proof is a signed message under a number that another one has had; what it means is said once, and kept for listings.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    DbError, Tx,
    column::signed,
    messages::{CLIENT, store_local},
};
use crate::model::message::{Component, MessageType, Severity, StatusMessage};

const DAY_MS: i64 = 86_400_000;
/// A copy that was not noticed again for so long counts as mended; noticed later, it is said anew.
pub const COPIED_MS: i64 = 7 * DAY_MS;
/// Noticed again and again it is written at most so often.
const NOTICE_STEP_MS: i64 = DAY_MS / 24;

/// Whether the message is another one than the one that was stored under its number; `false` too if that is gone.
pub(super) fn differs(tx: &Tx, sender: &str, place: (i64, u64), message: &StatusMessage) -> Result<bool, DbError> {
    let stored = tx
        .prepare_cached(
            "SELECT time_ms, message_id, state, attributes FROM messages
             WHERE sender = ?1 AND outbox = ?2 AND seq = ?3 ORDER BY id DESC LIMIT 1",
        )?
        .query_row((sender, place.0, signed(place.1)), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, u16>(1)?,
                row.get::<_, Option<String>>(2)?,
                row.get::<_, String>(3)?,
            ))
        })
        .optional()?;
    let Some((time_ms, message_id, state, attributes)) = stored else { return Ok(false) };
    let given = message.state.map(crate::model::state::RunState::as_str);
    Ok(time_ms != message.time_ms
        || message_id != message.message_id
        || state.as_deref() != given
        || attributes != serde_json::to_string(&message.attributes)?)
}

/// Notes that a client was copied, and says so unless that was said within [`COPIED_MS`].
pub(super) fn note(tx: &mut Tx, client: &str, site: &str, now_ms: i64) -> Result<(), DbError> {
    let before = noticed_ms(tx, client)?;
    if before.is_some_and(|before| now_ms < before + NOTICE_STEP_MS) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO copied_clients (client, noticed_ms) VALUES (?1, ?2)
         ON CONFLICT (client) DO UPDATE SET noticed_ms = excluded.noticed_ms",
    )?
    .execute((client, now_ms))?;
    if before.is_some_and(|before| now_ms < before + COPIED_MS) {
        return Ok(());
    }
    let message = StatusMessage {
        time_ms: now_ms,
        severity: Severity::Warning,
        message_type: MessageType::Detail,
        component: Component::Security,
        message_id: 0,
        text: format!(
            "client {client} sent different messages under the same number: its state directory was copied to another machine, \
             as in a disk image, or an older copy of it was brought back. What such machines say is mixed up and partly lost. \
             Stop the agent on all but one, remove its state directory there, and let each join with a join file of its own."
        ),
        reason: None,
        state: None,
        attributes: BTreeMap::from([(CLIENT.to_owned(), client.to_owned())]),
    };
    store_local(tx, site, &message, now_ms)
}

fn noticed_ms(connection: &Connection, client: &str) -> Result<Option<i64>, DbError> {
    let mut statement = connection.prepare_cached("SELECT noticed_ms FROM copied_clients WHERE client = ?1")?;
    Ok(statement.query_row([client], |row| row.get(0)).optional()?)
}

/// Whether two machines report as this client, as far as was noticed within [`COPIED_MS`].
///
/// # Errors
/// If the database cannot be read.
pub fn is_copied(connection: &Connection, client: &str, now_ms: i64) -> Result<bool, DbError> {
    Ok(noticed_ms(connection, client)?.is_some_and(|noticed| now_ms < noticed + COPIED_MS))
}

/// Ids of clients of which [`is_copied`] holds, in order, after the id `after`: at most `limit`.
///
/// # Errors
/// If the database cannot be read.
pub fn page(connection: &Connection, after: &str, limit: usize, now_ms: i64) -> Result<Vec<String>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT client FROM copied_clients WHERE client > ?1 AND noticed_ms > ?2 ORDER BY client LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((after, now_ms - COPIED_MS, limit), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::{
            devices,
            fixtures::{NOW, client, message, scratch, sender},
            messages::{MessageFilter, query, store_batch},
        },
        model::state::RunState,
    };

    fn warnings(tx: &Tx) -> usize {
        let filter = MessageFilter { component: Some(Component::Security), ..MessageFilter::default() };
        query(tx, &filter, 100).unwrap().len()
    }

    #[test]
    fn two_machines_of_one_identity_are_noticed_by_their_messages_and_told_once() {
        let mut tx = scratch();
        client(&mut tx, "c1");
        let says = |tx: &mut Tx, time_ms: i64, seqs: &[u64], now_ms: i64| {
            let one = |seq: &u64| (*seq, StatusMessage { time_ms, ..message("editor", RunState::Accepted) });
            store_batch(tx, &sender("c1"), "o", &seqs.iter().map(one).collect::<Vec<_>>(), now_ms).unwrap()
        };
        says(&mut tx, NOW, &[1, 2], NOW);
        // The receipt was lost on the way, or an access point plays it again.
        says(&mut tx, NOW, &[1, 2], NOW + 1);
        says(&mut tx, NOW, &[2, 3], NOW + 2);
        assert_eq!((warnings(&tx), is_copied(&tx, "c1", NOW + 2).unwrap()), (0, false));
        // The copy knows of two messages, and makes its own third.
        says(&mut tx, NOW + 5, &[3], NOW + 3);
        assert_eq!((warnings(&tx), is_copied(&tx, "c1", NOW + 3).unwrap()), (1, true));
        for day in 0..6 {
            says(&mut tx, NOW + 6 + day, &[3, 4], NOW + day * DAY_MS);
        }
        assert_eq!(warnings(&tx), 1);
        assert!(is_copied(&tx, "c1", NOW + 11 * DAY_MS).unwrap(), "it was noticed again meanwhile");
        assert_eq!(page(&tx, "", 10, NOW + 11 * DAY_MS).unwrap(), ["c1"]);
        assert!(!is_copied(&tx, "c1", NOW + 13 * DAY_MS).unwrap());
        assert!(page(&tx, "", 10, NOW + 13 * DAY_MS).unwrap().is_empty());
        says(&mut tx, NOW + 7, &[4], NOW + 20 * DAY_MS);
        assert_eq!(warnings(&tx), 2, "anew after a long silence");
        devices::delete(&mut tx, "c1", NOW).unwrap();
        assert_eq!(noticed_ms(&tx, "c1").unwrap(), None);
    }
}
