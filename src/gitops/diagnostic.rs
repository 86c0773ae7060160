//! A problem in a manifest, with its place, and how a person sees it: `file:line:column: message`, the source line, a
//! caret. Does not find problems; `load`, `validate` and `sync` do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest source line shown, in characters; a minified document must not flood a terminal or a status.
const MAX_SOURCE_LINE_CHARS: usize = 160;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong (for instance a document of another API group).
    Note,
    /// Probably not meant, but the revision can be applied as it stands.
    Warning,
    /// Has to be mended: the object or file is not applied, or will be Stalled.
    Error,
}

/// A problem and its place. Lines and columns count from 1, columns in characters; 0 means that the place has none
/// (the problem concerns the file or directory as a whole).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the root of the tree.
    pub file: String,
    /// Line in the file, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 if the whole file is meant.
    pub column: u32,
    /// What is wrong and what to do about it.
    pub message: String,
    /// The line of the file that the place points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
}

impl Diagnostic {
    /// A problem of a whole file or directory.
    pub fn of_file(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self { severity, file: file.to_owned(), line: 0, column: 0, message: message.into(), source_line: None }
    }

    /// A problem at a place of `text`, the whole text of the file.
    pub fn at(severity: Severity, file: &str, text: &str, place: Place, message: impl Into<String>) -> Self {
        let line = usize::try_from(place.line).unwrap_or(usize::MAX);
        let source_line = line.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned);
        Self { source_line, ..Self::placed(severity, file, place, message) }
    }

    /// A problem at a place whose text is no longer at hand.
    pub fn placed(severity: Severity, file: &str, place: Place, message: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, ..Self::of_file(severity, file, message) }
    }
}

/// A place in a file: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let word = match self.severity {
            Severity::Note => "note: ",
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        write!(f, ": {word}{}", printable(&self.message))?;
        if let Some(source) = self.source_line.as_deref() {
            let (shown, caret) = window(source, usize::try_from(self.column).unwrap_or(1).max(1));
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n {number} | {shown}\n {margin} | {}^", " ".repeat(caret))?;
        }
        Ok(())
    }
}

/// The part of a long line around a column (from 1), and the caret's offset in it. Tabs become one blank, so that the
/// caret stands under its character.
fn window(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    let at = (column - 1).min(chars.len());
    let start = if chars.len() <= MAX_SOURCE_LINE_CHARS { 0 } else { at.saturating_sub(MAX_SOURCE_LINE_CHARS / 2) };
    let end = (start + MAX_SOURCE_LINE_CHARS).min(chars.len());
    let shown: String = chars[start..end].iter().collect();
    let before: String = chars[start..at].iter().collect();
    (printable(&shown), printable(&before).chars().count())
}

/// The text with control characters escaped, so that a hostile file name or value cannot drive a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hostile = c.is_control() && c != '\n';
            let direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if hostile || direction { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_its_line_and_a_caret_under_the_character() {
        let text = "kind: Package\nspec:\n  sorce: here\n";
        let shown = Diagnostic::at(Severity::Error, "a/b.yaml", text, Place { line: 3, column: 3 }, "unknown field")
            .to_string();
        assert_eq!(shown, "a/b.yaml:3:3: unknown field\n 3 |   sorce: here\n   |   ^");
    }

    #[test]
    fn a_whole_file_has_no_place_and_a_warning_says_so() {
        let shown = Diagnostic::of_file(Severity::Warning, "x", "odd").to_string();
        assert_eq!(shown, "x: warning: odd");
    }

    #[test]
    fn terminal_escapes_do_not_pass() {
        let text = "a: \u{1b}[31mred";
        let shown =
            Diagnostic::at(Severity::Error, "\u{1b}]0;x", text, Place { line: 1, column: 4 }, "bad").to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let shown = Diagnostic::at(Severity::Error, "f", &text, Place { line: 1, column: 5001 }, "here").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].len() < 200);
        assert_eq!(lines[1].as_bytes()[lines[2].len() - 1], b'X');
    }
}
