//! What of a message is kept: long texts and too many attributes are cut rather than refused, so that one odd message
//! never holds up those behind it. Pure.

use crate::{
    db::DbError,
    model::message::{OUTPUT, StatusMessage},
};

/// Bytes of a message's text.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Attributes of a message.
const ATTRIBUTES_MAX: usize = 32;
/// Bytes of an attribute's key.
const KEY_BYTES_MAX: usize = 64;
/// Bytes of an attribute's value: two Kubernetes names, or a path.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a program's output; escaping can make its last 64 KiB somewhat longer.
const OUTPUT_BYTES_MAX: usize = 80 << 10;
/// Bytes of an outbox's name; a UUID has 36.
const OUTBOX_BYTES_MAX: usize = 64;
/// The greatest sequence number: far beyond any real one, and safe in a signed column.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;

/// The message with everything in its limits.
pub(super) fn within(message: &StatusMessage) -> StatusMessage {
    let attributes = message
        .attributes
        .iter()
        .filter(|(key, _)| key.len() <= KEY_BYTES_MAX)
        .take(ATTRIBUTES_MAX)
        .map(|(key, value)| {
            // The end of an output says more than its beginning.
            let kept = if key == OUTPUT { tail(value, OUTPUT_BYTES_MAX) } else { head(value, VALUE_BYTES_MAX) };
            (key.clone(), kept.to_owned())
        })
        .collect();
    StatusMessage { text: head(&message.text, TEXT_BYTES_MAX).to_owned(), attributes, ..message.clone() }
}

/// Refuses an outbox whose name is none.
pub(super) fn check_outbox(outbox: &str) -> Result<(), DbError> {
    if outbox.is_empty() || outbox.len() > OUTBOX_BYTES_MAX {
        return Err(DbError::Conflict(format!("the name of an outbox has 1 to {OUTBOX_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn tail(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!((head("äö", 3), tail("äö", 3), head("ab", 2), tail("ab", 9)), ("ä", "ö", "ab", "ab"));
        assert!(check_outbox("").is_err() && check_outbox(&"x".repeat(65)).is_err() && check_outbox("x").is_ok());
    }
}
