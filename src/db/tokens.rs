//! Enrolment tokens: what lets a new device join. Only the hash of a secret is kept; a use is taken in the same
//! transaction that admits the device.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Change, DbError, Tx,
    column::{digest, json, parsed},
};
use crate::{content::digest::Digest, trust::identity::Role};

/// Tokens kept at once; more than one site enrols in a day, the longest life of a token.
pub const TOKENS_MAX: u64 = 10_000;

/// An enrolment token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-256 of the secret.
    pub hash: Digest,
    /// What joins with it.
    pub role: Role,
    /// The name of whoever joins, if the token fixes it.
    pub name: Option<String>,
    /// Server-set labels of whoever joins.
    pub labels: BTreeMap<String, String>,
    /// How many may still join.
    pub uses_left: u32,
    /// Refused from then on, Unix milliseconds.
    pub expires_ms: i64,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

/// Whether a token admits a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// One use was taken; the row shows what is left.
    Accepted(TokenRow),
    /// No such token: mistyped, revoked, or expired long ago.
    Unknown,
    /// It was made for another role. No use was taken.
    WrongRole(Role),
    /// Its time is over.
    Expired,
    /// All its uses are taken.
    UsedUp,
}

/// Keeps a new token.
///
/// # Errors
/// [`DbError::Limit`] beyond [`TOKENS_MAX`]; a second token with the same hash.
pub fn create(tx: &mut Tx, token: &TokenRow) -> Result<(), DbError> {
    let kept: i64 = tx.prepare_cached("SELECT count(*) FROM tokens")?.query_row((), |row| row.get(0))?;
    if kept.cast_unsigned() >= TOKENS_MAX {
        return Err(DbError::Limit { what: "enrolment tokens", limit: TOKENS_MAX });
    }
    tx.prepare_cached(
        "INSERT INTO tokens (hash, role, name, labels, uses_left, expires_ms, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        token.hash.to_string(),
        token.role.as_str(),
        &token.name,
        serde_json::to_string(&token.labels)?,
        token.uses_left,
        token.expires_ms,
        token.created_ms,
    ))?;
    tx.touch(Change::Tokens);
    Ok(())
}

/// Takes one use of the token with this hash for a device of `role`, if it admits one.
///
/// # Errors
/// If the database cannot be written.
pub fn consume(tx: &mut Tx, hash: &Digest, role: Role, now_ms: i64) -> Result<Consumed, DbError> {
    let Some(mut token) = get(tx, hash)? else { return Ok(Consumed::Unknown) };
    if token.role != role {
        return Ok(Consumed::WrongRole(token.role));
    }
    if token.expires_ms <= now_ms {
        return Ok(Consumed::Expired);
    }
    if token.uses_left == 0 {
        return Ok(Consumed::UsedUp);
    }
    token.uses_left -= 1;
    tx.prepare_cached("UPDATE tokens SET uses_left = ?2 WHERE hash = ?1")?
        .execute((hash.to_string(), token.uses_left))?;
    tx.touch(Change::Tokens);
    Ok(Consumed::Accepted(token))
}

/// Revokes a token; `false` if there is none.
///
/// # Errors
/// If the database cannot be written.
pub fn delete(tx: &mut Tx, hash: &Digest) -> Result<bool, DbError> {
    let gone = tx.prepare_cached("DELETE FROM tokens WHERE hash = ?1")?.execute([hash.to_string()])? > 0;
    if gone {
        tx.touch(Change::Tokens);
    }
    Ok(gone)
}

/// Forgets tokens that expired before `before_ms`. Later than at once, so that a late comer is told "expired".
///
/// # Errors
/// If the database cannot be written.
pub fn forget_expired(tx: &mut Tx, before_ms: i64) -> Result<usize, DbError> {
    let gone = tx.prepare_cached("DELETE FROM tokens WHERE expires_ms < ?1")?.execute([before_ms])?;
    if gone > 0 {
        tx.touch(Change::Tokens);
    }
    Ok(gone)
}

/// All tokens, the newest first.
///
/// # Errors
/// If the database cannot be read.
pub fn list(connection: &Connection) -> Result<Vec<TokenRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM tokens ORDER BY created_ms DESC, hash")?;
    let rows = statement.query_map((), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The token with this hash.
///
/// # Errors
/// If the database cannot be read.
pub fn get(connection: &Connection, hash: &Digest) -> Result<Option<TokenRow>, DbError> {
    let mut statement = connection.prepare_cached("SELECT * FROM tokens WHERE hash = ?1")?;
    Ok(statement.query_row([hash.to_string()], from_row).optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        hash: digest(row, "hash")?,
        role: parsed(row, "role", Role::parse)?,
        name: row.get("name")?,
        labels: json(row, "labels")?,
        uses_left: row.get("uses_left")?,
        expires_ms: row.get("expires_ms")?,
        created_ms: row.get("created_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::fixtures::{NOW, scratch};

    #[test]
    fn a_token_admits_its_role_as_often_as_it_says_until_it_expires() {
        let mut tx = scratch();
        let hash = Digest::of(b"secret");
        let token = TokenRow {
            hash,
            role: Role::Dp,
            name: Some("dp-2".into()),
            labels: BTreeMap::from([("ring".into(), "first".into())]),
            uses_left: 2,
            expires_ms: NOW + 1_000,
            created_ms: NOW,
        };
        create(&mut tx, &token).unwrap();
        assert!(create(&mut tx, &token).is_err(), "a hash is unique");
        assert_eq!(list(&tx).unwrap(), std::slice::from_ref(&token));

        assert_eq!(consume(&mut tx, &hash, Role::Client, NOW).unwrap(), Consumed::WrongRole(Role::Dp));
        let left = |uses_left| Consumed::Accepted(TokenRow { uses_left, ..token.clone() });
        assert_eq!(consume(&mut tx, &hash, Role::Dp, NOW).unwrap(), left(1));
        assert_eq!(consume(&mut tx, &hash, Role::Dp, NOW + 1_000).unwrap(), Consumed::Expired);
        assert_eq!(consume(&mut tx, &hash, Role::Dp, NOW + 999).unwrap(), left(0));
        assert_eq!(consume(&mut tx, &hash, Role::Dp, NOW).unwrap(), Consumed::UsedUp);
        assert_eq!(consume(&mut tx, &Digest::of(b"guess"), Role::Dp, NOW).unwrap(), Consumed::Unknown);

        assert_eq!(forget_expired(&mut tx, NOW).unwrap(), 0);
        assert_eq!(forget_expired(&mut tx, NOW + 2_000).unwrap(), 1);
        assert!(!delete(&mut tx, &hash).unwrap());
    }
}
