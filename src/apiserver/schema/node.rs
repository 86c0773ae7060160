//! One node of a structural schema, read from OpenAPI v3 once, so that nothing afterwards looks at schema JSON. A keyword
//! that this server could not honour is an error here rather than ignored.

use super::SchemaError;
use super::format::Format;
use super::rules::Rules;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// JSON types as schemas name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apiserver) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// How a list is merged and which of its items are the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::apiserver) enum ListType {
    #[default]
    Atomic,
    Set,
    /// Items are objects told apart by these members.
    Map(Vec<String>),
}

/// Bounds on a value; which of them apply depends on the value's type.
#[derive(Debug, Default)]
pub(in crate::apiserver) struct Limits {
    pub required: Vec<String>,
    pub choices: Vec<Value>,
    pub format: Option<Format>,
    pub pattern: Option<Regex>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
}

/// A schema node. Without a type it accepts anything.
#[derive(Debug, Default)]
pub(in crate::apiserver) struct Node {
    pub types: Vec<Type>,
    pub nullable: bool,
    /// Unknown members are kept and merged by what they look like.
    pub preserve: bool,
    pub properties: BTreeMap<String, Node>,
    /// The schema of members that are not properties.
    pub values: Option<Box<Node>>,
    /// Other members than the properties are a fault: not dropped, as elsewhere, but refused.
    pub closed: bool,
    pub items: Option<Box<Node>>,
    pub list: ListType,
    pub atomic_map: bool,
    pub default: Option<Value>,
    pub limits: Limits,
    pub all_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub not: Option<Box<Node>>,
    pub rules: Rules,
}

/// The node of whatever no schema describes: maps merge, lists are atomic.
pub(in crate::apiserver) static ANYTHING: LazyLock<Node> =
    LazyLock::new(|| Node { preserve: true, nullable: true, ..Node::default() });

/// Deeper schemas than this are refused: they only come from a mistake, and walking them must not exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Keywords that change what is valid and that this server does not implement.
const REFUSED: [&str; 5] =
    ["$ref", "patternProperties", "additionalItems", "dependencies", "x-kubernetes-embedded-resource"];

impl Node {
    /// Reads a schema; `at` names the place for errors.
    pub(in crate::apiserver) fn read(schema: &Value, at: &str, depth: usize) -> Result<Self, SchemaError> {
        let fail = |why: String| SchemaError { at: at.to_owned(), why };
        let Some(members) = schema.as_object() else {
            return Err(fail(format!("a schema must be an object, not {schema}; correct the CRD")));
        };
        if depth > MAX_DEPTH {
            return Err(fail(format!("nested deeper than {MAX_DEPTH}; flatten the schema")));
        }
        if let Some(keyword) = REFUSED.iter().find(|k| members.get(**k).is_some_and(|v| v != &Value::Bool(false))) {
            return Err(fail(format!("{keyword} is not supported; write the schema without it")));
        }
        let child = |value: &Value, name: &str| Self::read(value, &format!("{at}{name}"), depth + 1);
        let branches = |keyword: &str| -> Result<Vec<Self>, SchemaError> {
            let list = schema[keyword].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|branch| child(branch, &format!(".{keyword}"))).collect()
        };
        let optional = |value: &Value, name: &str| match value.is_object() {
            true => child(value, name).map(|node| Some(Box::new(node))),
            false => Ok(None),
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let flag = |keyword: &str| schema[keyword] == Value::Bool(true);
        let additional = &schema["additionalProperties"];
        Ok(Self {
            types: types(schema).map_err(&fail)?,
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields") || additional == &Value::Bool(true),
            properties: properties
                .map(|(name, value)| Ok((name.clone(), child(value, &format!(".{name}"))?)))
                .collect::<Result<_, _>>()?,
            values: optional(additional, "[*]")?,
            closed: additional == &Value::Bool(false),
            items: optional(&schema["items"], "[]")?,
            list: list_type(schema).map_err(&fail)?,
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            default: members.get("default").filter(|value| !value.is_null()).cloned(),
            limits: limits(schema).map_err(&fail)?,
            all_of: branches("allOf")?,
            one_of: branches("oneOf")?,
            any_of: branches("anyOf")?,
            not: optional(&schema["not"], ".not")?,
            rules: Rules::compile(schema).map_err(&fail)?,
        })
    }

    /// The schema of a member: a property, else the map's values, else anything where unknown members are kept.
    pub(in crate::apiserver) fn member(&self, name: &str) -> Option<&Node> {
        if let Some(node) = self.properties.get(name) {
            return Some(node);
        }
        self.values.as_deref().or_else(|| self.open().then_some(&*ANYTHING))
    }

    /// Whether members that nothing describes belong to the object: also in an object without any description.
    fn open(&self) -> bool {
        self.preserve || (self.properties.is_empty() && self.values.is_none() && !self.closed)
    }

    /// The schema of a list's items.
    pub(in crate::apiserver) fn item(&self) -> &Node {
        self.items.as_deref().unwrap_or(&ANYTHING)
    }

    /// Whether null is a value here and not the absence of one.
    pub(in crate::apiserver) fn allows_null(&self) -> bool {
        self.nullable
    }
}

fn types(schema: &Value) -> Result<Vec<Type>, String> {
    if schema["x-kubernetes-int-or-string"] == true {
        return Ok(vec![Type::Integer, Type::String]);
    }
    let one = |name: &str| match name {
        "object" => Ok(Type::Object),
        "array" => Ok(Type::Array),
        "string" => Ok(Type::String),
        "integer" => Ok(Type::Integer),
        "number" => Ok(Type::Number),
        "boolean" => Ok(Type::Boolean),
        other => Err(format!("type {other} is not supported; use one of the six JSON types")),
    };
    match &schema["type"] {
        Value::Null => Ok(Vec::new()),
        Value::String(name) => Ok(vec![one(name)?]),
        other => Err(format!("type must be one name, not {other}")),
    }
}

fn list_type(schema: &Value) -> Result<ListType, String> {
    match schema["x-kubernetes-list-type"].as_str() {
        None | Some("atomic") => Ok(ListType::Atomic),
        Some("set") => Ok(ListType::Set),
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            let keys: Vec<_> = keys.filter_map(Value::as_str).map(str::to_owned).collect();
            match keys.is_empty() {
                true => Err("a list of type map needs x-kubernetes-list-map-keys".into()),
                false => Ok(ListType::Map(keys)),
            }
        }
        Some(other) => Err(format!("x-kubernetes-list-type {other} is not supported; use atomic, set or map")),
    }
}

fn limits(schema: &Value) -> Result<Limits, String> {
    let count = |keyword: &str| schema[keyword].as_u64();
    let list = |keyword: &str| schema[keyword].as_array().cloned().unwrap_or_default();
    let pattern = schema["pattern"].as_str().map(Regex::new).transpose();
    Ok(Limits {
        required: list("required").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        choices: list("enum"),
        format: Format::of(schema["format"].as_str().unwrap_or_default(), &types(schema)?)?,
        pattern: pattern.map_err(|error| format!("pattern cannot be compiled: {error}"))?,
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: schema["uniqueItems"] == true,
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        minimum: schema["minimum"].as_f64(),
        maximum: schema["maximum"].as_f64(),
        exclusive_minimum: schema["exclusiveMinimum"] == true,
        exclusive_maximum: schema["exclusiveMaximum"] == true,
        multiple_of: schema["multipleOf"].as_f64(),
    })
}
