//! Which clients a collection selects: direct rules, or a CEL expression over what is known of a client. Labels are set
//! by the server; everything else is the client's own claim. One compiled query is evaluated for many clients.

use std::collections::{BTreeMap, BTreeSet};

use cel::{Context, Program, Value};
use serde::Serialize;

use super::free_names::first_unknown;
use crate::wire::inventory::Inventory;

/// Characters of a query at most; the schema of the kind says the same.
pub const QUERY_CHARS_MAX: usize = 4_096;

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
    #[error("the query does not parse: {0}")]
    Parse(String),
    /// The expression uses something other than `client`.
    #[error("the query uses '{0}', but only 'client' is known")]
    Unknown(String),
}

/// A compiled query rule.
#[derive(Debug)]
pub struct Query {
    program: Program,
}

/// The client as queries see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientView<'a> {
    id: &'a str,
    labels: &'a BTreeMap<String, String>,
    hostname: &'a str,
    os: OsView<'a>,
    arch: &'a str,
    kernel: &'a str,
    agent_version: &'a str,
    cpus: u32,
    memory_bytes: u64,
    disks: &'a [crate::wire::inventory::Disk],
    addresses: &'a [String],
    packages: &'a BTreeMap<String, String>,
    facts: &'a BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct OsView<'a> {
    name: &'a str,
    distribution: &'a str,
    version: &'a str,
}

impl Query {
    /// Compiles a query.
    ///
    /// # Errors
    /// If it does not parse, or names a variable other than `client`.
    pub fn compile(text: &str) -> Result<Self, QueryError> {
        let program = Program::compile(text).map_err(|error| QueryError::Parse(error.to_string()))?;
        if let Some(unknown) = first_unknown(program.expression(), &["client"]) {
            return Err(QueryError::Unknown(unknown.to_owned()));
        }
        Ok(Self { program })
    }

    /// Whether the client is a member. A query that fails on this client, for instance for a fact it does not have,
    /// does not select it: one odd client must not stop the collection (L28).
    ///
    /// # Errors
    /// The text of the failure, for the collection's status.
    pub fn selects(&self, client: &ClientFacts) -> Result<bool, String> {
        let platform = &client.inventory.platform;
        let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
        let (os, distribution, version, arch) =
            (text(&platform.os), text(&platform.distribution), text(&platform.version), text(&platform.arch));
        let view = ClientView {
            id: &client.id,
            labels: &client.labels,
            hostname: &client.inventory.hostname,
            os: OsView { name: &os, distribution: &distribution, version: &version },
            arch: &arch,
            kernel: &client.inventory.kernel,
            agent_version: &client.inventory.agent_version,
            cpus: client.inventory.cpus,
            memory_bytes: client.inventory.memory_bytes,
            disks: &client.inventory.disks,
            addresses: &client.inventory.addresses,
            packages: &client.inventory.packages,
            facts: &client.inventory.facts,
        };
        let mut context = Context::default();
        context.add_variable("client", view).map_err(|error| error.to_string())?;
        match self.program.execute(&context) {
            Ok(Value::Bool(selected)) => Ok(selected),
            Ok(other) => Err(format!("the query gives {:?}, not true or false", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a collection's rules give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Ids of the members.
    pub members: BTreeSet<String>,
    /// Clients on which the query failed, and how the first of them did.
    pub failures: Option<(usize, String)>,
}

/// Evaluates a collection: direct rules and query are OR-ed (domain.md §1.8). Ids of clients that do not exist are no
/// members.
#[must_use]
pub fn evaluate(direct: &[String], query: Option<&Query>, clients: &[ClientFacts]) -> Membership {
    let direct: BTreeSet<&str> = direct.iter().map(String::as_str).collect();
    let mut membership = Membership::default();
    for client in clients {
        let selected = direct.contains(client.id.as_str())
            || query.is_some_and(|query| {
                query.selects(client).unwrap_or_else(|text| {
                    let failures = membership.failures.get_or_insert((0, text));
                    failures.0 += 1;
                    false
                })
            });
        if selected {
            membership.members.insert(client.id.clone());
        }
    }
    membership
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::platform::Platform;

    fn client(id: &str, ring: &str) -> ClientFacts {
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
    fn rules_add_up() {
        let clients = [client("c1", "pilot"), client("c2", "broad"), client("c3", "broad")];
        let query =
            Query::compile(r#"client.labels["ring"] == "pilot" && client.os.distribution == "debian""#).unwrap();
        let membership = evaluate(&["c3".into(), "nobody".into()], Some(&query), &clients);
        assert_eq!(membership.members, ["c1".to_owned(), "c3".to_owned()].into());
        assert_eq!(membership.failures, None);
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

    #[test]
    fn a_query_that_fails_on_one_client_selects_the_others() {
        let mut odd = client("odd", "x");
        odd.inventory.facts.clear();
        let query = Query::compile(r#"client.facts.role.name == "kiosk""#).unwrap();
        let membership = evaluate(&[], Some(&query), &[odd, client("c1", "x")]);
        assert_eq!(membership.members, ["c1".to_owned()].into());
        assert_eq!(membership.failures.unwrap().0, 1);
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
        assert!(Query::compile("client.id").unwrap().selects(&client("c1", "x")).is_err());
    }
}
