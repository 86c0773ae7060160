//! `x-kubernetes-validations`: CEL rules of a node, compiled with the schema, evaluated where the value is. A rule that
//! already failed is tolerated while its node does not change.

use super::node::Node;
use super::old::Place;
use crate::apiserver::failure::Cause;
use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde_json::{Value, json};

/// The rules of one node.
#[derive(Debug, Default)]
pub(in crate::apiserver) struct Rules {
    compiled: Option<CompiledSchema>,
    /// The same for rules that read an instant's text: the library's `timestamp()` takes no timestamp, the real one does.
    of_texts: Option<CompiledSchema>,
    texts: Vec<RuleText>,
}

/// What a broken rule says of itself.
#[derive(Debug)]
struct RuleText {
    rule: String,
    message: String,
    reason: String,
    field_path: String,
    /// It compares with the old value, so it cannot have failed before and is never tolerated.
    is_transition: bool,
}

/// What a schema needs to turn values into CEL values. Rules of children run at the children.
const KEPT: [&str; 5] =
    ["type", "format", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "nullable"];

fn without_rules(schema: &Value) -> Value {
    let mut out = json!({});
    for keyword in KEPT.iter().filter(|keyword| !schema[**keyword].is_null()) {
        out[keyword] = schema[keyword].clone();
    }
    if let Some(properties) = schema["properties"].as_object() {
        out["properties"] = properties.iter().map(|(name, value)| (name.clone(), without_rules(value))).collect();
    }
    for keyword in ["items", "additionalProperties"] {
        match &schema[keyword] {
            Value::Null => {}
            child @ Value::Object(_) => out[keyword] = without_rules(child),
            other => out[keyword] = other.clone(),
        }
    }
    out
}

impl Rules {
    /// Compiles a node's own rules.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        let Some(rules) = schema["x-kubernetes-validations"].as_array().filter(|rules| !rules.is_empty()) else {
            return Ok(Self::default());
        };
        let mut own = without_rules(schema);
        own["x-kubernetes-validations"] = json!(rules);
        let compiled = compile_schema(&own);
        let reads_texts =
            rules.iter().any(|rule| rule["rule"].as_str().is_some_and(|text| text.contains("timestamp(")));
        let of_texts = (reads_texts && drop_instants(&mut own)).then(|| compile_schema(&own));
        if let Some(error) = compiled.compilation_errors().first() {
            return Err(format!("{error}; correct the rule"));
        }
        let owned = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        let ready = compiled.validations.iter().filter_map(|result| result.as_ref().ok());
        let texts = ready.map(|one| RuleText {
            rule: one.rule.rule.clone(),
            message: owned(&one.rule.message),
            reason: owned(&one.rule.reason),
            field_path: owned(&one.rule.field_path).trim_start_matches('.').to_owned(),
            is_transition: one.is_transition_rule,
        });
        Ok(Self { texts: texts.collect(), compiled: Some(compiled), of_texts })
    }
}

/// Takes the format off instants, which makes them texts to a rule; answers whether there were any.
fn drop_instants(schema: &mut Value) -> bool {
    match schema {
        Value::Object(members) => {
            let instant = members.get("format").is_some_and(|format| format == "date-time");
            if instant {
                members.remove("format");
            }
            members.values_mut().fold(instant, |found, value| drop_instants(value) || found)
        }
        Value::Array(items) => items.iter_mut().map(drop_instants).fold(false, std::ops::BitOr::bitor),
        _ => false,
    }
}

/// Whether any rule stands anywhere in a schema.
pub(super) fn any(node: &Node) -> bool {
    let below = node.properties.values().chain(node.values.as_deref()).chain(node.items.as_deref());
    node.rules.compiled.is_some() || below.chain(&node.all_of).any(any)
}

/// The nearest place above that has an old value; where a node itself has none, its faults are tolerated if that place
/// did not change.
type Above<'a> = Option<Place<'a>>;

/// The broken rules of a value and of everything in it.
pub(super) fn broken(place: Place<'_>) -> Vec<Cause> {
    let mut found = Vec::new();
    run(place, None, "", &mut found);
    found
}

fn run<'a>(place: Place<'a>, above: Above<'a>, path: &str, found: &mut Vec<Cause>) {
    let Place { node, value, old } = place;
    if value.is_null() {
        return;
    }
    own_rules(node, place, above, path, found);
    for branch in &node.all_of {
        own_rules(branch, place, above, path, found);
    }
    let nearest = if old.is_some() { Some(place) } else { above };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(node) = node.properties.get(name) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    run(place.member(name, node, value), nearest, &path, found);
                } else if let Some(node) = &node.values {
                    run(place.member(name, node, value), nearest, &format!("{path}[{name}]"), found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(node) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    run(place.item(node, item), nearest, &format!("{path}[{i}]"), found);
                }
            }
        }
        _ => {}
    }
}

thread_local! {
    // registering every CEL function is dearer than evaluating a rule, and a validator cannot be shared by threads
    static VALIDATOR: Validator = Validator::new();
}

fn own_rules(node: &Node, place: Place<'_>, above: Above<'_>, path: &str, found: &mut Vec<Cause>) {
    let Some(compiled) = &node.rules.compiled else { return };
    let old = place.old.filter(|old| !old.is_null());
    let evaluate = |compiled: &CompiledSchema| {
        let result = VALIDATOR.with(|validator| validator.validate_compiled(compiled, place.value, old));
        result.err().map_or_else(Vec::new, kube::core::cel::ValidationErrors::into_vec)
    };
    let errors = evaluate(compiled);
    if errors.is_empty() {
        return;
    }
    let of_texts = node.rules.of_texts.as_ref().map(evaluate).unwrap_or_default();
    let tolerated = if place.old.is_some() { place.unchanged() } else { above.is_some_and(Place::unchanged) };
    let mut texts = node.rules.texts.iter().peekable();
    for error in errors {
        // errors come in the order of the rules
        while texts.next_if(|text| text.rule != error.rule).is_some() {}
        let Some(text) = texts.next() else { break };
        let mut error = error;
        if error.kind == ErrorKind::EvaluationError && node.rules.of_texts.is_some() {
            match of_texts.iter().find(|other| other.rule == error.rule) {
                None => continue,
                Some(other) => error = other.clone(),
            }
        }
        if tolerated && !text.is_transition {
            continue;
        }
        found.push(match error.kind {
            ErrorKind::ValidationFailure => verdict(text, &error.message, path, place.value),
            _ => unevaluated(text, &error.message, path, place.value),
        });
    }
}

fn verdict(text: &RuleText, message: &str, path: &str, value: &Value) -> Cause {
    let field = match (path, text.field_path.as_str()) {
        ("", "") => "<nil>".to_owned(),
        (path, "") => path.to_owned(),
        ("", below) => below.to_owned(),
        (path, below) => format!("{path}.{below}"),
    };
    let message = match message.trim() {
        "" => &text.message,
        message => message,
    };
    match text.reason.as_str() {
        "FieldValueForbidden" => Cause::forbidden(field, message),
        "FieldValueRequired" => Cause::required(field, message),
        "FieldValueDuplicate" => Cause::duplicate(field, value),
        _ if value.is_object() || value.is_array() => Cause::invalid_bare(field, message),
        _ => Cause::invalid(field, value, message),
    }
}

/// A rule that could not be evaluated counts as broken: an object that may be wrong is not stored.
fn unevaluated(text: &RuleText, message: &str, path: &str, value: &Value) -> Cause {
    let words = if text.message.is_empty() { text.rule.trim() } else { &text.message };
    let why = message.strip_prefix("rule evaluation error: ").unwrap_or(message);
    let why = why
        .strip_prefix("Index out of bounds: Int(")
        .and_then(|rest| rest.strip_suffix(')'))
        .map_or_else(|| why.to_owned(), |index| format!("index out of bounds: {index}"));
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() => "integer",
        _ => "number",
    };
    let field = if path.is_empty() { "<nil>" } else { path };
    Cause::invalid(field, &Value::String(kind.into()), format!("{why} evaluating rule: {words}"))
}
