//! What was received of every sender's outbox: a high-water mark, and the numbers below it that never arrived. This is
//! what makes a message count once, however often and through whomever it is sent.

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    DbError, Tx,
    column::{count, signed},
};

/// Gaps remembered per outbox. A sender leaves one where it dropped messages of no consequence; a sender that makes
/// more harms only itself: the oldest gap is closed, and what might still come for it counts as received.
pub const GAPS_MAX: i64 = 64;
/// Outboxes remembered per sender: a new one means that it lost its state. The oldest is forgotten.
pub const OUTBOXES_MAX: i64 = 64;

/// One outbox of one sender, with what was received of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Grows with every outbox that is new to this site: of two outboxes of a sender, the newer has the greater one.
    pub number: i64,
    /// The highest sequence number that was stored.
    pub high_water: u64,
    /// Whether this is its first message.
    pub new: bool,
}

/// Numbers that are missing below the high-water mark, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Finds the outbox, or begins it.
pub(super) fn open(tx: &mut Tx, sender: &str, outbox: &str, now_ms: i64) -> Result<Received, DbError> {
    let known = tx
        .prepare_cached("SELECT number, high_water FROM outboxes WHERE sender = ?1 AND outbox = ?2")?
        .query_row((sender, outbox), |row| {
            Ok(Received { number: row.get("number")?, high_water: count(row, "high_water")?, new: false })
        })
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    tx.prepare_cached("INSERT INTO outboxes (sender, outbox, high_water, first_ms) VALUES (?1, ?2, 0, ?3)")?
        .execute((sender, outbox, now_ms))?;
    let number = tx.last_insert_rowid();
    tx.prepare_cached(
        "DELETE FROM outboxes WHERE sender = ?1 AND number NOT IN
             (SELECT number FROM outboxes WHERE sender = ?1 ORDER BY number DESC LIMIT ?2)",
    )?
    .execute((sender, OUTBOXES_MAX))?;
    Ok(Received { number, high_water: 0, new: true })
}

/// Whether the message with this number is to be stored, and the gap it leaves behind if it skips numbers. Moves the
/// high-water mark in `received`; [`close`] writes it.
pub(super) fn admit(tx: &mut Tx, received: &mut Received, seq: u64) -> Result<(bool, Option<Gap>), DbError> {
    if seq > received.high_water {
        let gap = Gap { first: received.high_water + 1, last: seq - 1 };
        received.high_water = seq;
        if gap.first > gap.last {
            return Ok((true, None));
        }
        insert_gap(tx, received.number, gap)?;
        return Ok((true, Some(gap)));
    }
    Ok((fill(tx, received.number, seq)?, None))
}

/// Takes one number out of the gap it lies in; `false` if it lies in none, so that it was stored before.
fn fill(tx: &mut Tx, number: i64, seq: u64) -> Result<bool, DbError> {
    let gap = tx
        .prepare_cached("SELECT first, last FROM outbox_gaps WHERE outbox = ?1 AND first <= ?2 AND last >= ?2")?
        .query_row((number, signed(seq)), |row| Ok(Gap { first: count(row, "first")?, last: count(row, "last")? }))
        .optional()?;
    let Some(gap) = gap else { return Ok(false) };
    tx.prepare_cached("DELETE FROM outbox_gaps WHERE outbox = ?1 AND first = ?2")?
        .execute((number, signed(gap.first)))?;
    for rest in [Gap { first: gap.first, last: seq - 1 }, Gap { first: seq + 1, last: gap.last }] {
        if rest.first <= rest.last {
            insert_gap(tx, number, rest)?;
        }
    }
    Ok(true)
}

fn insert_gap(tx: &mut Tx, number: i64, gap: Gap) -> Result<(), DbError> {
    tx.prepare_cached("INSERT INTO outbox_gaps (outbox, first, last) VALUES (?1, ?2, ?3)")?.execute((
        number,
        signed(gap.first),
        signed(gap.last),
    ))?;
    tx.prepare_cached(
        "DELETE FROM outbox_gaps WHERE outbox = ?1 AND first NOT IN
             (SELECT first FROM outbox_gaps WHERE outbox = ?1 ORDER BY first DESC LIMIT ?2)",
    )?
    .execute((number, GAPS_MAX))?;
    Ok(())
}

/// Writes the high-water mark.
pub(super) fn close(tx: &mut Tx, received: &Received) -> Result<(), DbError> {
    tx.prepare_cached("UPDATE outboxes SET high_water = ?2 WHERE number = ?1 AND high_water < ?2")?
        .execute((received.number, signed(received.high_water)))?;
    Ok(())
}

/// The numbers of a sender's outbox that never arrived, ascending.
///
/// # Errors
/// If the database cannot be read.
pub fn gaps(connection: &Connection, sender: &str, outbox: &str) -> Result<Vec<Gap>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT first, last FROM outbox_gaps JOIN outboxes ON outboxes.number = outbox_gaps.outbox
         WHERE sender = ?1 AND outboxes.outbox = ?2 ORDER BY first",
    )?;
    let rows = statement
        .query_map((sender, outbox), |row| Ok(Gap { first: count(row, "first")?, last: count(row, "last")? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
