//! Gives every field of the client that a query names a variable of its own. The evaluator copies what it takes out of a
//! value, so each `client.packages[name]` would copy all packages; a variable is only looked at, and fields that no query names
//! are not handed over at all. It does not evaluate.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::query_fields::CLIENT;

/// What the variable of a field begins with: no name that a query can write has a dot.
const PREFIX: &str = "client.";

/// A query whose fields are variables.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    pub(super) expression: IdedExpr,
    /// The fields that it names.
    pub(super) fields: BTreeSet<String>,
    /// Whether it takes the client as a whole besides.
    pub(super) whole: bool,
}

/// The name of a field's variable.
pub(super) fn variable(field: &str) -> String {
    format!("{PREFIX}{field}")
}

/// The field whose variable this is.
pub(super) fn field_of(variable: &str) -> Option<&str> {
    variable.strip_prefix(PREFIX)
}

/// The same query with variables for fields.
pub(super) fn flat(expression: &IdedExpr) -> Flat {
    let mut flat = Flat { expression: expression.clone(), fields: BTreeSet::new(), whole: false };
    let mut expression = std::mem::take(&mut flat.expression);
    flat.walk(&mut expression, false);
    flat.expression = expression;
    flat
}

impl Flat {
    /// `hidden`: a macro has a variable of its own that is called `client`.
    fn walk(&mut self, expression: &mut IdedExpr, hidden: bool) {
        let field = if hidden { None } else { field(&expression.expr) };
        if let Some((name, test)) = field {
            // A client has all of its fields, if empty ones.
            expression.expr = match test {
                true => Expr::Literal(LiteralValue::Boolean(true.into())),
                false => Expr::Ident(variable(&name)),
            };
            if !test {
                self.fields.insert(name);
            }
            return;
        }
        match &mut expression.expr {
            Expr::Ident(name) => self.whole |= !hidden && name == "client",
            Expr::Call(CallExpr { target, args, .. }) => {
                target.as_deref_mut().into_iter().chain(args).for_each(|part| self.walk(part, hidden));
            }
            Expr::Select(SelectExpr { operand, .. }) => self.walk(operand, hidden),
            Expr::List(list) => list.elements.iter_mut().for_each(|part| self.walk(part, hidden)),
            Expr::Map(map) => self.entries(&mut map.entries, hidden),
            Expr::Struct(object) => self.entries(&mut object.entries, hidden),
            Expr::Comprehension(comprehension) => {
                let names =
                    [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref(), Some(&comprehension.accu_var)];
                let inside = hidden || names.into_iter().flatten().any(|name| name == "client");
                self.walk(&mut comprehension.iter_range, hidden);
                self.walk(&mut comprehension.accu_init, hidden);
                for part in [&mut comprehension.loop_cond, &mut comprehension.loop_step, &mut comprehension.result] {
                    self.walk(part, inside);
                }
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entries(&mut self, entries: &mut [IdedEntryExpr], hidden: bool) {
        for entry in entries {
            match &mut entry.expr {
                EntryExpr::StructField(field) => self.walk(&mut field.value, hidden),
                EntryExpr::MapEntry(entry) => {
                    self.walk(&mut entry.key, hidden);
                    self.walk(&mut entry.value, hidden);
                }
            }
        }
    }
}

/// The field that an expression takes from the client, if a client has it; and whether it only asks for that.
fn field(expression: &Expr) -> Option<(String, bool)> {
    let is_client = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name == "client");
    let (name, test) = match expression {
        Expr::Select(select) if is_client(&select.operand) => (select.field.clone(), select.test),
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == operators::INDEX => match &args[..] {
            [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] if is_client(of) => {
                (name.inner().to_owned(), false)
            }
            _ => return None,
        },
        _ => return None,
    };
    CLIENT.contains(&name.as_str()).then_some((name, test))
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    fn of(query: &str) -> (Vec<String>, bool) {
        let flat = flat(Program::compile(query).unwrap().expression());
        (flat.fields.into_iter().collect(), flat.whole)
    }

    #[test]
    fn fields_become_variables_wherever_they_stand() {
        for (query, fields, whole) in [
            ("client.cpus > 4 && client.os.name == 'linux'", &["cpus", "os"][..], false),
            (r#"client["packages"].exists(p, client.packages[p] == "1")"#, &["packages"], false),
            ("has(client.facts) && has(client.facts.a)", &["facts"], false),
            ("client == client || client.hostnam == 'a'", &[], true),
            ("[{'a': client.id}].exists(x, x.a == client.arch)", &["arch", "id"], false),
            // The name is a macro's own.
            ("[{'id': 'a'}].exists(client, client.id == 'a')", &[], false),
            ("client.addresses.exists(client, client == 'a')", &["addresses"], false),
        ] {
            assert_eq!(of(query), (fields.iter().map(|field| (*field).to_owned()).collect(), whole), "{query}");
        }
    }
}
