//! Texts into values: JSON and YAML as the real server reads them. Keys that occur twice are noted, whole numbers are whole however
//! they are written, and faults are told in the words that clients know.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::shown;

/// A value and the keys that its text has twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    pub(super) object: Value,
    pub(super) duplicates: Vec<String>,
}

/// Why a text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Text(String),
    /// A number that no machine holds.
    #[error("json: cannot unmarshal number {0} into Go value of type float64")]
    Number(String),
}

/// Reads JSON.
pub(super) fn json(bytes: &[u8]) -> Result<Decoded, Fault> {
    read(bytes, false)
}

/// Reads JSON whose numbers stay as they are written: 1.0 is not 1.
pub(super) fn json_as_written(bytes: &[u8]) -> Result<Value, Fault> {
    read(bytes, true).map(|decoded| decoded.object)
}

fn read(bytes: &[u8], as_written: bool) -> Result<Decoded, Fault> {
    let error = match read_json(bytes, as_written) {
        Ok(decoded) => return Ok(decoded),
        Err(error) => error,
    };
    // what is no text in a string stands for an unknown character
    if let Some(repaired) = repaired(bytes)
        && let Ok(decoded) = read_json(&repaired, as_written)
    {
        return Ok(decoded);
    }
    Err(match out_of_range(bytes, &error) {
        Some(number) => Fault::Number(number),
        None => Fault::Text(shown::json_fault(bytes, &error)),
    })
}

fn read_json(bytes: &[u8], as_written: bool) -> Result<Decoded, serde_json::Error> {
    let mut duplicates = vec![];
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let object = Tree { path: String::new(), duplicates: &mut duplicates, as_written }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Decoded { object, duplicates })
}

/// The number at which reading ended because it is too large.
fn out_of_range(bytes: &[u8], error: &serde_json::Error) -> Option<String> {
    if !error.to_string().starts_with("number out of range") {
        return None;
    }
    let line = bytes.split(|b| *b == b'\n').nth(error.line().checked_sub(1)?)?;
    let part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
    let end = line.get(..error.column())?.iter().rposition(part)? + 1;
    let start = line[..end].iter().rposition(|b| !part(b)).map_or(0, |at| at + 1);
    Some(String::from_utf8_lossy(&line[start..end]).into_owned())
}

/// The text with the unknown character for bytes that are no UTF-8 and for halves of surrogate pairs; none if it has neither.
fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    const UNKNOWN: &str = "\\ufffd";
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (escaped(rest), rest.get(6..).and_then(escaped)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str(UNKNOWN);
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            // an escape of one character, whatever it is
            (None, _) => rest.chars().take(2).map(char::len_utf8).sum(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    (out.as_bytes() != bytes).then(|| out.into_bytes())
}

/// The code of an escape at the start of a text: `\u` and four hexadecimal digits.
fn escaped(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Reads the first document of a YAML text, by the rules of YAML 1.1.
pub(super) fn yaml(bytes: &[u8]) -> Result<Decoded, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut duplicates = vec![];
    let options = serde_yaml::options! {
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
    };
    let read = serde_yaml::with_deserializer_from_str_with_options(first_document(text), options, |reader| {
        Tree { path: String::new(), duplicates: &mut duplicates, as_written: false }.deserialize(reader)
    });
    let object = read.map_err(|e| broken_yaml(&e))?;
    Ok(Decoded { object, duplicates })
}

/// What is wrong with a YAML text: the line and the reason, without the picture that a terminal would get.
fn broken_yaml(error: &serde_yaml::Error) -> String {
    let line = error.location().map_or(0, |at| at.line());
    let told = error.without_snippet().to_string();
    let why = told.lines().next().unwrap_or_default();
    let told = why.to_lowercase();
    let why = match () {
        () if ["unclosed bracket", "unexpected end", "unexpected eof"].iter().any(|s| told.contains(s)) => {
            "did not find expected node content"
        }
        () if told.starts_with("tabs disallowed") => "found character that cannot start any token",
        () => why,
    };
    format!("yaml: line {line}: {why}")
}

/// The text up to the second document.
fn first_document(text: &str) -> &str {
    let body = text.strip_prefix("---\n").map_or(0, |_| 4);
    text[body..].find("\n---\n").map_or(text, |end| &text[..body + end + 1])
}

/// Makes numbers that are whole so, however they were written.
pub(super) fn whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole_float) {
                *value = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole),
        Value::Object(members) => members.values_mut().for_each(whole),
        _ => {}
    }
}

/// 1e1 and 10.0 are stored and shown as 10.
fn whole_float(float: f64) -> Option<Value> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    (float.fract() == 0.0 && float.abs() <= WHOLE_MAX).then(|| Value::from(float as i64))
}

/// Builds a value and notes the keys that occur twice in one object; the last one counts.
struct Tree<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
    /// Numbers stay as they are written.
    as_written: bool,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        let number = Number::from_f64(v).map_or(Value::Null, Value::Number);
        Ok(if self.as_written { number } else { whole_float(v).unwrap_or(number) })
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            let seed = Tree { path, duplicates: self.duplicates, as_written: self.as_written };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if map.contains_key(&key) {
                self.duplicates.push(path.clone());
            }
            let inner = Tree { path, duplicates: self.duplicates, as_written: self.as_written };
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        super::json(text.as_bytes()).unwrap().object
    }

    #[test]
    fn keys_that_occur_twice_are_named() {
        let read = super::json(br#"{"a": {"b": 1, "b": 2}, "l": [{"c": 1, "c": 3}]}"#).unwrap();
        assert_eq!(read.duplicates, ["a.b", "l[0].c"]);
        assert_eq!(read.object, json!({"a": {"b": 2}, "l": [{"c": 3}]}));
    }

    #[test]
    fn numbers_keep_their_digits_and_whole_ones_are_whole() {
        assert_eq!(read("9007199254740993"), json!(9_007_199_254_740_993_i64));
        assert_eq!(read("[1e1, 5.0, -0.0, -0, 2.5]").to_string(), "[10,5,0,0,2.5]");
        let mut written = json_as_written(b"[1e1, 2.5, 3]").unwrap();
        assert_eq!(written.to_string(), "[10.0,2.5,3]");
        whole(&mut written);
        assert_eq!(written.to_string(), "[10,2.5,3]");
        let fault = super::json(br#"{"a": {"b": 1e400}}"#).unwrap_err();
        assert_eq!(fault, Fault::Number("1e400".into()));
        assert_eq!(yaml(b"a: 010\nb: 0x1f\n").unwrap().object, json!({"a": 8, "b": 31}));
    }

    #[test]
    fn what_is_no_text_is_an_unknown_character() {
        assert_eq!(
            read(r#"["a\ud83d", "\ud83d\ude00", "\\ud83d", "\udc00x", "\n"]"#),
            json!(["a\u{fffd}", "😀", "\\ud83d", "\u{fffd}x", "\n"])
        );
        assert_eq!(super::json(b"\"a\xff\"").unwrap().object, json!("a\u{fffd}"));
        assert!(super::json(br#"["\ud83d" x]"#).is_err());
    }
}
