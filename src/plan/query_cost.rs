//! How many steps a query can take at most on one client, from its text and the sizes of what the client says: a macro inside
//! a macro multiplies, and so does whatever is copied or compared in it. It does not evaluate.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::query_flat::field_of;

/// Steps that a query may take on one client: about half a second on a slow machine, and enough for one pass over as many
/// packages as an inventory may name.
pub(super) const STEPS_MAX: u64 = 1_000_000;
/// Values that are copied or compared in the time of a step.
const VALUES_A_STEP: u64 = 16;
/// Values that a macro may gather for the price of a step: memory is dearer than time.
const GATHERED_A_STEP: u64 = 4;
/// Bytes of a text that count as a value.
const VALUE_BYTES: usize = 64;
/// What a search by pattern costs beside the text: the pattern was compiled beforehand.
const SEARCH_STEPS: u64 = 4;
/// Letters of a pattern that make it take as long again.
const PATTERN_CHARS: usize = 8;

/// The size of one field of a client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Items, if it is a list or a map.
    pub(super) length: u64,
    /// Values of all it holds, at any depth; long texts count as several.
    pub(super) weight: u64,
    /// The same of the heaviest thing that it holds.
    pub(super) heaviest: u64,
}

impl Part {
    /// Adds an item of this weight.
    pub(super) fn add(&mut self, weight: u64) {
        self.length += 1;
        self.weight += weight;
        self.heaviest = self.heaviest.max(weight);
    }
}

/// How many values a text counts as.
pub(super) fn text_weight(text: &str) -> u64 {
    1 + u64::try_from(text.len() / VALUE_BYTES).unwrap_or(u64::MAX)
}

/// How large the fields of a client are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) packages: Part,
    pub(super) addresses: Part,
    pub(super) disks: Part,
    pub(super) labels: Part,
    /// All facts together: nothing among them is longer or heavier.
    pub(super) facts: Part,
    /// The heaviest of all other fields.
    pub(super) rest: u64,
}

impl Sizes {
    /// A well-filled machine: what a query must bear to be accepted at all.
    pub(super) const USUAL: Self = {
        const fn part(length: u64, each: u64) -> Part {
            Part { length, weight: length * each, heaviest: each }
        }
        Self {
            packages: part(2_000, 2),
            addresses: part(8, 1),
            disks: part(8, 4),
            labels: part(16, 2),
            facts: Part { length: 100, weight: 100, heaviest: 100 },
            rest: 4,
        }
    };

    /// The client as a whole.
    fn whole(&self) -> Shape {
        let parts = [self.packages, self.addresses, self.disks, self.labels, self.facts];
        let length = parts.iter().map(|part| part.length).fold(16, u64::max);
        let weight = parts.iter().fold(16 + self.rest, |sum, part| sum.saturating_add(part.weight));
        Shape { length, inner: length, weight, heaviest: weight }
    }

    fn field(&self, name: &str) -> Shape {
        let part = match name {
            "packages" => self.packages,
            "addresses" => self.addresses,
            "disks" => self.disks,
            "labels" => self.labels,
            "facts" => {
                let Part { length, weight, .. } = self.facts;
                return Shape { length, inner: length, weight, heaviest: weight };
            }
            _ => Part { length: 0, weight: self.rest, heaviest: self.rest },
        };
        // A disk is a small map.
        Shape { length: part.length, inner: 4, weight: part.weight, heaviest: part.heaviest }
    }
}

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Its length as a list or map.
    length: u64,
    /// The longest of what it holds at any depth.
    inner: u64,
    /// How many values it is.
    weight: u64,
    /// The heaviest of what it holds at any depth.
    heaviest: u64,
}

impl Shape {
    /// A number, a boolean.
    const ONE: Self = Self { length: 0, inner: 0, weight: 1, heaviest: 0 };

    fn holding(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::ONE, |all, part| Self {
            length: all.length + 1,
            inner: all.inner.max(part.length).max(part.inner),
            weight: all.weight.saturating_add(part.weight),
            heaviest: all.heaviest.max(part.weight).max(part.heaviest),
        })
    }

    fn either(self, other: Self) -> Self {
        Self {
            length: self.length.max(other.length),
            inner: self.inner.max(other.inner),
            weight: self.weight.max(other.weight),
            heaviest: self.heaviest.max(other.heaviest),
        }
    }

    fn member(self) -> Self {
        Self { length: self.inner, inner: self.inner, weight: self.heaviest.max(1), heaviest: self.heaviest }
    }
}

/// Steps that it takes to copy or compare so many values.
const fn moved(weight: u64) -> u64 {
    weight / VALUES_A_STEP
}

/// Names that macros bind, innermost last.
type Bound<'a> = Vec<(&'a str, Shape)>;

/// The most steps that the expression takes on a client of such sizes. It is one that [`super::query_flat`] has made.
pub(super) fn steps(expression: &IdedExpr, sizes: &Sizes) -> u64 {
    look(expression, sizes, &Vec::new()).0
}

/// Steps, and the shape of the result.
fn look(expression: &IdedExpr, sizes: &Sizes, bound: &Bound<'_>) -> (u64, Shape) {
    let of = |part: &IdedExpr| look(part, sizes, bound);
    match &expression.expr {
        Expr::Ident(name) => {
            let known = bound.iter().rev().find(|(bound, _)| bound == name).map(|(_, shape)| *shape);
            (1, known.unwrap_or_else(|| field_of(name).map_or_else(|| sizes.whole(), |field| sizes.field(field))))
        }
        Expr::Literal(LiteralValue::String(text)) => (1, Shape { weight: text_weight(text.inner()), ..Shape::ONE }),
        Expr::Literal(_) | Expr::Unspecified => (1, Shape::ONE),
        Expr::Select(select) => {
            let (steps, shape) = of(&select.operand);
            if select.test {
                return (steps.saturating_add(1), Shape::ONE);
            }
            // Whatever is taken out of something is copied.
            (steps.saturating_add(1 + moved(shape.member().weight)), shape.member())
        }
        Expr::List(list) => gathered(list.elements.iter().map(of)),
        Expr::Map(map) => gathered(map.entries.iter().map(|entry| of_entry(&entry.expr, sizes, bound))),
        Expr::Struct(object) => gathered(object.entries.iter().map(|entry| of_entry(&entry.expr, sizes, bound))),
        Expr::Call(call) => called(call, sizes, bound),
        Expr::Comprehension(comprehension) => repeated(comprehension, sizes, bound),
    }
}

fn of_entry(entry: &EntryExpr, sizes: &Sizes, bound: &Bound<'_>) -> (u64, Shape) {
    match entry {
        EntryExpr::StructField(field) => look(&field.value, sizes, bound),
        EntryExpr::MapEntry(entry) => {
            let ((key_steps, key), (steps, shape)) = (look(&entry.key, sizes, bound), look(&entry.value, sizes, bound));
            (key_steps.saturating_add(steps), Shape { weight: key.weight.saturating_add(shape.weight), ..shape })
        }
    }
}

fn gathered(parts: impl Iterator<Item = (u64, Shape)>) -> (u64, Shape) {
    let parts: Vec<_> = parts.collect();
    let steps = parts.iter().fold(1_u64, |sum, (steps, _)| sum.saturating_add(*steps));
    (steps, Shape::holding(parts.into_iter().map(|(_, shape)| shape)))
}

fn called(call: &CallExpr, sizes: &Sizes, bound: &Bound<'_>) -> (u64, Shape) {
    let parts: Vec<_> =
        call.target.as_deref().into_iter().chain(&call.args).map(|part| look(part, sizes, bound)).collect();
    let steps = parts.iter().fold(1_u64, |sum, (steps, _)| sum.saturating_add(*steps));
    let shapes: Vec<Shape> = parts.iter().map(|(_, shape)| *shape).collect();
    let (more, shape) = of_call(call, &shapes);
    (steps.saturating_add(more), shape)
}

/// What a call takes beside its parts, and gives.
fn of_call(call: &CallExpr, parts: &[Shape]) -> (u64, Shape) {
    let widest = parts.iter().copied().reduce(Shape::either).unwrap_or(Shape::ONE);
    let all = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.weight));
    match (call.func_name.as_str(), parts) {
        (operators::ADD, [one, other]) => {
            let length = one.length.saturating_add(other.length);
            // Of two lists one is left.
            let weight = all.saturating_sub(1);
            (moved(weight), Shape { length, weight, ..widest })
        }
        (operators::IN, [needle, hay]) => {
            // To look through a list for a value takes a step for each.
            let each = 1 + moved(needle.weight.min(hay.heaviest));
            (hay.length.saturating_mul(each), Shape::ONE)
        }
        (
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            [one, other],
        ) => (moved(one.weight.min(other.weight)), Shape::ONE),
        (
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE,
            _,
        ) => (0, Shape::ONE),
        (operators::CONDITIONAL, [_, then, otherwise]) => (0, then.either(*otherwise)),
        (operators::INDEX | operators::OPT_INDEX, [of, _]) => (moved(of.member().weight), of.member()),
        ("matches", _) => (SEARCH_STEPS.saturating_add(searched(call, all)), Shape::ONE),
        // Functions get copies.
        _ => (moved(all), widest),
    }
}

/// To search a text takes the longer, the longer the pattern is.
fn searched(call: &CallExpr, weight: u64) -> u64 {
    let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|last| &last.expr) else {
        return u64::MAX;
    };
    let factor = 1 + u64::try_from(pattern.inner().len() / PATTERN_CHARS).unwrap_or(u64::MAX);
    weight.saturating_mul(factor)
}

fn repeated<'a>(comprehension: &'a ComprehensionExpr, sizes: &Sizes, bound: &Bound<'a>) -> (u64, Shape) {
    let (range_steps, range) = look(&comprehension.iter_range, sizes, bound);
    let (start_steps, start) = look(&comprehension.accu_init, sizes, bound);
    let mut inside = bound.clone();
    inside.push((&comprehension.iter_var, range.member()));
    inside.extend(comprehension.iter_var2.as_deref().map(|name| (name, range.member())));
    let result = Shape { length: range.length.max(start.length), inner: range.inner.max(start.inner), ..start };
    inside.push((&comprehension.accu_var, result));
    let (condition_steps, _) = look(&comprehension.loop_cond, sizes, &inside);
    let (step_steps, step) = look(&comprehension.loop_step, sizes, &inside);
    let (end_steps, _) = look(&comprehension.result, sizes, &inside);

    // What is gathered grows with each round, and each round copies it. Each item is copied once.
    let growth = step.weight.saturating_sub(start.weight);
    let weight = start.weight.saturating_add(growth.saturating_mul(range.length));
    let each = condition_steps.saturating_add(step_steps).saturating_add(moved(weight));
    let steps = [
        each.saturating_mul(range.length),
        range_steps,
        start_steps,
        end_steps,
        moved(range.weight),
        growth.saturating_mul(range.length) / GATHERED_A_STEP,
    ];
    let shape = Shape {
        inner: result.inner.max(step.inner),
        weight,
        heaviest: range.heaviest.max(step.heaviest).max(growth),
        ..result
    };
    (steps.into_iter().fold(0, u64::saturating_add), shape)
}

#[cfg(test)]
mod tests {
    use cel::Program;

    use super::{super::query_flat::flat, *};

    fn on(query: &str, sizes: &Sizes) -> u64 {
        steps(&flat(Program::compile(query).unwrap().expression()).expression, sizes)
    }

    fn usual(query: &str) -> u64 {
        on(query, &Sizes::USUAL)
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
            r#"client.packages.exists(name, name.matches("^linux-image-[0-9]"))"#,
            r#"client.facts.tags.exists(t, t in client.facts.wanted) || "kiosk" in client.facts.tags"#,
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
    fn one_pass_that_gathers_is_still_allowed() {
        for query in [
            r#"client.packages.filter(name, name.startsWith("lib")).size() > 3"#,
            r#"client.packages.map(name, client.packages[name]).exists(v, v == "1")"#,
        ] {
            assert!(usual(query) < STEPS_MAX, "{query}: {}", usual(query));
        }
    }

    /// A client says of itself what it likes: as much as an inventory takes.
    #[test]
    fn what_is_copied_compared_searched_or_gathered_counts_by_its_size() {
        let facts = Part { length: 32_003, weight: 34_000, heaviest: 34_000 };
        let talkative = Sizes { facts, ..Sizes::USUAL };
        for query in [
            "client.facts.a.all(x, !(2 in client.facts.a))",
            "client.facts.a.all(x, client.facts.a == client.facts.a)",
            r#"client.facts.a.all(x, client.facts.s.matches("^(a|aa)+$"))"#,
            r#"client.facts.a.all(x, client.facts.s.contains("b"))"#,
            "client.facts.a.map(x, client.facts.s + client.facts.s).size() > 0",
            "client.facts.a.map(x, client.facts.s).size() > 0",
            "client.facts.a.map(x, x).size() > 0",
            "client.facts.a.all(x, size(client.facts.a) > 1)",
            "client.facts.a.all(x, has(client.facts.a))",
            "client.addresses.all(x, client != client)",
        ] {
            // The very same is nothing on a usual client.
            assert!(usual(query) < STEPS_MAX, "{query}: {}", usual(query));
            let expected = !query.contains("has(") && !query.contains("addresses");
            assert_eq!(on(query, &talkative) > STEPS_MAX, expected, "{query}: {}", on(query, &talkative));
        }
    }

    #[test]
    fn no_number_overflows() {
        let deep = (0..7).fold("true".to_owned(), |inner, at| format!("client.packages.all(x{at}, {inner})"));
        assert_eq!(usual(&deep), u64::MAX);
    }
}
