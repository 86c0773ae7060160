//! What the agent does, told in its log: one line for each step of an offer. The same words as the status messages, so that
//! the machine's log and the site say the same; nothing from outside can steer whoever reads it.

use std::collections::HashMap;

use jiff::Timestamp;

use super::run::output::printable;
use crate::{
    model::{
        identity::ObjectName,
        message::{ADVERTISEMENT, EXIT_CODE, SOURCE_VERSION, Severity, StatusMessage, USER},
        state::RunState,
    },
    wire::policy::Offer,
};

/// Bytes taken of a text for a line.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// What a byte becomes at most when it is written out.
const ESCAPED_BYTES_MAX: usize = 10;

/// Offers that came, changed or went with a new policy.
pub(super) fn offers(before: &[Offer], now: &[Offer]) {
    let (was, is) = (by_name(before), by_name(now));
    for (name, offer) in &is {
        match was.get(name) {
            None => tracing::info!(advertisement = %name, program = %offer.program.program, "offer received"),
            Some(old) if old != offer => {
                tracing::info!(advertisement = %name, program = %offer.program.program, "offer changed");
            }
            Some(_) => {}
        }
    }
    for name in was.keys().filter(|name| !is.contains_key(*name)) {
        tracing::info!(advertisement = %name, "offer withdrawn");
    }
}

fn by_name(offers: &[Offer]) -> HashMap<&ObjectName, &Offer> {
    offers.iter().map(|offer| (&offer.advertisement, offer)).collect()
}

/// Where an offer stands now; `until` is when a wait ends by the clock.
pub(super) fn standing(message: &StatusMessage, until: Option<Timestamp>) {
    // What came and went is told as an offer.
    if matches!(message.state, Some(RunState::Accepted | RunState::Cancelled)) {
        return;
    }
    let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
    let (advertisement, version) = (attribute(ADVERTISEMENT), attribute(SOURCE_VERSION));
    let (exit_code, user) = (attribute(EXIT_CODE), attribute(USER));
    let until = until.map(tracing::field::display);
    let text = line(&message.text);
    if message.severity == Severity::Informational {
        tracing::info!(advertisement, version, exit_code, user, until, "{text}");
    } else {
        tracing::warn!(advertisement, version, exit_code, user, until, "{text}");
    }
}

/// A text in one line of bounded length.
pub(super) fn line(text: &str) -> String {
    let bytes = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
    printable(bytes, ESCAPED_BYTES_MAX * TEXT_BYTES_MAX).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_steers_nobody() {
        assert_eq!(line("a\nb\u{1b}[2Jc"), "a\\nb\\x1b[2Jc");
        assert_eq!(line(&"x".repeat(5_000)).len(), TEXT_BYTES_MAX);
    }
}
