//! How results are shown: tables on a terminal, tab-separated lines when piped, JSON for scripts. Words from outside
//! cannot steer a terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;

/// How a result is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A table: a header and rows of as many cells.
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escaped(&cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it for a terminal or for a pipe.
    pub(super) fn write(&self, out: &mut impl Write, terminal: bool) -> io::Result<()> {
        if !terminal {
            writeln!(out, "{}", self.header.join("\t"))?;
            return self.rows.iter().try_for_each(|row| writeln!(out, "{}", row.join("\t")));
        }
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(&self.header);
        table.add_rows(&self.rows);
        writeln!(out, "{table}")
    }
}

/// Whether standard output is a terminal.
pub(super) fn on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A member of a JSON object as a cell: empty if it is missing.
pub(super) fn cell(object: &Value, member: &str) -> String {
    match &object[member] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text with everything escaped that could steer a terminal: control characters, line ends among them, and marks that
/// turn the direction of writing.
pub(super) fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if steers(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The same, but a text of several lines stays one.
pub(super) fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_do_not_steer_the_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\n\u{202e}c\u{9b}"), "a\\u{1b}[2Jb\\n\\u{202e}c\\u{9b}");
        assert_eq!(escaped("schön 日本"), "schön 日本");
        assert_eq!(escaped_lines("one\ntwo\r"), "one\ntwo\\r");
    }

    #[test]
    fn a_pipe_gets_plain_lines_and_a_terminal_a_table() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["c-1".to_owned(), "a\tb".to_owned()]);
        let mut plain = Vec::new();
        table.write(&mut plain, false).unwrap();
        assert_eq!(String::from_utf8(plain).unwrap(), "NAME\tSTATE\nc-1\ta\\tb\n");
        let mut pretty = Vec::new();
        table.write(&mut pretty, true).unwrap();
        assert!(String::from_utf8(pretty).unwrap().lines().count() > 2);
    }
}
