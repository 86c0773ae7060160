//! What local users are shown of offers and runs: rows of words, and plain text with aligned columns. Prints nothing.

use jiff::Timestamp;

use super::{
    messages::occasion,
    socket::{Answer, OfferView},
};
use crate::{model::state::RunState, plan::run::PastRun};

/// Heads of the columns of [`offer_row`].
pub const OFFER_HEADS: [&str; 6] = ["ADVERTISEMENT", "PACKAGE", "PROGRAM", "STATE", "NEXT", "START"];
/// Heads of the columns of [`run_row`].
pub const RUN_HEADS: [&str; 6] = ["STARTED", "PACKAGE", "PROGRAM", "VERSION", "RESULT", "WHY"];

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// An offer in words.
#[must_use]
pub fn offer_row(offer: &OfferView) -> [String; 6] {
    let done = offer.state == RunState::Succeeded || offer.state == RunState::Running;
    let state = if done {
        offer.state.as_str().to_owned()
    } else {
        format!("{} ({})", offer.state.as_str(), offer.reason.as_str())
    };
    let start = match (offer.user_may_start, offer.assigned) {
        (true, _) => "by you",
        (false, true) => "by itself",
        (false, false) => "-",
    };
    [
        offer.advertisement.clone(),
        offer.package.clone(),
        offer.program.clone(),
        state,
        time(offer.next),
        start.to_owned(),
    ]
}

/// A run in words.
#[must_use]
pub fn run_row(run: &PastRun) -> [String; 6] {
    [
        time(Some(run.started_at)),
        run.key.program.package.clone(),
        run.key.program.program.clone(),
        run.source_version.to_string(),
        run.state.as_str().to_owned(),
        occasion(&run.key.occurrence).to_owned(),
    ]
}

/// An answer as JSON: the list itself.
///
/// # Errors
/// If the agent refused, or never in practice.
pub fn json(answer: Answer) -> anyhow::Result<String> {
    Ok(match answer {
        Answer::Offers(offers) => serde_json::to_string_pretty(&offers)?,
        Answer::History(runs) => serde_json::to_string_pretty(&runs)?,
        Answer::Started(name) => serde_json::to_string_pretty(&name)?,
        Answer::Refused(why) => anyhow::bail!("{why}"),
    })
}

/// What is said, beside the list, of one with nothing in it.
#[must_use]
pub fn nothing(answer: &Answer) -> Option<&'static str> {
    match answer {
        Answer::Offers(offers) if offers.is_empty() => Some("nothing is offered to this machine at present"),
        Answer::History(runs) if runs.is_empty() => Some("nothing has run on this machine yet"),
        _ => None,
    }
}

/// Aligned columns, two spaces between them; every row has as many cells as there are heads.
#[must_use]
pub fn columns(heads: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let width = |(column, head): (usize, &&str)| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column)).map(|cell| cell.chars().count());
        cells.chain([head.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = heads.iter().enumerate().map(width).collect();
    let line = |words: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = words.zip(&widths).map(|(word, width)| format!("{word:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.as_ref().iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_said_to_be_one() {
        assert!(nothing(&Answer::Offers(Vec::new())).is_some_and(|text| text.contains("offered")));
        assert!(nothing(&Answer::History(Vec::new())).is_some_and(|text| text.contains("run")));
        assert_eq!(nothing(&Answer::Started("a".to_owned())), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let rows = [["a".to_owned(), "longer".to_owned()], ["bbb".to_owned(), "x".to_owned()]];
        assert_eq!(columns(&["A", "B"], &rows), "A    B\na    longer\nbbb  x\n");
    }
}
