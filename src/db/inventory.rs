//! The last inventory of every client, as JSON. An unchanged one writes nothing.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Change, DbError, Tx, column::json, devices};
use crate::{
    content::digest::Digest,
    wire::inventory::{INVENTORY_BYTES_MAX, Inventory},
};

/// What became of an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It says something new.
    New,
    /// It says what is known.
    Same,
    /// A later one is here; this one is of no interest.
    Stale,
}

/// Keeps a client's inventory and notes its host name and agent version, unless one with a greater `sequence` is here.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined, [`DbError::Limit`] beyond [`INVENTORY_BYTES_MAX`].
pub fn store(tx: &mut Tx, client: &str, inventory: &Inventory, sequence: u64, now_ms: i64) -> Result<Kept, DbError> {
    let document = serde_json::to_string(inventory)?;
    if document.len() > INVENTORY_BYTES_MAX {
        return Err(DbError::Limit { what: "bytes of an inventory", limit: INVENTORY_BYTES_MAX as u64 });
    }
    if devices::get(tx, client)?.is_none() {
        return Err(DbError::NotFound(format!("device {client}")));
    }
    let hash = Digest::of(document.as_bytes()).to_string();
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    let held: Option<(String, i64)> = tx
        .prepare_cached("SELECT hash, sequence FROM inventory WHERE client = ?1")?
        .query_row([client], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let is_known = held.as_ref().is_some_and(|(held, _)| *held == hash);
    match held {
        // The same one again: its receipt was lost on the way.
        Some((_, held)) if held == sequence && is_known => return Ok(Kept::Same),
        Some((_, held)) if held >= sequence => return Ok(Kept::Stale),
        _ => {}
    }
    tx.prepare_cached(
        "INSERT INTO inventory (client, hash, document, received_ms, sequence) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (client) DO UPDATE SET hash = excluded.hash, document = excluded.document,
             received_ms = excluded.received_ms, sequence = excluded.sequence",
    )?
    .execute((client, hash, document, now_ms, sequence))?;
    devices::describe(tx, client, &inventory.hostname, &inventory.agent_version)?;
    if is_known {
        return Ok(Kept::Same);
    }
    tx.touch(Change::Inventory(client.to_owned()));
    Ok(Kept::New)
}

/// A client's inventory.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, client: &str) -> Result<Option<Inventory>, DbError> {
    let mut statement = connection.prepare_cached("SELECT client, document FROM inventory WHERE client = ?1")?;
    Ok(statement.query_row([client], from_row).optional()?.map(|(_, inventory)| inventory))
}

/// Gives every client's inventory to `each`, one at a time, in order of client ids: all of them together are large.
///
/// # Errors
/// If the database cannot be read.
pub fn for_each(connection: &Connection, mut each: impl FnMut(String, Inventory)) -> Result<(), DbError> {
    let mut statement = connection.prepare_cached("SELECT client, document FROM inventory ORDER BY client")?;
    for row in statement.query_map((), from_row)? {
        let (client, inventory) = row?;
        each(client, inventory);
    }
    Ok(())
}

/// Every client's inventory in order of client ids.
///
/// # Errors
/// If the database cannot be read.
pub fn all(connection: &Connection) -> Result<Vec<(String, Inventory)>, DbError> {
    let mut all = Vec::new();
    for_each(connection, |client, inventory| all.push((client, inventory)))?;
    Ok(all)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<(String, Inventory)> {
    Ok((row.get("client")?, json(row, "document")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::fixtures::{NOW, client, scratch};

    #[test]
    fn an_inventory_that_comes_again_writes_nothing_an_older_one_neither_and_it_goes_with_its_client() {
        let mut tx = scratch();
        client(&mut tx, "c1");
        let mut inventory = Inventory { hostname: "alpha".into(), agent_version: "1.2".into(), ..Inventory::default() };
        let old = inventory.clone();
        assert_eq!(store(&mut tx, "c1", &inventory, 5, NOW).unwrap(), Kept::New);
        let changes = tx.total_changes();
        assert_eq!(store(&mut tx, "c1", &inventory, 5, NOW + 1).unwrap(), Kept::Same);
        assert_eq!(tx.total_changes(), changes, "nothing is written");
        inventory.cpus = 8;
        assert_eq!(store(&mut tx, "c1", &inventory, 5, NOW + 2).unwrap(), Kept::Stale, "one number, one inventory");
        assert_eq!(store(&mut tx, "c1", &inventory, 6, NOW + 2).unwrap(), Kept::New);
        assert_eq!(store(&mut tx, "c1", &inventory, 8, NOW + 2).unwrap(), Kept::Same);
        for sequence in [5, 7] {
            assert_eq!(
                store(&mut tx, "c1", &old, sequence, NOW + 3).unwrap(),
                Kept::Stale,
                "{sequence} is played again"
            );
        }
        assert_eq!(all(&tx).unwrap(), [("c1".to_owned(), inventory.clone())]);
        let device = devices::get(&tx, "c1").unwrap().unwrap();
        assert_eq!((device.hostname.as_str(), device.agent_version.as_str()), ("alpha", "1.2"));

        assert!(matches!(store(&mut tx, "nobody", &inventory, 9, NOW), Err(DbError::NotFound(_))));
        inventory.kernel = "x".repeat(INVENTORY_BYTES_MAX);
        assert!(matches!(store(&mut tx, "c1", &inventory, 9, NOW), Err(DbError::Limit { .. })));
        devices::delete(&mut tx, "c1", NOW).unwrap();
        assert_eq!(get(&tx, "c1").unwrap(), None);
    }
}
