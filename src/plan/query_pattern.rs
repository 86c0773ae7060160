//! Patterns of `matches`, compiled when the query is: what they may cost is known then, and no client can bring one of its own.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, ExecutionError,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue},
    extractors::This,
};
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take: enough for what people write, and little enough to search with quickly.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// The patterns of one query.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Arc<HashMap<String, Regex>>);

impl Patterns {
    /// Takes the place of the evaluator's own `matches`, which compiles its pattern each time.
    pub(super) fn add_to(&self, context: &mut Context<'_>) {
        if self.0.is_empty() {
            return;
        }
        let known = self.0.clone();
        context.add_function("matches", move |This(text): This<Arc<String>>, pattern: Arc<String>| {
            match known.get(&*pattern) {
                Some(compiled) => Ok(compiled.is_match(&text)),
                None => Err(ExecutionError::function_error("matches", "the pattern is not written out")),
            }
        });
    }
}

/// Compiles every pattern of the expression.
///
/// # Errors
/// Which one is no pattern, too large, or not written out, as a sentence.
pub(super) fn patterns(expression: &IdedExpr) -> Result<Patterns, String> {
    let mut found = HashMap::new();
    find(expression, &mut found)?;
    Ok(Patterns(Arc::new(found)))
}

fn find(expression: &IdedExpr, found: &mut HashMap<String, Regex>) -> Result<(), String> {
    match &expression.expr {
        Expr::Call(call) => {
            if call.func_name == "matches" {
                let pattern = written_out(call)?;
                let compiled = compiled(&pattern)?;
                found.insert(pattern, compiled);
            }
            call.target.as_deref().into_iter().chain(&call.args).try_for_each(|part| find(part, found))
        }
        Expr::Select(select) => find(&select.operand, found),
        Expr::List(list) => list.elements.iter().try_for_each(|part| find(part, found)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| in_entry(&entry.expr, found)),
        Expr::Struct(object) => object.entries.iter().try_for_each(|entry| in_entry(&entry.expr, found)),
        Expr::Comprehension(comprehension) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = &**comprehension;
            [iter_range, accu_init, loop_cond, loop_step, result].into_iter().try_for_each(|part| find(part, found))
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
    }
}

fn in_entry(entry: &EntryExpr, found: &mut HashMap<String, Regex>) -> Result<(), String> {
    match entry {
        EntryExpr::StructField(field) => find(&field.value, found),
        EntryExpr::MapEntry(entry) => find(&entry.key, found).and_then(|()| find(&entry.value, found)),
    }
}

fn written_out(call: &CallExpr) -> Result<String, String> {
    match call.args.last().map(|last| &last.expr) {
        Some(Expr::Literal(LiteralValue::String(pattern))) => Ok(pattern.inner().to_owned()),
        _ => Err("the query's `matches` needs its pattern written out, as in matches(\"^web-[0-9]+$\")".to_owned()),
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the query's pattern {pattern:?} is too large: repeat less in it"),
        other => {
            // The last line says what is wrong; those before it draw where.
            let text = other.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the query's pattern {pattern:?} is none: {why}")
        }
    })
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    fn why(query: &str) -> String {
        patterns(Program::compile(query).unwrap().expression()).unwrap_err()
    }

    #[test]
    fn a_pattern_is_written_out_whole_and_small() {
        assert!(why("client.hostname.matches('(')").contains("unclosed group"));
        assert!(why("client.hostname.matches(client.id)").contains("written out"));
        assert!(why(r"[1].exists(x, client.hostname.matches('(\\w{100}){100}'))").contains("too large"));
        let known = patterns(Program::compile("client.hostname.matches('^a+$')").unwrap().expression()).unwrap();
        assert_eq!(known.0.keys().collect::<Vec<_>>(), ["^a+$"]);
    }
}
