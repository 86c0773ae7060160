//! The last inventory of every client, as JSON. An unchanged one writes nothing.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Change, DbError, Tx, column::json, devices};
use crate::{
    content::digest::Digest,
    wire::inventory::{INVENTORY_BYTES_MAX, Inventory},
};

/// Keeps a client's inventory and notes its host name and agent version. `false` if it is the one already kept.
///
/// # Errors
/// [`DbError::NotFound`] if no such device joined, [`DbError::Limit`] beyond [`INVENTORY_BYTES_MAX`].
pub fn store(tx: &mut Tx, client: &str, inventory: &Inventory, now_ms: i64) -> Result<bool, DbError> {
    let document = serde_json::to_string(inventory)?;
    if document.len() > INVENTORY_BYTES_MAX {
        return Err(DbError::Limit { what: "bytes of an inventory", limit: INVENTORY_BYTES_MAX as u64 });
    }
    if devices::get(tx, client)?.is_none() {
        return Err(DbError::NotFound(format!("device {client}")));
    }
    let hash = Digest::of(document.as_bytes()).to_string();
    let changed = tx
        .prepare_cached(
            "INSERT INTO inventory (client, hash, document, received_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (client) DO UPDATE
             SET hash = excluded.hash, document = excluded.document, received_ms = excluded.received_ms
             WHERE inventory.hash <> excluded.hash",
        )?
        .execute((client, hash, document, now_ms))?
        > 0;
    devices::describe(tx, client, &inventory.hostname, &inventory.agent_version)?;
    if changed {
        tx.touch(Change::Inventory(client.to_owned()));
    }
    Ok(changed)
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
    fn an_unchanged_inventory_writes_nothing_and_goes_with_its_client() {
        let mut tx = scratch();
        client(&mut tx, "c1");
        let mut inventory = Inventory { hostname: "alpha".into(), agent_version: "1.2".into(), ..Inventory::default() };
        assert!(store(&mut tx, "c1", &inventory, NOW).unwrap());
        let changes = tx.total_changes();
        assert!(!store(&mut tx, "c1", &inventory, NOW + 1).unwrap());
        assert_eq!(tx.total_changes(), changes, "nothing is written");
        inventory.cpus = 8;
        assert!(store(&mut tx, "c1", &inventory, NOW + 2).unwrap());
        assert_eq!(all(&tx).unwrap(), [("c1".to_owned(), inventory.clone())]);
        let device = devices::get(&tx, "c1").unwrap().unwrap();
        assert_eq!((device.hostname.as_str(), device.agent_version.as_str()), ("alpha", "1.2"));

        assert!(matches!(store(&mut tx, "nobody", &inventory, NOW), Err(DbError::NotFound(_))));
        inventory.kernel = "x".repeat(INVENTORY_BYTES_MAX);
        assert!(matches!(store(&mut tx, "c1", &inventory, NOW), Err(DbError::Limit { .. })));
        devices::delete(&mut tx, "c1", NOW).unwrap();
        assert_eq!(get(&tx, "c1").unwrap(), None);
    }
}
