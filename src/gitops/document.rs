//! YAML text to JSON values that remember where each field stood, so that a schema error can point at its line.
//! Does not know Kubernetes; `load` gives the documents meaning.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_yaml::Spanned;

use super::{diagnostic::Place, yaml_words};

/// Documents of one file: more is a mistake or an attack.
pub const MAX_DOCUMENTS_PER_FILE: usize = 256;
/// Nesting of maps and lists in one document.
pub const MAX_NESTING: usize = 32;
/// Aliases in one document, and how many events they may expand to: a manifest has little use for either.
const MAX_ALIASES: usize = 64;
const MAX_REPLAYED_EVENTS: usize = 10_000;

/// One document of a file.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document as JSON.
    pub value: Value,
    /// Where its fields stand.
    pub places: Places,
}

/// Where fields stand, by field path as Kubernetes writes it (`spec.programs[0].argv`; the document itself is "").
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// The place of a field, or of the nearest enclosing one if the field itself is missing in the text.
    #[must_use]
    pub fn of(&self, field: &str) -> Place {
        let mut path = field.trim_start_matches('.').trim_start_matches('$');
        loop {
            if let Some(place) = self.0.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None if path.is_empty() => return Place { line: 1, column: 1 },
                None => path = "",
            }
        }
    }

    /// Whether the text has this very field.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }
}

/// A document that is not YAML, or goes beyond a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where the parser stopped, if it can say.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
}

/// The documents of a text, in order. Empty documents are skipped. After a document that is well-formed YAML but cannot
/// be read, the next one is tried; after a syntax error the rest of the text is unreadable.
#[must_use]
pub fn parse(text: &str) -> (Vec<Document>, Vec<Malformed>) {
    let (mut documents, mut malformed) = (Vec::new(), Vec::new());
    let mut reader = text.as_bytes();
    for (index, read) in serde_yaml::read_with_options::<_, Spanned<Node>>(&mut reader, options()).enumerate() {
        if index == MAX_DOCUMENTS_PER_FILE {
            malformed.push(Malformed {
                place: None,
                message: format!("more than {MAX_DOCUMENTS_PER_FILE} documents in one file: split it"),
            });
            break;
        }
        match read {
            Ok(node) => documents.push(to_document(node)),
            Err(error) => malformed.push(Malformed {
                place: error.location().map(|at| place(&at)),
                message: yaml_words::in_words(&error),
            }),
        }
    }
    (documents, malformed)
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_depth: MAX_NESTING,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_REPLAYED_EVENTS },
        with_snippet: false,
    }
}

fn place(at: &serde_yaml::Location) -> Place {
    Place { line: u32::try_from(at.line()).unwrap_or(u32::MAX), column: u32::try_from(at.column()).unwrap_or(u32::MAX) }
}

/// An error of the YAML library with its place, for texts that are no manifests.
#[must_use]
pub fn describe(error: &serde_yaml::Error) -> String {
    let words = yaml_words::in_words(error);
    error.location().map_or_else(|| words.clone(), |at| format!("line {}, column {}: {words}", at.line(), at.column()))
}

/// Any YAML node, its children with their places.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list or a plain value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

fn to_document(root: Spanned<Node>) -> Document {
    let mut places = Places::default();
    places.0.insert(String::new(), place(&root.referenced));
    let value = to_value(root.value, "", &mut places);
    Document { value, places }
}

/// A map entry's place is its key, so that a caret stands under the name of a wrong field; a list item's is the item.
fn to_value(node: Node, path: &str, places: &mut Places) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| {
                    let path = format!("{path}[{index}]");
                    places.0.insert(path.clone(), place(&item.referenced));
                    to_value(item.value, &path, places)
                })
                .collect(),
        ),
        Node::Map(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                let path = join(path, &key.value);
                places.0.insert(path.clone(), place(&key.referenced));
                map.insert(key.value, to_value(item.value, &path, places));
            }
            Value::Object(map)
        }
    }
}

/// A field path one step deeper, as Kubernetes writes it.
#[must_use]
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_places_of_two_documents() {
        let text = "a: 1\n---\n# nothing\n---\nb:\n  - c: yes\n    d: \"no\"\n  - 1.5\n";
        let (documents, malformed) = parse(text);
        assert_eq!(malformed, []);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].value, json!({"b": [{"c": true, "d": "no"}, 1.5]}));
        assert_eq!(documents[1].places.of("b[0].d"), Place { line: 7, column: 5 });
        assert_eq!(documents[1].places.of("b[1]"), Place { line: 8, column: 5 });
        assert_eq!(documents[1].places.of("b[0].missing"), Place { line: 6, column: 5 });
        assert_eq!(documents[1].places.of("nowhere.at.all"), Place { line: 5, column: 1 });
    }

    #[test]
    fn a_syntax_error_has_its_place_and_says_it_once() {
        let (documents, malformed) = parse("a: 1\n---\nb: [1,\nc: {\n");
        assert_eq!(documents.len(), 1);
        assert_eq!(malformed.len(), 1);
        assert!(malformed[0].place.is_some_and(|place| place.line >= 3), "{malformed:?}");
        assert!(!malformed[0].message.contains("at line"), "{malformed:?}");
    }

    #[test]
    fn a_duplicate_key_is_an_error() {
        let (documents, malformed) = parse("a: 1\nb:\n  c: 1\n  c: 2\n");
        assert!(documents.is_empty());
        assert_eq!(malformed[0].place, Some(Place { line: 4, column: 3 }));
    }

    #[test]
    fn limits_on_nesting_documents_and_aliases() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_NESTING - 1)).1.is_empty());
        assert!(!parse(&nested(MAX_NESTING + 1)).1.is_empty());

        let many = |count: usize| "a: 1\n---\n".repeat(count);
        assert!(parse(&many(MAX_DOCUMENTS_PER_FILE)).1.is_empty());
        assert!(!parse(&many(MAX_DOCUMENTS_PER_FILE + 1)).1.is_empty());

        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d]\n";
        assert!(!parse(bomb).1.is_empty());
    }
}
