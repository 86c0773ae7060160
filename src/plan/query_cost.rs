//! How many steps a query can take at most on one client, from its text and the lengths of the client's lists: a macro inside
//! a macro multiplies, and a few characters more make a query that does not end in a lifetime. It does not evaluate.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};

/// Steps that a query may take on one client: about half a second on a slow machine, and enough for one pass over as many
/// packages as an inventory may name.
pub(super) const STEPS_MAX: u64 = 1_000_000;

/// How long the lists and maps of a client are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) packages: u64,
    pub(super) addresses: u64,
    pub(super) disks: u64,
    pub(super) labels: u64,
    /// Values in all facts together: no list among them is longer.
    pub(super) facts: u64,
}

impl Lengths {
    /// A well-filled machine: what a query must bear to be accepted at all.
    pub(super) const USUAL: Self = Self { packages: 2_000, addresses: 8, disks: 8, labels: 16, facts: 100 };

    /// The longest of them, or of what a client has besides.
    fn longest(&self) -> u64 {
        [16, self.packages, self.addresses, self.disks, self.labels, self.facts].into_iter().max().unwrap_or_default()
    }
}

/// A value's length as a list or map, and the longest of what it holds at any depth.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    length: u64,
    inner: u64,
}

impl Shape {
    fn holding(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::default(), |all, part| Self {
            length: all.length + 1,
            inner: all.inner.max(part.length).max(part.inner),
        })
    }

    fn either(self, other: Self) -> Self {
        Self { length: self.length.max(other.length), inner: self.inner.max(other.inner) }
    }

    fn member(self) -> Self {
        Self { length: self.inner, inner: self.inner }
    }
}

/// Names that macros bind, innermost last.
type Bound<'a> = Vec<(&'a str, Shape)>;

/// The most steps that the expression takes on a client with such lists.
pub(super) fn steps(expression: &IdedExpr, lengths: &Lengths) -> u64 {
    look(expression, lengths, &Vec::new()).0
}

/// Steps, and the shape of the result.
fn look(expression: &IdedExpr, lengths: &Lengths, bound: &Bound<'_>) -> (u64, Shape) {
    let of = |part: &IdedExpr| look(part, lengths, bound);
    match &expression.expr {
        Expr::Ident(name) => {
            let known = bound.iter().rev().find(|(bound, _)| bound == name).map(|(_, shape)| *shape);
            (1, known.unwrap_or(Shape { length: lengths.longest(), inner: lengths.longest() }))
        }
        Expr::Literal(_) | Expr::Unspecified => (1, Shape::default()),
        Expr::Select(select) => {
            let (steps, shape) = of(&select.operand);
            let known = of_client(&select.operand, &select.field, lengths, bound);
            (steps.saturating_add(1), known.unwrap_or(shape.member()))
        }
        Expr::List(list) => gathered(list.elements.iter().map(of)),
        Expr::Map(map) => gathered(map.entries.iter().map(|entry| of_entry(&entry.expr, lengths, bound))),
        Expr::Struct(object) => gathered(object.entries.iter().map(|entry| of_entry(&entry.expr, lengths, bound))),
        Expr::Call(call) => called(call, lengths, bound),
        Expr::Comprehension(comprehension) => repeated(comprehension, lengths, bound),
    }
}

fn of_client(operand: &IdedExpr, field: &str, lengths: &Lengths, bound: &Bound<'_>) -> Option<Shape> {
    let client = matches!(&operand.expr, Expr::Ident(name) if name == "client");
    if !client || bound.iter().any(|(name, _)| *name == "client") {
        return None;
    }
    let length = match field {
        "packages" => lengths.packages,
        "addresses" => lengths.addresses,
        "disks" => lengths.disks,
        "labels" => lengths.labels,
        "facts" => return Some(Shape { length: lengths.facts, inner: lengths.facts }),
        _ => 0,
    };
    // A disk is a small map.
    Some(Shape { length, inner: 4 })
}

fn of_entry(entry: &EntryExpr, lengths: &Lengths, bound: &Bound<'_>) -> (u64, Shape) {
    match entry {
        EntryExpr::StructField(field) => look(&field.value, lengths, bound),
        EntryExpr::MapEntry(entry) => {
            let ((key_steps, _), (steps, shape)) =
                (look(&entry.key, lengths, bound), look(&entry.value, lengths, bound));
            (key_steps.saturating_add(steps), shape)
        }
    }
}

fn gathered(parts: impl Iterator<Item = (u64, Shape)>) -> (u64, Shape) {
    let parts: Vec<_> = parts.collect();
    let steps = parts.iter().fold(1_u64, |sum, (steps, _)| sum.saturating_add(*steps));
    (steps, Shape::holding(parts.into_iter().map(|(_, shape)| shape)))
}

fn called(call: &CallExpr, lengths: &Lengths, bound: &Bound<'_>) -> (u64, Shape) {
    let parts: Vec<_> =
        call.target.as_deref().into_iter().chain(&call.args).map(|part| look(part, lengths, bound)).collect();
    let steps = parts.iter().fold(1_u64, |sum, (steps, _)| sum.saturating_add(*steps));
    let shapes = || parts.iter().map(|(_, shape)| *shape);
    let widest = shapes().fold(Shape::default(), Shape::either);
    let shape = match call.func_name.as_str() {
        operators::ADD => {
            let length = shapes().fold(0_u64, |sum, shape| sum.saturating_add(shape.length));
            Shape { length, ..widest }
        }
        operators::INDEX => widest.member(),
        _ => widest,
    };
    // To look through a list for a value takes a step for each.
    let searched = if call.func_name == operators::IN { widest.length } else { 0 };
    (steps.saturating_add(searched), shape)
}

fn repeated<'a>(comprehension: &'a ComprehensionExpr, lengths: &Lengths, bound: &Bound<'a>) -> (u64, Shape) {
    let (range_steps, range) = look(&comprehension.iter_range, lengths, bound);
    let (start_steps, start) = look(&comprehension.accu_init, lengths, bound);
    let mut inside = bound.clone();
    inside.push((&comprehension.iter_var, range.member()));
    inside.extend(comprehension.iter_var2.as_deref().map(|name| (name, range.member())));
    let result = Shape { length: range.length.max(start.length), inner: range.inner.max(start.inner) };
    inside.push((&comprehension.accu_var, result));
    let (condition_steps, _) = look(&comprehension.loop_cond, lengths, &inside);
    let (step_steps, step) = look(&comprehension.loop_step, lengths, &inside);
    let (end_steps, _) = look(&comprehension.result, lengths, &inside);
    let each = condition_steps.saturating_add(step_steps);
    let steps = each.saturating_mul(range.length).saturating_add(range_steps);
    let shape = Shape { inner: result.inner.max(step.inner), ..result };
    (steps.saturating_add(start_steps).saturating_add(end_steps), shape)
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::*;

    fn usual(query: &str) -> u64 {
        steps(Program::compile(query).unwrap().expression(), &Lengths::USUAL)
    }

    #[test]
    fn what_people_write_is_far_below_the_limit() {
        for query in [
            "true",
            r#"client.labels["ring"] == "pilot" && client.os.distribution == "debian""#,
            r#"client.addresses.exists(a, a.startsWith("10.1."))"#,
            r#"client.packages.exists(name, name.startsWith("linux-image") && client.packages[name] != "6.1")"#,
            r#"["a", "b", "c"].all(name, name in client.packages)"#,
            r#"client.addresses.all(a, ["10.", "192."].exists(start, a.startsWith(start)))"#,
            "client.addresses.all(a, client.addresses.exists_one(b, a == b))",
        ] {
            assert!(usual(query) < STEPS_MAX / 4, "{query}: {}", usual(query));
        }
    }

    #[test]
    fn macros_inside_macros_multiply_whatever_they_walk() {
        let digits = "[1, 2, 3, 4, 5, 6, 7, 8, 9]";
        let nested =
            |depth: usize| (0..depth).fold("true".to_owned(), |inner, at| format!("{digits}.all(x{at}, {inner})"));
        assert!(usual(&nested(3)) < STEPS_MAX);
        assert!(usual(&nested(8)) > STEPS_MAX);
        for query in [
            "client.packages.all(a, client.packages.exists(b, a != b))",
            "client.facts.all(a, client.facts.all(b, client.facts.all(c, client.facts.all(d, true))))",
            // A list of long lists, and one that was made longer first.
            "client.packages.map(a, client.packages).all(b, b.all(c, true))",
            "[client.packages, client.packages].all(a, a.all(b, client.packages.all(c, true)))",
        ] {
            assert!(usual(query) > STEPS_MAX, "{query}: {}", usual(query));
        }
    }

    #[test]
    fn no_number_overflows() {
        let deep = (0..7).fold("true".to_owned(), |inner, at| format!("client.packages.all(x{at}, {inner})"));
        assert_eq!(usual(&deep), u64::MAX);
    }
}
