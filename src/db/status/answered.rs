//! What clients have answered for: the newest version of a program that one has said something of, and the rerun tokens that it
//! ran. What follows from that is decided in [`crate::plan::behind`].

use rusqlite::{Connection, Row};

use super::version;
use crate::{
    db::{DbError, column::parsed},
    model::{
        identity::ObjectName,
        message::{self, StatusMessage},
        state::RunState,
    },
    plan::behind::Answered,
};

/// Tokens that are kept of a client and an advertisement: whoever sets an earlier one again runs nothing by it.
const TOKENS_MAX: usize = 8;
/// Bytes of a token that is kept; an Advertisement's has 64 characters.
const TOKEN_BYTES_MAX: usize = 256;

/// Tokens after a message that may say what a run was made for.
pub(super) fn tokens(before: Option<Vec<String>>, message: &StatusMessage) -> Option<Vec<String>> {
    if before.is_none() && !message.attributes.contains_key(message::OCCASION) {
        return None;
    }
    let mut tokens = before.unwrap_or_default();
    let token = message.attributes.get(message::RERUN_TOKEN).filter(|token| token.len() <= TOKEN_BYTES_MAX);
    if let Some(token) = token.filter(|token| !tokens.contains(token)) {
        tokens.push(token.clone());
        tokens.drain(..tokens.len().saturating_sub(TOKENS_MAX));
    }
    Some(tokens)
}

/// SQL of the columns that [`read`] reads, for the client, namespace, program and token that the query around it calls so.
/// Whatever advertisement it was: a program that one of them ran is not run again for another. A client that does not tell
/// tokens has none to answer.
fn answers([client, namespace, program, token]: [&str; 4]) -> String {
    let others = format!("other.client = {client} AND other.namespace = {namespace} AND other.program = {program}");
    format!(
        "(SELECT max(source_version) FROM client_status AS other WHERE {others}) AS version,
         {token} IS NULL OR coalesce((
             SELECT max(EXISTS (SELECT 1 FROM json_each(other.rerun_tokens) WHERE value = {token}))
             FROM client_status AS other WHERE {others} AND other.rerun_tokens IS NOT NULL
         ), 1) AS token"
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Answered> {
    Ok(Answered { version: version(row, "version")?, token: row.get("token")? })
}

/// Only the states, by client id, each with what [`answered`] gives: what is counted against membership.
///
/// # Errors
/// If the database cannot be read.
pub fn states(
    connection: &Connection,
    advertisement: &ObjectName,
    token: Option<&str>,
) -> Result<Vec<(String, RunState, Answered)>, DbError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT client, state, {} FROM client_status AS own WHERE namespace = ?1 AND advertisement = ?2 ORDER BY client",
        answers(["own.client", "own.namespace", "own.program", "?3"]),
    ))?;
    let rows = statement.query_map((&advertisement.namespace, &advertisement.name, token), |row| {
        Ok((row.get("client")?, parsed(row, "state", RunState::parse)?, read(row)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a client has answered for of a namespace's program, and of the `token` with which it is offered, if there is one.
///
/// # Errors
/// If the database cannot be read.
pub fn answered(
    connection: &Connection,
    client: &str,
    namespace: &str,
    program: &str,
    token: Option<&str>,
) -> Result<Answered, DbError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {}", answers(["?1", "?2", "?3", "?4"])))?;
    Ok(statement.query_row((client, namespace, program, token), read)?)
}
