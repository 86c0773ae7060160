//! What is wrong with a query that does not parse, in words for whoever wrote it. The parser of the language says it in
//! those of its grammar, once for every place that it stumbles over; the first place is the one to mend.

use cel::{ExecutionError, ParseErrors};

/// What the parser calls the end of the text.
const END: &str = "<EOF>";

/// Where the first fault stands, and what it is.
pub(super) fn fault(errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.first() else { return "at all: it is no expression".to_owned() };
    let place = match first.pos {
        (..=0, _) => "at all".to_owned(),
        (1, column) => format!("at character {column}"),
        (line, column) => format!("at line {line}, character {column}"),
    };
    format!("{place}: {}", in_words(first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg)))
}

/// How a query failed on one client.
pub(super) fn failure(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`; `has(…)` asks whether there is"),
        ExecutionError::NoSuchOverload
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..) => {
            "values are compared or joined that do not go together, as a text and a number".to_owned()
        }
        ExecutionError::UndeclaredReference(name) => format!("nothing is called `{name}` in a query"),
        other => other.to_string(),
    }
}

fn in_words(message: &str) -> String {
    // The grammar's list of everything that could stand there is as long as the language.
    let found = |start: &str| {
        let rest = message.strip_prefix(start)?;
        let rest = rest.rfind(" expecting ").map_or(rest, |end| &rest[..end]);
        Some(rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(rest).trim().to_owned())
    };
    if let Some(word) = found("mismatched input ").or_else(|| found("extraneous input ")) {
        return if word == END {
            "it ends where something is still missing".to_owned()
        } else {
            format!("`{word}` is not expected here")
        };
    }
    if let Some(word) = found("token recognition error at: ") {
        return match word.as_str() {
            "=" => "`=` compares nothing: write `==`".to_owned(),
            "&" | "|" => format!("`{word}` stands alone: write `{word}{word}`"),
            _ if word.starts_with(['"', '\'']) => "a text that begins here does not end".to_owned(),
            _ => format!("`{word}` means nothing in a query"),
        };
    }
    if let Some(text) = found("no viable alternative at input ") {
        return format!("`{}` cannot be continued like this", text.trim_end_matches(END).trim_end());
    }
    if let Some((missing, _)) = message.strip_prefix("missing ").and_then(|rest| rest.split_once(" at ")) {
        return format!("{} is missing", missing.replace('\'', "`"));
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    #[test]
    fn a_failure_names_what_is_missing_and_no_type_of_the_library() {
        for (query, expected) in [
            ("{'a': 1}.b", "there is no `b`"),
            ("1 < 'a'", "do not go together"),
            ("1 + 'a'", "do not go together"),
            ("nosuch(1)", "nothing is called `nosuch`"),
        ] {
            let error = Program::compile(query).unwrap().execute(&cel::Context::default()).unwrap_err();
            assert!(failure(&error).contains(expected), "{query}: {}", failure(&error));
        }
    }

    #[test]
    fn the_first_fault_is_named_with_its_place_and_without_the_grammar() {
        for (query, expected) in [
            ("client.id ==", "at character 13: it ends where something is still missing"),
            ("client.id = 'x'", "at character 11: `=` compares nothing: write `==`"),
            ("client.cpus > 1 & true", "at character 17: `&` stands alone: write `&&`"),
            ("client.labels['a' == 1) && # $", "at character 23: `)` is not expected here"),
            ("client.id == 'x", "at character 14: a text that begins here does not end"),
            ("client.cpus > 2 $", "at character 17: `$` means nothing in a query"),
            ("true &&\n client.id ==", "at line 2, character 14: it ends where something is still missing"),
            ("has(client)", "at character 5: invalid argument to has() macro"),
        ] {
            let errors = Program::compile(query).unwrap_err();
            assert_eq!(fault(&errors), expected, "{query}: {errors}");
        }
    }
}
