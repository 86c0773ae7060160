//! Whether a query can select anything at all: one whose result is never true or false is a mistake that can be seen
//! before any client is asked. Only what is certain counts; facts, for instance, may hold anything.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

/// What an expression gives, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    /// True or false, or nobody knows.
    MaybeBoolean,
    /// Surely something else, in words.
    Other(&'static str),
    /// The client itself.
    Client,
    /// A map that holds this only.
    MapOf(&'static str),
}

const NUMBER: &str = "a number";
const TEXT: &str = "a text";
const LIST: &str = "a list";
const MAP: &str = "a map";

/// What the expression gives in place of true or false; nothing if it may give these.
pub(super) fn never_boolean(expression: &IdedExpr) -> Option<&'static str> {
    match gives(expression) {
        Gives::MaybeBoolean => None,
        Gives::Other(what) => Some(what),
        Gives::Client | Gives::MapOf(_) => Some(MAP),
    }
}

fn gives(expression: &IdedExpr) -> Gives {
    match &expression.expr {
        Expr::Ident(name) if name == "client" => Gives::Client,
        Expr::Literal(value) => literal(value),
        Expr::List(_) => Gives::Other(LIST),
        Expr::Map(_) | Expr::Struct(_) => Gives::Other(MAP),
        Expr::Select(select) if select.test => Gives::MaybeBoolean,
        Expr::Select(select) => member(gives(&select.operand), Some(&select.field)),
        Expr::Call(call) => called(call),
        Expr::Comprehension(comprehension) => comprehended(comprehension),
        Expr::Ident(_) | Expr::Unspecified => Gives::MaybeBoolean,
    }
}

fn literal(value: &LiteralValue) -> Gives {
    match value {
        LiteralValue::Boolean(_) => Gives::MaybeBoolean,
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Gives::Other(NUMBER),
        LiteralValue::String(_) | LiteralValue::Bytes(_) => Gives::Other(TEXT),
        LiteralValue::Null => Gives::Other("nothing"),
    }
}

/// What is known of a client: see `ClientView`. A member that it lacks is told when the query is evaluated.
fn member(of: Gives, name: Option<&str>) -> Gives {
    match (of, name) {
        (Gives::MapOf(what), _) => Gives::Other(what),
        (Gives::Client, Some("id" | "hostname" | "arch" | "kernel" | "agentVersion")) => Gives::Other(TEXT),
        (Gives::Client, Some("labels" | "packages" | "os")) => Gives::MapOf(TEXT),
        (Gives::Client, Some("cpus" | "memoryBytes")) => Gives::Other(NUMBER),
        (Gives::Client, Some("disks" | "addresses")) => Gives::Other(LIST),
        (Gives::Client, Some("facts")) => Gives::Other(MAP),
        // Members of anything else may be anything, such as those of facts.
        _ => Gives::MaybeBoolean,
    }
}

fn called(call: &CallExpr) -> Gives {
    match call.func_name.as_str() {
        operators::CONDITIONAL => match call.args.as_slice() {
            [_, yes, no] => match (gives(yes), gives(no)) {
                (Gives::MaybeBoolean, _) | (_, Gives::MaybeBoolean) => Gives::MaybeBoolean,
                (what, _) => what,
            },
            _ => Gives::MaybeBoolean,
        },
        operators::INDEX => match call.args.as_slice() {
            [map, key] => member(gives(map), key_text(key)),
            _ => Gives::MaybeBoolean,
        },
        operators::ADD => match call.args.first().map(gives) {
            Some(Gives::Other(what)) => Gives::Other(what),
            _ => Gives::Other("a sum"),
        },
        operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO | operators::NEGATE => {
            Gives::Other(NUMBER)
        }
        "size" | "int" | "uint" | "double" => Gives::Other(NUMBER),
        "string" | "bytes" => Gives::Other(TEXT),
        _ => Gives::MaybeBoolean,
    }
}

fn key_text(key: &IdedExpr) -> Option<&str> {
    match &key.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// A macro gives what it starts from (`filter` a list, `exists` a boolean), unless its result is made of that.
fn comprehended(comprehension: &ComprehensionExpr) -> Gives {
    match &comprehension.result.expr {
        Expr::Ident(name) if *name == comprehension.accu_var => gives(&comprehension.accu_init),
        _ => gives(&comprehension.result),
    }
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    fn judged(query: &str) -> Option<&'static str> {
        never_boolean(Program::compile(query).unwrap().expression())
    }

    #[test]
    fn what_can_never_be_true_or_false_is_seen() {
        for (query, what) in [
            ("1 + 1", NUMBER),
            ("'a' + client.id", TEXT),
            ("-client.cpus", NUMBER),
            ("client", MAP),
            ("client.os", MAP),
            ("client.os.name", TEXT),
            ("client.id", TEXT),
            (r#"client.labels["ring"]"#, TEXT),
            ("client.labels.ring", TEXT),
            (r#"client["id"]"#, TEXT),
            ("client.facts", MAP),
            ("client.addresses", LIST),
            ("client.addresses.filter(a, a == '::1')", LIST),
            ("client.addresses.map(a, a == '::1')", LIST),
            ("size(client.addresses)", NUMBER),
            ("client.cpus > 1 ? 'a' : 'b'", TEXT),
            ("[true]", LIST),
            ("{'a': true}", MAP),
            ("null", "nothing"),
        ] {
            assert_eq!(judged(query), Some(what), "{query}");
        }
    }

    #[test]
    fn what_may_be_is_left_to_the_clients() {
        for query in [
            "true",
            "client.cpus + 1 > 2",
            "!client.facts.kiosk",
            "client.facts.kiosk",
            r#"client.facts["kiosk"]"#,
            "has(client.labels.ring)",
            "'vim' in client.packages",
            "client.addresses.exists(a, a == '::1')",
            "client.addresses.all(a, a != '')",
            "client.addresses.exists_one(a, a == '::1')",
            "client.cpus > 1 ? client.facts.a : 'b'",
            "client.id.startsWith('a') && client.os.name == 'linux'",
            "client.disks[0].anything",
        ] {
            assert_eq!(judged(query), None, "{query}");
        }
    }
}
