//! Query rules: a CEL expression over what is known of a client, compiled once and evaluated for many. Labels are set by the
//! server; everything else is the client's own claim. Which collections are looked at when is `membership`.

use std::collections::BTreeMap;

use cel::{Context, Program, Value};

use super::{
    free_names::first_unknown,
    query_cost::{STEPS_MAX, Sizes, steps},
    query_fields::unknown_fields,
    query_flat::{Flat, flat, variable},
    query_pattern::{Patterns, patterns},
    query_type::never_boolean,
    query_view::{ClientView, sizes},
    query_words,
};
use crate::wire::inventory::Inventory;

/// Characters of a query at most; the schema of the kind says the same.
pub const QUERY_CHARS_MAX: usize = 4_096;
/// Opening brackets, dots and operators of a query at most: each may be a level of nesting.
const SIGNS_MAX: usize = 400;
/// Stack for parsing: the parser takes up to 150 KiB a level in a debug build. Only what is used becomes memory.
const PARSE_STACK_BYTES: usize = 64 << 20;
/// Stack for evaluating, which takes up to 35 KiB a level in a debug build.
const WALK_STACK_BYTES: usize = 32 << 20;

/// What is known of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// Its id.
    pub id: String,
    /// Labels set by the server.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself; the default before its first report.
    pub inventory: Inventory,
}

/// A query that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is no CEL expression.
    #[error("the query does not parse {0}")]
    Parse(String),
    /// A query that nobody could read.
    #[error(
        "the query has more than {SIGNS_MAX} brackets, dots and operators: write `x in [\"a\", \"b\"]` for many comparisons, or \
         divide it over several collections"
    )]
    TooDeep,
    /// The expression uses something other than `client`.
    #[error("the query uses '{0}', but only 'client' is known")]
    Unknown(String),
    /// Whatever the client, the expression is neither true nor false.
    #[error("the query gives {0}, not true or false: compare it with something, as `client.cpus >= 4` does")]
    NotBoolean(&'static str),
    /// A macro inside a macro, too often or over lists that are too long.
    #[error(
        "the query would take more than {STEPS_MAX} steps on a usual client: `all`, `exists`, `map` and `filter` inside each other \
         multiply; nest fewer, or over shorter lists"
    )]
    TooCostly,
    /// A pattern of `matches`.
    #[error("{0}")]
    Pattern(String),
}

/// A compiled query rule.
#[derive(Debug)]
pub struct Query {
    program: Program,
    flat: Flat,
    patterns: Patterns,
}

impl Query {
    /// Compiles a query.
    ///
    /// # Errors
    /// If it does not parse, names a variable other than `client`, can give neither true nor false, or would never end.
    pub fn compile(text: &str) -> Result<Self, QueryError> {
        // More would end the process, not the query: parser and evaluation call themselves for each level.
        if signs(text) > SIGNS_MAX {
            return Err(QueryError::TooDeep);
        }
        stacker::grow(PARSE_STACK_BYTES, || Self::parse(text))
    }

    fn parse(text: &str) -> Result<Self, QueryError> {
        let program = Program::compile(text).map_err(|errors| QueryError::Parse(query_words::fault(&errors)))?;
        if let Some(unknown) = first_unknown(program.expression(), &["client"]) {
            return Err(QueryError::Unknown(unknown.to_owned()));
        }
        if let Some(what) = never_boolean(program.expression()) {
            return Err(QueryError::NotBoolean(what));
        }
        let patterns = patterns(program.expression()).map_err(QueryError::Pattern)?;
        let flat = flat(program.expression());
        if steps(&flat.expression, &Sizes::USUAL) > STEPS_MAX {
            return Err(QueryError::TooCostly);
        }
        Ok(Self { program, flat, patterns })
    }

    /// What it asks for that no client has, a sentence each: see `query_fields`.
    #[must_use]
    pub fn unknown_fields(&self) -> Vec<String> {
        stacker::grow(WALK_STACK_BYTES, || unknown_fields(self.program.expression()))
    }

    /// Whether the client is a member. A query that fails on this client, for instance for a fact it does not have,
    /// does not select it: one odd client must not stop the collection.
    ///
    /// # Errors
    /// The text of the failure, for the collection's status.
    pub fn selects(&self, client: &ClientFacts) -> Result<bool, String> {
        stacker::grow(WALK_STACK_BYTES, || self.evaluate(client))
    }

    fn evaluate(&self, client: &ClientFacts) -> Result<bool, String> {
        let steps = steps(&self.flat.expression, &sizes(client));
        if steps > STEPS_MAX {
            return Err(format!(
                "up to {steps} steps would be needed for what it says of itself, and {STEPS_MAX} are allowed"
            ));
        }
        let mut context = Context::default();
        self.patterns.add_to(&mut context);
        let view = ClientView::of(client);
        for field in &self.flat.fields {
            let value = view.field(field).map_err(|error| error.to_string())?;
            context.add_variable(variable(field), value).map_err(|error| error.to_string())?;
        }
        if self.flat.whole {
            context.add_variable("client", &view).map_err(|error| error.to_string())?;
        }
        match context.resolve(&self.flat.expression) {
            Ok(Value::Bool(selected)) => Ok(selected),
            Ok(other) => Err(format!("the query gives {:?}, not true or false", other.type_of())),
            Err(error) => Err(query_words::failure(&error)),
        }
    }
}

/// Signs outside texts and comments that may nest.
fn signs(text: &str) -> usize {
    let letters: Vec<char> = text.chars().collect();
    let (mut count, mut at) = (0, 0);
    while let Some(&letter) = letters.get(at) {
        let comment = letter == '/' && letters.get(at + 1) == Some(&'/');
        at = match letter {
            '"' | '\'' => end_of_text(&letters, at),
            _ if comment => {
                letters[at..].iter().position(|letter| *letter == '\n').map_or(letters.len(), |length| at + length)
            }
            _ => at + 1,
        };
        // An operator of two letters counts once.
        let operator = !comment && "+-*/%<>=!&|".contains(letter) && letters.get(at) != Some(&letter);
        count += usize::from(operator || "([{?.".contains(letter));
    }
    count
}

/// Where the text ends that begins here: it may be raw, and its quotes threefold.
fn end_of_text(letters: &[char], start: usize) -> usize {
    let quote = letters[start];
    let prefix = letters[..start].iter().rev().take(2).take_while(|letter| "rRbB".contains(**letter));
    let raw = prefix.clone().any(|letter| "rR".contains(*letter));
    let mark = vec![quote; if letters[start..].starts_with(&[quote; 3]) { 3 } else { 1 }];
    let mut at = start + mark.len();
    while at < letters.len() {
        if !raw && letters[at] == '\\' {
            at += 2;
        } else if letters[at..].starts_with(&mark) {
            return at + mark.len();
        } else {
            at += 1;
        }
    }
    letters.len()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::platform::Platform;

    /// A machine with something of everything.
    pub(in crate::plan) fn client(id: &str, ring: &str) -> ClientFacts {
        ClientFacts {
            id: id.into(),
            labels: [("ring".to_owned(), ring.to_owned())].into(),
            inventory: Inventory {
                hostname: format!("host-{id}"),
                platform: Platform {
                    os: Some("linux".into()),
                    distribution: Some("debian".into()),
                    ..Platform::default()
                },
                cpus: 4,
                addresses: vec!["10.1.0.7".into(), "192.0.2.1".into()],
                packages: [("bash".to_owned(), "5.2".to_owned())].into(),
                facts: [("role".to_owned(), serde_json::json!({"name": "kiosk"}))].into(),
                ..Inventory::default()
            },
        }
    }

    #[test]
    fn inventory_packages_and_facts_are_queryable() {
        for (text, expected) in [
            (r#"client.packages["bash"].startsWith("5.")"#, true),
            (r#""bash" in client.packages"#, true),
            (r#""vim" in client.packages"#, false),
            (r#"client.facts.role.name == "kiosk""#, true),
            ("client.cpus >= 4", true),
            (r#"client.addresses.exists(a, a.startsWith("10.1."))"#, true),
            (r#"client.addresses.all(a, client.addresses.exists_one(b, a == b))"#, true),
            (r#"client.packages.exists(name, name == "vim") || client.addresses.filter(a, a == "::1") != []"#, false),
            (r#"has(client.labels.site)"#, false),
        ] {
            assert_eq!(Query::compile(text).unwrap().selects(&client("c1", "x")), Ok(expected), "{text}");
        }
    }

    /// Whatever is nested, the answer is an answer and not the end of the process.
    #[test]
    fn no_query_exhausts_the_stack() {
        let try_it = |query: &str| Query::compile(query).map(|query| query.selects(&client("c1", "x")));
        let around =
            |open: &str, levels: usize, close: &str| format!("{}true{}", open.repeat(levels), close.repeat(levels));
        assert_eq!(try_it(&around("(", SIGNS_MAX + 1, ")")).err(), Some(QueryError::TooDeep));
        for (open, close) in [("(", ")"), ("!(", ")"), ("[", "]"), ("{1: ", "}"), ("true ? ", " : false"), ("x(", ")")]
        {
            let _ = try_it(&around(open, SIGNS_MAX / signs(open), close));
        }
        for (start, more) in [("client", ".a"), ("1", "+1"), ("true", "&&true"), ("true", "==true"), ("'a'", "['a']")] {
            let _ = try_it(&format!("{start}{}", more.repeat(SIGNS_MAX / signs(more))));
        }
        for sign in ["!", "-"] {
            let _ = try_it(&format!("{}true", sign.repeat(QUERY_CHARS_MAX - 4)));
        }
    }

    #[test]
    fn signs_count_outside_texts() {
        for (text, expected) in [
            ("client.id == 'a.b.c' || true", 3),
            (r#"client.id in ["((((", '\'((', "\"(("]"#, 2),
            (r"x.matches(r'\') && (true)", 4),
            (
                r#"'''it's (''' == """a"(""" // (((
((("#,
                4,
            ),
            (r"br'\'((", 2),
        ] {
            assert_eq!(signs(text), expected, "{text}");
        }
    }

    /// A client that says of itself as much as an inventory takes costs no more than others, whatever is asked of it.
    #[test]
    fn a_talkative_client_is_no_burden() {
        let mut talkative = client("c1", "x");
        talkative.inventory.facts = [
            ("a".to_owned(), serde_json::json!(vec![1; 32_000])),
            ("s".to_owned(), serde_json::json!("a".repeat(65_000))),
        ]
        .into();
        talkative.inventory.packages = (0..2_000).map(|n| (format!("package-{n}"), "1.0-1".to_owned())).collect();
        let refused = |query: &str| Query::compile(query).unwrap().selects(&talkative).unwrap_err();
        for query in [
            "has(client.facts.a) && client.facts.a.all(x, !(2 in client.facts.a))",
            "has(client.facts.a) && client.facts.a.all(x, client.facts.a == client.facts.a)",
            r#"has(client.facts.s) && client.facts.a.all(x, client.facts.s.matches("^(a|aa)+$"))"#,
            "has(client.facts.a) && client.facts.a.map(x, client.facts.s + client.facts.s).size() > 0",
        ] {
            assert!(refused(query).contains("steps would be needed"), "{query}");
        }
        for (query, expected) in [
            ("2 in client.facts.a", false),
            ("client.facts.a.exists(x, x == 2)", false),
            (r#"client.facts.s.matches("^a+$")"#, true),
            (r#"client.packages.filter(name, name.startsWith("package-1")).size() > 3"#, true),
            (r#"client.packages.all(name, client.packages[name] == "1.0-1")"#, true),
        ] {
            assert_eq!(Query::compile(query).unwrap().selects(&talkative), Ok(expected), "{query}");
        }
    }

    #[test]
    fn bad_queries_are_refused() {
        assert!(matches!(Query::compile("client.id =="), Err(QueryError::Parse(_))));
        assert_eq!(Query::compile("machine.id == 'a'").err(), Some(QueryError::Unknown("machine".into())));
        // A macro's own variable is known inside the macro and nowhere else.
        for outside in ["client.addresses.all(a, b == a)", "client.addresses.exists(b, true) && b", "b.map(b, b) == []"]
        {
            assert_eq!(Query::compile(outside).err(), Some(QueryError::Unknown("b".into())), "{outside}");
        }
        assert_eq!(Query::compile("client.id").err(), Some(QueryError::NotBoolean("a text")));
        let nested = "client.packages.all(a, client.packages.all(b, a == b))";
        assert_eq!(Query::compile(nested).err(), Some(QueryError::TooCostly));
        // What only the client's own facts tell.
        assert!(Query::compile("client.facts.role").unwrap().selects(&client("c1", "x")).is_err());
    }
}
