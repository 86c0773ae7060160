//! One step of a field's path, as FieldsV1 writes it (`f:`, `k:`, `v:`, `i:`) and as conflict messages print it.

use crate::apiserver::schema::{ListType, Node};
use crate::apiserver::shown;
use serde_json::{Map, Number, Value};
use std::fmt;

/// A scalar or other JSON value in a canonical text, so that steps can be ordered: 5.0 is 5.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Literal(String);

impl Literal {
    fn of(value: &Value) -> Self {
        match value {
            Value::Number(n) => Self(shown::number(n)),
            other => Self(other.to_string()),
        }
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| match self.0.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(n) => Value::Number(n),
            None => Value::Null,
        })
    }
}

/// One step: names come before keys, keys before set members, those before positions, as in messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A member of an object.
    Field(String),
    /// An item of a keyed list, by its keys in the order of their names.
    Key(Vec<(String, Literal)>),
    /// A member of a set.
    Member(Literal),
    /// A position; never written by this server, kept where a client sent it.
    Position(usize),
}

/// Why text is no step.
pub(super) enum NotAStep {
    /// A kind of step of the future: left out.
    Unknown,
    /// Nonsense: the whole field set is unreadable.
    Broken,
}

impl Step {
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// The step to an item of a list of this node; the error says why the item has no identity.
    pub(super) fn item(list: &Node, item: &Value) -> Result<Self, String> {
        match &list.list {
            ListType::Map(keys) => Self::keyed(list.item(), keys, item),
            ListType::Set | ListType::Atomic => match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                scalar => Ok(Self::Member(Literal::of(scalar))),
            },
        }
    }

    /// A key that the item leaves out counts with its default, so that `{port: 80}` is `{port: 80, protocol: TCP}`.
    fn keyed(node: &Node, keys: &[String], item: &Value) -> Result<Self, String> {
        let members = match item {
            Value::Object(members) => members,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let default = |key: &str| node.properties.get(key).and_then(|node| node.default.as_ref());
        let value_of = |key: &String| members.get(key).or_else(|| default(key));
        let mut found: Vec<_> =
            keys.iter().filter_map(|key| Some((key.clone(), Literal::of(value_of(key)?)))).collect();
        if found.is_empty() {
            let names: Vec<_> = keys.iter().map(|key| shown::quoted(key)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] \
                 (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort();
        Ok(Self::Key(found))
    }

    /// The FieldsV1 form.
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let object: Map<_, _> = keys.iter().map(|(name, value)| (name.clone(), value.value())).collect();
                format!("k:{}", Value::Object(object))
            }
            Self::Member(value) => format!("v:{}", value.0),
            Self::Position(i) => format!("i:{i}"),
        }
    }

    /// Reads the FieldsV1 form.
    pub(super) fn decode(text: &str) -> Result<Self, NotAStep> {
        let broken = |_| NotAStep::Broken;
        match text.split_once(':') {
            Some(("f", name)) => Ok(Self::field(name)),
            Some(("v", json)) => {
                serde_json::from_str(json).map(|value| Self::Member(Literal::of(&value))).map_err(broken)
            }
            Some(("k", json)) => {
                let object: Map<String, Value> = serde_json::from_str(json).map_err(broken)?;
                let mut keys: Vec<_> = object.iter().map(|(name, value)| (name.clone(), Literal::of(value))).collect();
                keys.sort();
                Ok(Self::Key(keys))
            }
            Some(("i", number)) => number.parse().map(Self::Position).map_err(|_| NotAStep::Broken),
            Some((kind, _)) if kind.len() == 1 => Err(NotAStep::Unknown),
            _ => Err(NotAStep::Broken),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={}", value.0)).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Member(value) => write!(f, "[={}]", value.0),
            Self::Position(i) => write!(f, "[{i}]"),
        }
    }
}
