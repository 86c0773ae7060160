//! Values as the API's sentences show them, and the equality of JSON values that the API means. The real server prints
//! with Go's verbs, so whole floats lose their fraction and quotes are Go's; messages are compared by people and tests.

use serde_json::{Number, Value};
use std::fmt::Write;

/// A value as it stands in `Invalid value: …`: strings quoted, numbers and booleans bare, the rest as JSON.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Number(n) => number(n),
        other => json(other),
    }
}

/// Compact JSON as the real server encodes it: `<`, `>` and `&` as escapes.
pub(super) fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A value as Go's `%v` prints it.
pub(super) fn go(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(" ");
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) => number(n),
        Value::Bool(yes) => yes.to_string(),
        Value::Array(items) => format!("[{}]", list(items.iter().map(go).collect())),
        Value::Object(members) => {
            format!("map[{}]", list(members.iter().map(|(name, value)| format!("{name}:{}", go(value))).collect()))
        }
    }
}

/// A string in double quotes with Go's escapes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number without a needless fraction.
pub(super) fn number(n: &Number) -> String {
    match (n.as_i64(), n.as_u64(), n.as_f64()) {
        (Some(i), _, _) => i.to_string(),
        (_, Some(u), _) => u.to_string(),
        (_, _, Some(f)) => float(f),
        _ => n.to_string(),
    }
}

/// A float in the shortest form that reads back, with an exponent where it is small or from 1e21 on.
pub(super) fn float(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{f:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{f}")
}

/// Why a text is no JSON, in the words of the real server's decoder where it has its own for the fault.
pub(super) fn json_fault(bytes: &[u8], error: &serde_json::Error) -> String {
    let line_start = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let at = line_start + error.column().saturating_sub(1);
    let found = bytes.get(at).map(|byte| char::from(*byte));
    let told = error.to_string();
    let Some(found) = found.filter(|_| !error.is_eof()).map(character) else {
        return if error.is_eof() { "unexpected end of JSON input".into() } else { told };
    };
    for (start, place) in PLACES {
        if told.starts_with(start) {
            return format!("invalid character {found} {place}");
        }
    }
    told
}

/// How the reader here tells of a fault, and where the real server finds the character it does not like.
const PLACES: [(&str, &str); 9] = [
    ("trailing characters", "after top-level value"),
    ("trailing comma", "looking for beginning of object key string"),
    ("key must be a string", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("expected value", "looking for beginning of value"),
];

/// A character in single quotes; one that no key makes by its number.
fn character(c: char) -> String {
    match c {
        '\'' => "'\\''".into(),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => {
            let quoted = quoted(&c.to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
        c if c.is_control() => format!("'\\u{:04x}'", c as u32),
        c => format!("'{c}'"),
    }
}

/// Whether two values are the same to the API: 5 and 5.0 are.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => same_number(x, y),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_print_as_go_prints_them() {
        let shown: Vec<_> =
            [json!(5), json!(5.0), json!(0.5), json!(1e21), json!(0.00001), json!(-1)].iter().map(value).collect();
        assert_eq!(shown, ["5", "5", "0.5", "1e+21", "1e-05", "-1"]);
    }

    #[test]
    fn broken_json_is_told_as_go_tells_it() {
        let fault = |text: &str| json_fault(text.as_bytes(), &serde_json::from_str::<Value>(text).unwrap_err());
        assert_eq!(fault("{\"a\":"), "unexpected end of JSON input");
        assert_eq!(fault("{} x"), "invalid character 'x' after top-level value");
        assert_eq!(fault("spec: 1"), "invalid character 's' looking for beginning of value");
        assert_eq!(fault("{\n\"a\": x}"), "invalid character 'x' looking for beginning of value");
        assert_eq!(fault("{\"a\":1,}"), "invalid character '}' looking for beginning of object key string");
        assert_eq!(fault("{\"a\" 1}"), "invalid character '1' after object key");
        assert_eq!(fault("{\"a\":1 2}"), "invalid character '2' after object key:value pair");
        assert_eq!(fault("[1 2]"), "invalid character '2' after array element");
        assert_eq!(fault("\"a\u{1}\""), "invalid character '\\x01' in string literal");
    }

    #[test]
    fn whole_floats_equal_integers() {
        assert!(same(&json!({"a": [5]}), &json!({"a": [5.0]})));
        assert!(!same(&json!({"a": 5}), &json!({"a": 5, "b": 1})));
        assert!(!same(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64)));
    }
}
