//! The names that a CEL expression takes from outside: those that no macro of its own (`exists`, `all`, `map` …) binds.
//! It does not evaluate.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};

/// The first name, in reading order, that the expression uses and that neither `known` has nor a macro binds.
pub(super) fn first_unknown<'a>(expression: &'a IdedExpr, known: &[&'a str]) -> Option<&'a str> {
    let of = |part| first_unknown(part, known);
    match &expression.expr {
        Expr::Ident(name) => (!known.contains(&name.as_str())).then_some(name.as_str()),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).find_map(of),
        Expr::Select(select) => of(&select.operand),
        Expr::List(list) => list.elements.iter().find_map(of),
        Expr::Map(map) => map.entries.iter().find_map(|entry| of_entry(&entry.expr, known)),
        Expr::Struct(object) => object.entries.iter().find_map(|entry| of_entry(&entry.expr, known)),
        Expr::Comprehension(comprehension) => of_comprehension(comprehension, known),
        Expr::Literal(_) | Expr::Unspecified => None,
    }
}

fn of_entry<'a>(entry: &'a EntryExpr, known: &[&'a str]) -> Option<&'a str> {
    match entry {
        EntryExpr::MapEntry(entry) => first_unknown(&entry.key, known).or_else(|| first_unknown(&entry.value, known)),
        EntryExpr::StructField(field) => first_unknown(&field.value, known),
    }
}

/// What a macro walks and starts from is outside; its variables are known only in its steps and its result.
fn of_comprehension<'a>(comprehension: &'a ComprehensionExpr, known: &[&'a str]) -> Option<&'a str> {
    let mut inside = known.to_vec();
    inside.push(&comprehension.accu_var);
    inside.push(&comprehension.iter_var);
    inside.extend(comprehension.iter_var2.as_deref());
    let outside = [&comprehension.iter_range, &comprehension.accu_init];
    outside
        .into_iter()
        .find_map(|part| first_unknown(part, known))
        .or_else(|| first_unknown(&comprehension.loop_cond, &inside))
        .or_else(|| first_unknown(&comprehension.loop_step, &inside))
        .or_else(|| first_unknown(&comprehension.result, &inside))
}
