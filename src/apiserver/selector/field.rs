//! Field selectors: equality on a kind's selectable fields.

use crate::apiserver::failure::Failure;
use crate::apiserver::shown;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// A parsed `fieldSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

impl FieldSelector {
    /// Parses the query parameter; `supported` are the kind's selectable fields (`metadata.name`, `spec.mode`).
    pub fn parse(text: &str, supported: &[&str]) -> Result<Self, Failure> {
        let mut terms = Vec::new();
        for part in split(text).into_iter().filter(|part| !part.is_empty()) {
            let (field, equal, value) = term(part).ok_or_else(|| {
                Failure::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            let value = unescaped(value)?;
            if !supported.contains(&field) {
                return Err(Failure::bad_request(format!("field label not supported: {field}")));
            }
            terms.push(Term { field: field.to_owned(), value, equal });
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one name it demands, if it demands `metadata.name=`.
    pub fn name(&self) -> Option<&str> {
        self.value("metadata.name")
    }

    /// The one value it demands of a field, if it demands one.
    pub fn value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether the object's fields fit; a missing field counts as empty.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }
}

fn value_of(object: &Value, field: &str) -> String {
    let found = field.split('.').try_fold(object, |value, name| value.get(name));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => shown::number(n),
        Some(other) => other.to_string(),
    }
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Field, whether equal, value: split at the first operator.
fn term(part: &str) -> Option<(&str, bool, &str)> {
    let i =
        part.char_indices().map(|(i, _)| i).find(|i| part[*i..].starts_with('=') || part[*i..].starts_with("!="))?;
    let (field, rest) = part.split_at(i);
    let (equal, value) = match rest.strip_prefix("!=") {
        Some(value) => (false, value),
        None => (true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).unwrap_or(rest)),
    };
    Some((field, equal, value))
}

fn unescaped(value: &str) -> Result<String, Failure> {
    let invalid =
        |sequence: String| Failure::bad_request(format!("invalid field selector: invalid escape sequence: {sequence}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(invalid(format!("\\{c}"))),
                None => return Err(invalid("\\".into())),
            },
            ',' | '=' => {
                let code = c as u32; // the real server prints the number of the character
                return Err(Failure::bad_request(format!(
                    "invalid field selector: unescaped character in value: {code}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
