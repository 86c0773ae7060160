//! Version floors of policy: a client's leaf version and the root's version never go backwards, whatever the clock
//! does. They are kept here before anything that carries them is published.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    DbError, Tx,
    column::{count, digest, signed},
    site,
};
use crate::content::digest::Digest;

/// The leaf of a client as last given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRow {
    /// Grows whenever the body changes.
    pub version: u64,
    /// Digest of the policy body.
    pub body: Digest,
}

/// The version after `last`: max(last + 1, Unix ms).
fn after(last: u64, now_ms: i64) -> u64 {
    (last + 1).max(now_ms.max(0).cast_unsigned())
}

/// Gives every client (id, digest of its body) its leaf version, in the order of `bodies`: the last one if the body
/// is the same, a greater one otherwise. To be committed before the leaves are published.
///
/// # Errors
/// If the database cannot be written.
pub fn assign(tx: &mut Tx, bodies: &[(String, Digest)], now_ms: i64) -> Result<Vec<u64>, DbError> {
    let known = all(tx)?;
    let mut write = tx.prepare_cached(
        "INSERT INTO leaves (client, version, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (client) DO UPDATE SET version = excluded.version, body = excluded.body",
    )?;
    let mut versions = Vec::with_capacity(bodies.len());
    for (client, body) in bodies {
        let version = match known.get(client) {
            Some(last) if last.body == *body => last.version,
            last => {
                let version = after(last.map_or(0, |last| last.version), now_ms);
                write.execute((client, signed(version), body.to_string()))?;
                version
            }
        };
        versions.push(version);
    }
    Ok(versions)
}

/// Every client's leaf.
///
/// # Errors
/// If the database cannot be read.
pub fn all(connection: &Connection) -> Result<BTreeMap<String, LeafRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT client, version, body FROM leaves")?;
    let rows = statement.query_map((), |row| {
        Ok((row.get("client")?, LeafRow { version: count(row, "version")?, body: digest(row, "body")? }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One client's leaf, once it has one.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, client: &str) -> Result<Option<LeafRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT version, body FROM leaves WHERE client = ?1")?;
    let row = statement
        .query_row([client], |row| Ok(LeafRow { version: count(row, "version")?, body: digest(row, "body")? }));
    Ok(row.optional()?)
}

/// The version of the next root. To be committed before that root is published.
///
/// # Errors
/// If the database cannot be written.
pub fn next_root_version(tx: &mut Tx, now_ms: i64) -> Result<u64, DbError> {
    let version = after(site::read(tx)?.root_version, now_ms);
    tx.prepare_cached("UPDATE site SET root_version = ?1")?.execute([signed(version)])?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::fixtures::scratch;

    #[test]
    fn versions_never_go_back_and_change_with_the_body_only() {
        let mut tx = scratch();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let bodies = |body| vec![("c1".to_owned(), body), ("c2".to_owned(), old)];
        assert_eq!(assign(&mut tx, &bodies(old), 1_000).unwrap(), [1_000, 1_000]);
        assert_eq!(assign(&mut tx, &bodies(old), 5_000).unwrap(), [1_000, 1_000]);
        // The clock went back: the version grows all the same.
        assert_eq!(assign(&mut tx, &bodies(new), 10).unwrap(), [1_001, 1_000]);
        assert_eq!(assign(&mut tx, &bodies(old), 9_000).unwrap(), [9_000, 1_000]);

        assert_eq!(next_root_version(&mut tx, 2_000).unwrap(), 2_000);
        assert_eq!(next_root_version(&mut tx, 5).unwrap(), 2_001);
    }
}
