//! Label selectors: their grammar, with the real server's sentences for what does not parse, and matching.

use crate::apiserver::failure::{Cause, Failure};
use crate::apiserver::metadata::names;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is asked of one label. Values are a sorted set.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Demand {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

/// A parsed `labelSelector`: all demands must be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    demands: Vec<(String, Demand)>,
}

impl LabelSelector {
    /// Parses the query parameter; empty selects everything.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        parser.selector().map(|demands| Self { demands }).map_err(Failure::bad_request)
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.demands.is_empty()
    }

    /// Whether an object's `metadata.labels` fit.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.demands.iter().all(|(key, demand)| demand.met(labels.get(key).and_then(Value::as_str)))
    }
}

impl Demand {
    fn met(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(limit) => number().is_some_and(|n| n > *limit),
            Self::Below(limit) => number().is_some_and(|n| n < *limit),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    /// Symbols in an order that means nothing.
    Error(String),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Error(text) => text,
            Self::Symbol(text) => text,
            Self::End => "",
        }
    }
}

/// Longer ones first, since the longest that fits is taken.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let special = |c: char| "=!(),><".contains(c);
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while let Some(first) = rest.chars().next() {
        if special(first) {
            match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => {
                    out.push(Token::Symbol(symbol));
                    rest = &rest[symbol.len()..];
                }
                None => {
                    out.push(Token::Error(first.to_string()));
                    rest = &rest[first.len_utf8()..];
                }
            }
        } else {
            let end = rest.find(|c| special(c) || space(c)).unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(space);
    }
    out.push(Token::End);
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Parsed<Vec<(String, Demand)>> {
        let mut demands = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Symbol("!") => {
                    demands.push(self.demand().map_err(|why| format!("unable to parse requirement: {why}"))?);
                }
                Token::End => return Ok(demands),
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
            }
            match self.next() {
                Token::End => return Ok(demands),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
    }

    fn demand(&mut self) -> Parsed<(String, Demand)> {
        let absent = *self.peek() == Token::Symbol("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        let wrong = names::qualified(&key);
        if !wrong.is_empty() {
            return Err(sentence("<nil>", &key, &wrong.join("; ")));
        }
        if absent {
            return Ok((key, Demand::Absent));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok((key, Demand::Exists));
        }
        let operator = self.next();
        let values = match operator.text() {
            "in" | "notin" => self.values()?,
            "=" | "==" | "!=" | ">" | "<" => self.value()?,
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let number = number_of(operator.text(), &values);
        check_values(&key, &values, number.as_ref().err())?;
        let demand = match (operator.text(), number) {
            ("in" | "=" | "==", _) => Demand::In(values),
            (">", Ok(limit)) => Demand::Above(limit),
            ("<", Ok(limit)) => Demand::Below(limit),
            _ => Demand::NotIn(values),
        };
        Ok((key, demand))
    }

    fn value(&mut self) -> Parsed<BTreeSet<String>> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next() {
            Token::Word(value) => Ok(BTreeSet::from([value])),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// `(a, b)`; `()` and empty places mean the empty value.
    fn values(&mut self) -> Parsed<BTreeSet<String>> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = BTreeSet::new();
        match self.peek() {
            Token::Symbol(")") => {
                self.next();
                return Ok(BTreeSet::from([String::new()]));
            }
            Token::Word(_) | Token::Symbol(",") => {}
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.insert(value);
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Symbol(",") => {
                    let followed = matches!(self.peek(), Token::Symbol("," | ")"));
                    if values.is_empty() || followed {
                        values.insert(String::new());
                    }
                    if *self.peek() == Token::Symbol(")") {
                        break;
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
        self.next();
        Ok(values)
    }
}

fn sentence(field: &str, value: &str, why: &str) -> String {
    let cause = Cause::invalid(field, &json!(value), why);
    format!("{}: {}", cause.field, cause.message)
}

/// The limit of `>` and `<`; other operators have none to fail at.
fn number_of(operator: &str, values: &BTreeSet<String>) -> Result<i64, String> {
    let value = values.first().map(String::as_str).unwrap_or_default();
    match operator {
        ">" | "<" => value
            .parse()
            .map_err(|_| sentence("values[0]", value, "for 'Gt', 'Lt' operators, the value must be an integer")),
        _ => Ok(0),
    }
}

fn check_values(key: &str, values: &BTreeSet<String>, number: Option<&String>) -> Parsed<()> {
    let mut wrong: Vec<_> = number.cloned().into_iter().collect();
    for (i, value) in values.iter().enumerate() {
        let why = names::label_value(value);
        if !why.is_empty() {
            wrong.push(sentence(&format!("values[{i}][{key}]"), value, &why.join("; ")));
        }
    }
    match &wrong[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
