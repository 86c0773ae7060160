//! Values against their schema, with the real server's sentences. A fault below a value that did not change is tolerated.
//! Uniqueness in lists is `lists`' business, rules are `rules`'.

use super::format::Format;
use super::node::{Node, Type};
use super::old::Place;
use crate::apiserver::failure::Cause;
use crate::apiserver::shown::{self, float, same};
use serde_json::{Number, Value};

/// The outcome for one value: its faults, and how many checks it went through, by which the real server picks the
/// alternative of a oneOf or anyOf that its message is about.
#[derive(Default)]
struct Findings {
    faults: Vec<Cause>,
    passed: u32,
}

impl Findings {
    fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.passed += other.passed;
    }

    fn one(fault: Cause) -> Self {
        Self { faults: vec![fault], passed: 0 }
    }
}

/// The faults of a value. `root` is the path of the value itself (empty for an object, `status` for a status), which
/// stands in `field` but not in the sentences.
pub(super) fn check(place: Place<'_>, root: &str) -> Vec<Cause> {
    Checker { root }.ratcheted(place, "").faults
}

struct Checker<'a> {
    root: &'a str,
}

impl Checker<'_> {
    /// The field of a fault at `path`; `<nil>` is how the real server prints the path of the whole object.
    fn field(&self, path: &str) -> String {
        let path = path.trim_start_matches('.');
        match (self.root, path) {
            ("", "") => "<nil>".into(),
            (root, "") => root.into(),
            ("", path) => path.into(),
            (root, path) => format!("{root}.{path}"),
        }
    }

    /// A fault that the real server puts on the whole object, whatever its sentence is about.
    fn general(&self, sentence: String) -> Cause {
        Cause::invalid(self.field(""), &Value::String(String::new()), sentence)
    }

    fn invalid(&self, path: &str, value: &Value, why: String) -> Cause {
        Cause::invalid(self.field(path), value, format!("{path} in body {why}"))
    }

    fn mistyped(&self, path: &str, wanted: &str, got: &str) -> Cause {
        let why = format!("{path} in body must be of type {wanted}: {}", shown::quoted(got));
        Cause::type_invalid(self.field(path), &shown::quoted(got), why)
    }

    fn ratcheted(&self, place: Place<'_>, path: &str) -> Findings {
        let mut found = self.check(place, path);
        if !found.faults.is_empty() && place.unchanged() {
            found.faults.clear();
        }
        found
    }

    fn check(&self, place: Place<'_>, path: &str) -> Findings {
        let Place { node, value, .. } = place;
        let mut found = Findings::default();
        if value.is_null() {
            found.add(self.null(node, path));
            found.add(self.choice(node, value, path));
            return found;
        }
        if !node.types.is_empty() || node.limits.format.is_some() {
            found.add(self.typed(node, value, path));
            found.passed += 1;
        }
        found.add(self.alternatives(place, path));
        found.passed += 1;
        match value {
            Value::String(text) => found.add(self.text(node, text, path)),
            Value::Number(n) => found.add(self.number(node, value, n, path)),
            Value::Array(items) => found.add(self.array(place, items, path)),
            _ => {}
        }
        found.add(self.choice(node, value, path));
        found.passed += 1;
        if let Value::Object(members) = value {
            found.add(self.object(place, members, path));
            found.passed += 1;
        }
        found.passed += 1;
        found
    }

    fn null(&self, node: &Node, path: &str) -> Findings {
        match node.types.is_empty() || node.allows_null() {
            true => Findings { passed: 1, ..Findings::default() },
            false => Findings::one(self.mistyped(path, &type_names(&node.types), "null")),
        }
    }

    fn typed(&self, node: &Node, value: &Value, path: &str) -> Findings {
        let fine = Findings { passed: 1, ..Findings::default() };
        let actual = type_of(value);
        let wants = |wanted: Type| node.types.contains(&wanted);
        // beyond this not every whole number is a float, and none counts as whole
        const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;
        let whole = value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() <= WHOLE_MAX);
        let numeric = (actual == Type::Number && whole && wants(Type::Integer))
            || (actual == Type::Integer && wants(Type::Number));
        let counted = matches!(value, Value::String(_) | Value::Array(_));
        let takes_numbers = wants(Type::Number) || wants(Type::Integer);
        match node.limits.format {
            Some(format) if !(counted || wants(actual) || numeric) => {
                let got = match actual {
                    Type::Integer => "int64",
                    Type::Number => "float64",
                    _ => "",
                };
                Findings::one(self.mistyped(path, format.name(), got))
            }
            // a string format speaks for itself; the type is not looked at again
            Some(_) if counted && !takes_numbers => fine,
            _ if wants(actual) || numeric || node.types.is_empty() => fine,
            _ => Findings::one(self.mistyped(path, &type_names(&node.types), type_name(actual))),
        }
    }

    fn choice(&self, node: &Node, value: &Value, path: &str) -> Findings {
        let choices = &node.limits.choices;
        if choices.is_empty() || choices.iter().any(|choice| same(choice, value)) {
            return Findings::default();
        }
        let listed = |choice: &Value| match choice {
            Value::String(text) => shown::quoted(text),
            other => shown::quoted(&shown::json(other)),
        };
        let listed: Vec<_> = choices.iter().map(listed).collect();
        Findings::one(Cause::not_supported(self.field(path), value, &listed))
    }

    fn text(&self, node: &Node, text: &str, path: &str) -> Findings {
        let limits = &node.limits;
        let length = text.chars().count() as u64;
        let value = Value::String(text.to_owned());
        let mut found = Findings::default();
        if let Some(max) = limits.max_length.filter(|max| length > *max) {
            found.faults.push(Cause::too_long(self.field(path), max));
        } else if let Some(min) = limits.min_length.filter(|min| length < *min) {
            found.faults.push(self.invalid(path, &value, format!("should be at least {min} chars long")));
        } else if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            found.faults.push(self.invalid(path, &value, format!("should match '{pattern}'")));
        }
        found.passed += 1;
        if let Some(format) = limits.format.filter(|format| !format.is_numeric()) {
            if !format.fits(text) {
                found.faults.push(self.mistyped(path, format.name(), text));
            }
            found.passed += 1;
        }
        found
    }

    fn number(&self, node: &Node, value: &Value, n: &Number, path: &str) -> Findings {
        let limits = &node.limits;
        let actual = n.as_f64().unwrap_or(f64::NAN);
        let whole = n.is_i64();
        // limits of whole values are printed as whole numbers
        let printed = |limit: f64| if whole { float(limit.trunc()) } else { float(limit) };
        let mut found = Findings { passed: 2, ..Findings::default() };
        if let [Type::Integer] = node.types[..]
            && let Some(fault) = self.integer_range(limits.format, n, path)
        {
            found.faults.push(fault);
        }
        // the factor of a whole number is taken as whole itself
        if whole && limits.multiple_of.is_some_and(|factor| factor.trunc() <= 0.0) {
            let why = format!("factor MultipleOf declared for {path} must be positive: 0");
            found.faults.push(Cause::invalid(self.field(path), &Value::from(0), why));
        } else if let Some(factor) = limits.multiple_of.filter(|factor| (actual / factor).fract().abs() > f64::EPSILON)
        {
            found.faults.push(self.invalid(path, value, format!("should be a multiple of {}", printed(factor))));
        }
        let above = |max: f64| actual > max || (limits.exclusive_maximum && actual >= max);
        if let Some(max) = limits.maximum.filter(|max| above(*max)) {
            let words = if limits.exclusive_maximum { "less than" } else { "less than or equal to" };
            found.faults.push(self.invalid(path, value, format!("should be {words} {}", printed(max))));
        }
        let below = |min: f64| actual < min || (limits.exclusive_minimum && actual <= min);
        if let Some(min) = limits.minimum.filter(|min| below(*min)) {
            let words = if limits.exclusive_minimum { "greater than" } else { "greater than or equal to" };
            found.faults.push(self.invalid(path, value, format!("should be {words} {}", printed(min))));
        }
        found
    }

    fn integer_range(&self, format: Option<Format>, n: &Number, path: &str) -> Option<Cause> {
        let value = n.as_i64().or_else(|| whole_float(n));
        let fits = match format {
            Some(Format::Int32) => value.is_some_and(|i| i32::try_from(i).is_ok()),
            _ => value.is_some(),
        };
        let kind = match format {
            Some(format) => format!("with format {}", format.name()),
            None => "(default format)".into(),
        };
        (!fits).then(|| self.general(format!("Checked value must be of type integer {kind} in {path}")))
    }

    fn array(&self, place: Place<'_>, items: &[Value], path: &str) -> Findings {
        let limits = &place.node.limits;
        let mut found = Findings { passed: 2, ..Findings::default() };
        if let Some(node) = &place.node.items {
            for (i, item) in items.iter().enumerate() {
                found.add(self.ratcheted(place.item(node, item), &format!("{path}[{i}]")));
            }
        }
        let size = items.len() as u64;
        if let Some(min) = limits.min_items.filter(|min| size < *min) {
            found.faults.push(self.invalid(path, &size.into(), format!("should have at least {min} items")));
        }
        if let Some(max) = limits.max_items.filter(|max| size > *max) {
            found.faults.push(Cause::too_many(self.field(path), items.len(), max));
        }
        let twice = |(i, item): (usize, &Value)| items[..i].iter().any(|other| same(other, item));
        if limits.unique_items && items.iter().enumerate().any(twice) {
            let nothing = Value::String(String::new());
            found.faults.push(self.invalid(path, &nothing, "shouldn't contain duplicates".into()));
        }
        found
    }

    fn object(&self, place: Place<'_>, members: &serde_json::Map<String, Value>, path: &str) -> Findings {
        let (node, limits) = (place.node, &place.node.limits);
        let mut found = Findings::default();
        let size = members.len() as u64;
        if let Some(min) = limits.min_properties.filter(|min| size < *min) {
            found.faults.push(self.invalid(path, &size.into(), format!("should have at least {min} properties")));
        }
        if let Some(max) = limits.max_properties.filter(|max| size > *max) {
            found.faults.push(Cause::too_many(self.field(path), members.len(), max));
        }
        for (name, value) in members {
            let described = match (node.properties.get(name), &node.values) {
                (Some(node), _) if path.is_empty() => Some((node, name.clone())),
                (Some(node), _) => Some((node, format!("{path}.{name}"))),
                (None, Some(node)) => Some((&**node, format!("{path}.{name}"))),
                (None, None) => None,
            };
            match described {
                Some((node, path)) => found.add(self.ratcheted(place.member(name, node, value), &path)),
                None if node.closed => {
                    let why = format!("{path}.{name} in body is a forbidden property");
                    found.faults.push(Cause::invalid(self.field(path), &Value::String(name.clone()), why));
                }
                None => {}
            }
        }
        for name in limits.required.iter().filter(|name| !members.contains_key(*name)) {
            found.faults.push(Cause::required(self.field(&format!("{path}.{name}")), ""));
        }
        found
    }

    /// allOf, oneOf, anyOf and not. A failed oneOf or anyOf also tells the faults of the alternative that came closest.
    fn alternatives(&self, place: Place<'_>, path: &str) -> Findings {
        let node = place.node;
        let mut found = Findings { passed: 1, ..Findings::default() };
        let try_branch = |branch| self.check(Place { node: branch, ..place }, path);
        if !node.any_of.is_empty() {
            let (valid, best) = pick(node.any_of.iter().map(try_branch));
            if valid == 0 {
                found
                    .faults
                    .push(self.general(format!("{} must validate at least one schema (anyOf)", shown::quoted(path))));
            }
            found.add(best);
        }
        if !node.one_of.is_empty() {
            let (valid, best) = pick(node.one_of.iter().map(try_branch));
            if valid != 1 {
                let count =
                    if valid == 0 { "Found none valid".into() } else { format!("Found {valid} valid alternatives") };
                let sentence =
                    format!("{} must validate one and only one schema (oneOf). {count}", shown::quoted(path));
                found.faults.push(self.general(sentence));
            }
            if valid < 2 {
                found.add(best);
            }
        }
        let all: Vec<_> = node.all_of.iter().map(try_branch).collect();
        let valid = all.iter().filter(|one| one.faults.is_empty()).count();
        let incomplete = valid < all.len();
        all.into_iter().for_each(|one| found.add(one));
        if incomplete {
            let none = if valid == 0 { ". None validated" } else { "" };
            found
                .faults
                .push(self.general(format!("{} must validate all the schemas (allOf){none}", shown::quoted(path))));
        }
        if node.not.as_deref().is_some_and(|not| try_branch(not).faults.is_empty()) {
            found.faults.push(self.general(format!("{} must not validate the schema (not)", shown::quoted(path))));
        }
        found
    }
}

/// How many alternatives hold, and the findings worth telling: of the first that holds, else of the one that got furthest.
fn pick(alternatives: impl Iterator<Item = Findings>) -> (usize, Findings) {
    let mut valid = 0;
    let mut best: Option<Findings> = None;
    for one in alternatives {
        let holds = one.faults.is_empty();
        let better = match &best {
            None => true,
            Some(best) if holds => !best.faults.is_empty(),
            Some(best) => valid == 0 && one.passed > best.passed,
        };
        valid += usize::from(holds);
        if better {
            best = Some(one);
        }
    }
    (valid, best.unwrap_or_default())
}

fn whole_float(n: &Number) -> Option<i64> {
    let f = n.as_f64()?;
    // 2^63: the first float beyond the integers
    (f.fract() == 0.0 && f.abs() < 9_223_372_036_854_775_808.0).then_some(f as i64)
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Object(_) => Type::Object,
        Value::Array(_) => Type::Array,
        Value::String(_) | Value::Null => Type::String,
        Value::Bool(_) => Type::Boolean,
        Value::Number(n) if n.is_i64() => Type::Integer,
        Value::Number(_) => Type::Number,
    }
}

fn type_name(one: Type) -> &'static str {
    match one {
        Type::Object => "object",
        Type::Array => "array",
        Type::String => "string",
        Type::Integer => "integer",
        Type::Number => "number",
        Type::Boolean => "boolean",
    }
}

fn type_names(types: &[Type]) -> String {
    types.iter().map(|one| type_name(*one)).collect::<Vec<_>>().join(",")
}
