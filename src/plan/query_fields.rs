//! Fields that a query asks of a client and that no client has: a slip of the pen selects nobody, and nobody is told. Only
//! what is certain counts; facts, labels and packages may be called anything.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::model::words;

/// What a client has; see `ClientView`.
pub(super) const CLIENT: &[&str] = &[
    "id",
    "labels",
    "hostname",
    "os",
    "arch",
    "kernel",
    "agentVersion",
    "cpus",
    "memoryBytes",
    "disks",
    "addresses",
    "packages",
    "facts",
];
/// What its operating system has.
const OS: &[&str] = &["name", "distribution", "version"];
/// What each of its disks has.
const DISK: &[&str] = &["mount", "totalBytes", "freeBytes"];
/// Slips in a name that is still taken for another.
const SLIPS_MAX: usize = 2;

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    Os,
    Disks,
    Disk,
    Anything,
}

impl Kind {
    /// Its fields, if they are known, and how the value is written.
    const fn fields(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::Client => Some(("client", CLIENT)),
            Self::Os => Some(("client.os", OS)),
            Self::Disk => Some(("a disk", DISK)),
            Self::Disks | Self::Anything => None,
        }
    }

    fn field(self, name: &str) -> Self {
        match (self, name) {
            (Self::Client, "os") => Self::Os,
            (Self::Client, "disks") => Self::Disks,
            _ => Self::Anything,
        }
    }
}

/// A sentence for each field that no client has, in the order of the text, each once.
pub(super) fn unknown_fields(expression: &IdedExpr) -> Vec<String> {
    let mut walk = Walk { bound: vec![("client".to_owned(), Kind::Client)], found: Vec::new() };
    walk.kind(expression);
    walk.found
}

struct Walk {
    /// Names and what they stand for, the innermost last.
    bound: Vec<(String, Kind)>,
    found: Vec<String>,
}

impl Walk {
    fn kind(&mut self, expression: &IdedExpr) -> Kind {
        match &expression.expr {
            Expr::Ident(name) => {
                self.bound.iter().rev().find(|(bound, _)| bound == name).map_or(Kind::Anything, |(_, kind)| *kind)
            }
            Expr::Select(select) => {
                let of = self.kind(&select.operand);
                self.field(of, &select.field)
            }
            Expr::Call(call) => self.called(call),
            Expr::List(list) => self.each(&list.elements),
            Expr::Map(map) => map.entries.iter().fold(Kind::Anything, |_, entry| self.entry(&entry.expr)),
            Expr::Struct(object) => object.entries.iter().fold(Kind::Anything, |_, entry| self.entry(&entry.expr)),
            Expr::Comprehension(comprehension) => self.comprehended(comprehension),
            Expr::Literal(_) | Expr::Unspecified => Kind::Anything,
        }
    }

    fn each<'a>(&mut self, all: impl IntoIterator<Item = &'a IdedExpr>) -> Kind {
        for one in all {
            self.kind(one);
        }
        Kind::Anything
    }

    fn entry(&mut self, entry: &EntryExpr) -> Kind {
        match entry {
            EntryExpr::MapEntry(entry) => self.each([&entry.key, &entry.value]),
            EntryExpr::StructField(field) => self.each([&field.value]),
        }
    }

    fn called(&mut self, call: &CallExpr) -> Kind {
        if let (operators::INDEX, [of, key]) = (call.func_name.as_str(), call.args.as_slice()) {
            let of = self.kind(of);
            return match (of, &key.expr) {
                (Kind::Disks, _) => {
                    self.kind(key);
                    Kind::Disk
                }
                (_, Expr::Literal(LiteralValue::String(name))) => self.field(of, name.inner()),
                _ => self.each([key]),
            };
        }
        self.each(call.target.as_deref().into_iter().chain(&call.args))
    }

    fn comprehended(&mut self, one: &ComprehensionExpr) -> Kind {
        let range = self.kind(&one.iter_range);
        self.kind(&one.accu_init);
        let outside = self.bound.len();
        let element = if range == Kind::Disks { Kind::Disk } else { Kind::Anything };
        self.bound.push((one.iter_var.clone(), element));
        self.bound.extend(one.iter_var2.clone().map(|name| (name, Kind::Anything)));
        self.bound.push((one.accu_var.clone(), Kind::Anything));
        self.each([&one.loop_cond, &one.loop_step, &one.result]);
        self.bound.truncate(outside);
        Kind::Anything
    }

    fn field(&mut self, of: Kind, name: &str) -> Kind {
        if let Some((what, fields)) = of.fields()
            && !fields.contains(&name)
        {
            let hint = match words::nearest(name, fields.iter().copied(), SLIPS_MAX) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", fields.join(", ")),
            };
            let text = format!("no client has `{name}` in `{what}`: {hint}").replace("`a disk`", "a disk");
            if !self.found.contains(&text) {
                self.found.push(text);
            }
        }
        of.field(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::query::{ClientFacts, Query},
        wire::inventory::Disk,
    };

    fn unknown(query: &str) -> Vec<String> {
        Query::compile(query).unwrap().unknown_fields()
    }

    #[test]
    fn a_field_that_no_client_has_is_named_with_what_was_meant() {
        for (query, expected) in [
            (r#"client.hostnam == "vm""#, "no client has `hostnam` in `client`: did you mean `hostname`?"),
            (r#"client["hostnam"] == "vm""#, "no client has `hostnam` in `client`: did you mean `hostname`?"),
            ("has(client.memorybytes)", "no client has `memorybytes` in `client`: did you mean `memoryBytes`?"),
            (
                r#"client.os.distro == "debian""#,
                "no client has `distro` in `client.os`: there are name, distribution, version",
            ),
            ("client.disks[0].free > 1", "no client has `free` in a disk: there are mount, totalBytes, freeBytes"),
            ("client.disks.exists(d, d.mont == '/')", "no client has `mont` in a disk: did you mean `mount`?"),
            (
                "client.cpus > 1 && [client.colour] == ['red']",
                "no client has `colour` in `client`: there are id, labels, ",
            ),
        ] {
            let found = unknown(query);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{query}: {found:?}");
        }
        assert_eq!(unknown("client.a == 1 || client.a == 2 || client.b == 3").len(), 2, "each once");
    }

    #[test]
    fn what_may_be_called_anything_is_not_judged() {
        for query in [
            r#"client.labels.ring == "pilot" && client.labels["any"] == "x""#,
            r#"client.facts.kiosk.deep.er == 1 || "vim" in client.packages"#,
            r#"client.packages["vim"].startsWith("9")"#,
            "client.disks.all(d, d.freeBytes * 2 > d.totalBytes && d.mount != '')",
            "client.addresses.exists(client, client == '::1')",
            "{'a': client.cpus}.a > 1",
        ] {
            assert_eq!(unknown(query), [""; 0], "{query}");
        }
    }

    /// The list here, the client as it is shown to queries, and the page for users say the same.
    #[test]
    fn every_field_is_there_and_described() {
        let page = include_str!("../../docs/queries.md");
        let client = ClientFacts::default();
        let all = [("client.", CLIENT), ("client.os.", OS)];
        for (path, field) in all.iter().flat_map(|(path, fields)| fields.iter().map(move |field| (path, field))) {
            let name = format!("{path}{field}");
            assert_eq!(Query::compile(&format!("has({name})")).unwrap().selects(&client), Ok(true), "{name}");
            assert!(page.contains(&format!("`{name}`")) || *field == "os", "{name} is not described");
        }
        for field in DISK {
            assert!(page.contains(&format!("`{field}`")), "{field} is not described");
        }
    }

    #[test]
    fn the_pages_examples_are_queries_that_fail_on_no_client_like_them() {
        let page = include_str!("../../docs/queries.md");
        let mut client = ClientFacts::default();
        client.labels.insert("ring".to_owned(), "pilot".to_owned());
        client.inventory.facts.insert("kiosk".to_owned(), serde_json::json!({"floor": 3}));
        client.inventory.disks = vec![Disk { mount: "/".to_owned(), total_bytes: 5 << 30, free_bytes: 4 << 30 }];
        client.inventory.addresses = vec!["10.1.2.3".to_owned()];
        let is_query = |text: &&str| !text.contains('\n') && (text.contains(' ') || text.ends_with(')'));
        let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
        let spec = page.lines().filter_map(|line| line.trim().strip_prefix("query: "));
        let mut tried = 0;
        for query in quoted.into_iter().filter(|text| text.contains("client.")).filter(is_query).chain(spec) {
            assert!(Query::compile(query).unwrap().selects(&client).is_ok(), "{query}");
            tried += 1;
        }
        assert!(tried >= 10, "{tried}");
    }
}
