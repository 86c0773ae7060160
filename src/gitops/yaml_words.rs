//! What is wrong with a text that is no YAML, or YAML that no manifest may hold, in words for whoever wrote it. The library
//! speaks to programmers who call it, of its options and types. Where it stands is said elsewhere.

use serde_yaml::{Error, UserMessageFormatter, budget::BudgetBreach};

use super::document::MAX_NESTING;

/// The parser's own phrases, and what to do about each. The beginning of a phrase is enough.
const PHRASES: &[(&str, &str)] = &[
    (
        "mapping values are not allowed in this context",
        "a `:` cannot stand here: quote the text that holds it, or begin a new line for a new key",
    ),
    (
        "while parsing a block mapping, did not find expected key",
        "a key is expected here: is the indentation that of the lines above?",
    ),
    (
        "while parsing a block collection, did not find expected '-' indicator",
        "a `-` is expected here: is the indentation that of the lines above?",
    ),
    ("while scanning a plain scalar, found a tab", "a tab follows this: YAML is indented with blanks"),
    ("found character that cannot start any token", "this cannot begin a value: quote it, and indent with blanks"),
    ("invalid indentation in multiline quoted scalar", "a quoted text began above and does not end"),
    ("while scanning a quoted scalar, found unexpected end", "a quoted text does not end"),
    (
        "while parsing a quoted scalar, found unknown escape character",
        "a `\\` with a letter that means nothing: put the text into single quotes, where `\\` is a letter like others",
    ),
    ("unclosed bracket", "this bracket is not closed"),
];

/// The sentence for an error.
pub(super) fn in_words(error: &Error) -> String {
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` stands here for the second time: keep one of the two")
        }
        Error::DuplicateMappingKey { key: None, .. } => "the same key stands twice in one map: keep one".to_owned(),
        Error::NullIntoString { .. } | Error::TaggedScalarCannotDeserializeIntoString { .. } => not_a_key(),
        Error::Unexpected { expected: "string scalar", .. } => not_a_key(),
        Error::NonFiniteFloat { value, .. } => {
            format!("`{value}` is no number that can be kept: quote it if it is text")
        }
        Error::UnknownAnchor { .. } => "no anchor of this name (`&name`) stands above".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias stands within its own anchor".to_owned(),
        Error::InvalidBinaryBase64 { .. } => "`!!binary` is not followed by base64".to_owned(),
        Error::BinaryNotUtf8 { .. } => "`!!binary` gives bytes that are no text, and manifests hold text".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "`<<` takes in a map or a list of maps, nothing else".to_owned(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => too_many_aliases(),
        Error::AliasError { error, .. } => in_words(error),
        Error::Budget { breach, .. } => beyond(breach),
        Error::Eof { .. } => "the text ends too early".to_owned(),
        Error::Message { msg, .. } | Error::ExternalMessage { msg, .. } => of_parser(msg),
        other => of_parser(&other.render_with_formatter(&UserMessageFormatter)),
    }
}

fn not_a_key() -> String {
    "a key must be a text; quote a value that begins with `{` or `[`".to_owned()
}

fn too_many_aliases() -> String {
    "the aliases of this document stand for too much: write it out".to_owned()
}

fn beyond(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => format!("maps and lists are nested more than {MAX_NESTING} deep"),
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            too_many_aliases()
        }
        _ => "the document is larger than any manifest: split it".to_owned(),
    }
}

/// Also without the place, which the diagnostic shows already.
fn of_parser(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let known = PHRASES.iter().find(|(phrase, _)| first.starts_with(phrase));
    known.map_or_else(
        || {
            let plain = first.rfind(" at line ").map_or(first, |end| &first[..end]).trim_end_matches(':');
            format!("this is no YAML: {plain}")
        },
        |(_, words)| (*words).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::document::parse;

    #[test]
    fn nobody_is_told_of_options_and_types_of_the_library() {
        let deep = format!("{}1{}", "[".repeat(MAX), "]".repeat(MAX));
        let bomb = format!("a: &a [{}]\nb: &b [{}]\nc: [{}]\n", "x,".repeat(99), "*a,".repeat(50), "*b,".repeat(14));
        for (text, expected) in [
            ("a: 1\na: 2\n", "the key `a` stands here for the second time"),
            ("~: x\n", "a key must be a text"),
            ("a: {{ template }}\n", "a key must be a text; quote a value"),
            ("a: .inf\n", "`.inf` is no number"),
            ("a: *nope\n", "no anchor of this name"),
            ("a: &x [*x]\n", "an alias stands within its own anchor"),
            ("a: !!binary \"zzz\"\n", "`!!binary` is not followed by base64"),
            ("<<: 5\n", "`<<` takes in a map"),
            ("a: b: c\n", "a `:` cannot stand here"),
            ("a: 1\n  b: 2\n", "a `:` cannot stand here"),
            ("a:\n  b: 1\n c: 2\n", "a key is expected here"),
            ("a: x\n\tb: 1\n", "a tab follows this"),
            ("a: \"x\nb: 1\n", "a quoted text began above"),
            ("a: \"\\q\"\n", "a `\\` with a letter"),
            ("a: [1, 2\n", "this bracket is not closed"),
            ("a: @x\n", "this is no YAML: unexpected character: `@'"),
            (&deep, "maps and lists are nested more than 32 deep"),
            (&bomb, "the aliases of this document"),
        ] {
            let malformed = parse(text).1;
            let told = malformed.first().map(|one| one.message.clone()).unwrap_or_default();
            assert!(told.starts_with(expected), "{text}: {told}");
            for foreign in ["Option", "policy", "deserialize", "budget", "=", " at line "] {
                assert!(!told.contains(foreign), "{text}: {told}");
            }
        }
    }

    const MAX: usize = super::MAX_NESTING + 1;
}
