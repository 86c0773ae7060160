//! Between columns and the types of the model: names of enums, digests, JSON documents, unsigned numbers.

use std::str::FromStr as _;

use rusqlite::{Row, types::Type};
use serde::de::DeserializeOwned;

use crate::{content::digest::Digest, model::reason::Reason};

/// A column cannot be read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("column {column} holds '{text}', which this version does not know")]
struct Unreadable {
    column: &'static str,
    text: String,
}

fn unreadable(column: &'static str, text: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(Unreadable { column, text }))
}

/// A name, read by `parse`.
pub(super) fn parsed<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| unreadable(column, text))
}

/// A name or NULL, read by `parse`.
pub(super) fn parsed_opt<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text).ok_or_else(|| unreadable(column, text))).transpose()
}

/// A digest in its text form.
pub(super) fn digest(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Digest> {
    parsed(row, column, |text| Digest::from_str(text).ok())
}

/// A digest in its text form or NULL.
pub(super) fn digest_opt(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Digest>> {
    parsed_opt(row, column, |text| Digest::from_str(text).ok())
}

/// A JSON document.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// A JSON document or NULL.
pub(super) fn json_opt<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).cast_unsigned())
}

/// The reason of this name, or none: a reason of a newer version is dropped, for the text says the same to people.
pub(super) fn reason(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Reason>> {
    let name: Option<String> = row.get(column)?;
    Ok(name.and_then(|name| Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)))
}

/// An unsigned number as SQL keeps it. Counters, sizes and versions in milliseconds stay far below 2^63.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
