//! Which clients a collection selects: direct rules, or a CEL expression over what is known of a client. Labels are set
//! by the server; everything else is the client's own claim. One compiled query is evaluated for many clients.

use std::collections::{BTreeMap, BTreeSet};

use cel::{Context, Program, Value};
use serde::Serialize;

use super::{free_names::first_unknown, query_type::never_boolean, query_words};
use crate::{model::identity::ObjectName, wire::inventory::Inventory};

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
    #[error("the query does not parse {0}")]
    Parse(String),
    /// The expression uses something other than `client`.
    #[error("the query uses '{0}', but only 'client' is known")]
    Unknown(String),
    /// Whatever the client, the expression is neither true nor false.
    #[error("the query gives {0}, not true or false: compare it with something, as `client.cpus >= 4` does")]
    NotBoolean(&'static str),
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
    /// If it does not parse, names a variable other than `client`, or can give neither true nor false.
    pub fn compile(text: &str) -> Result<Self, QueryError> {
        let program = Program::compile(text).map_err(|errors| QueryError::Parse(query_words::fault(&errors)))?;
        if let Some(unknown) = first_unknown(program.expression(), &["client"]) {
            return Err(QueryError::Unknown(unknown.to_owned()));
        }
        if let Some(what) = never_boolean(program.expression()) {
            return Err(QueryError::NotBoolean(what));
        }
        Ok(Self { program })
    }

    /// Whether the client is a member. A query that fails on this client, for instance for a fact it does not have,
    /// does not select it: one odd client must not stop the collection.
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
            Err(error) => Err(query_words::failure(&error)),
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

/// The rules of one collection; they are OR-ed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Ids of clients; those that do not exist are no members.
    pub direct: Vec<String>,
    /// A CEL expression.
    pub query: Option<String>,
}

/// Which clients differ from those that were evaluated last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedClients {
    /// Any of them may.
    All,
    /// These alone; some may be gone.
    Only(BTreeSet<String>),
}

/// Memberships by name, kept from one evaluation to the next: a client that changed is looked at by every collection, a collection
/// that changed looks at every client, and nothing else is looked at.
#[derive(Debug)]
pub struct Memberships<K: Ord = ObjectName> {
    collections: BTreeMap<K, Kept>,
    looks: u64,
}

/// A collection as it was evaluated last.
#[derive(Debug)]
struct Kept {
    rules: Rules,
    query: Result<Option<Query>, QueryError>,
    members: BTreeSet<String>,
    /// Clients on which the query failed, and how.
    failures: BTreeMap<String, String>,
}

impl<K: Ord> Default for Memberships<K> {
    fn default() -> Self {
        Self { collections: BTreeMap::new(), looks: 0 }
    }
}

impl<K: Ord> Memberships<K> {
    /// Brings every collection of `rules` up to date and forgets all others. `changed` tells which of `clients` are not as
    /// they were at the last call.
    pub fn update(
        &mut self,
        rules: BTreeMap<K, Rules>,
        clients: &BTreeMap<String, ClientFacts>,
        changed: &ChangedClients,
    ) {
        self.collections.retain(|name, _| rules.contains_key(name));
        for (name, rules) in rules {
            let known = self.collections.get_mut(&name).filter(|kept| kept.rules == rules);
            self.looks += match (known, changed) {
                (Some(kept), ChangedClients::Only(ids)) => kept.look_at(ids.iter(), clients),
                _ => {
                    let mut kept = Kept::new(rules);
                    let looks = kept.look_at(clients.keys(), clients);
                    self.collections.insert(name, kept);
                    looks
                }
            };
        }
    }

    /// The members of a collection that [`Memberships::update`] was told of, or why its query cannot be used.
    #[must_use]
    pub fn of(&self, name: &K) -> Option<Result<Membership, String>> {
        let kept = self.collections.get(name)?;
        Some(match &kept.query {
            Ok(_) => Ok(kept.membership()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// How often one client was held against one collection so far: what evaluating costs.
    #[must_use]
    pub const fn looks(&self) -> u64 {
        self.looks
    }
}

impl Kept {
    fn new(rules: Rules) -> Self {
        let query = rules.query.as_deref().map(Query::compile).transpose();
        Self { rules, query, members: BTreeSet::new(), failures: BTreeMap::new() }
    }

    /// Looks at these clients anew; says at how many.
    fn look_at<'a>(&mut self, ids: impl Iterator<Item = &'a String>, clients: &BTreeMap<String, ClientFacts>) -> u64 {
        let Ok(query) = &self.query else { return 0 };
        let direct: BTreeSet<&str> = self.rules.direct.iter().map(String::as_str).collect();
        let mut looks = 0;
        for id in ids {
            looks += 1;
            self.failures.remove(id);
            let selected = clients.get(id).is_some_and(|client| {
                direct.contains(id.as_str())
                    || query.as_ref().is_some_and(|query| {
                        query.selects(client).unwrap_or_else(|text| {
                            self.failures.insert(id.clone(), text);
                            false
                        })
                    })
            });
            if selected {
                self.members.insert(id.clone());
            } else {
                self.members.remove(id);
            }
        }
        looks
    }

    fn membership(&self) -> Membership {
        let failures = self.failures.values().next().map(|first| (self.failures.len(), first.clone()));
        Membership { members: self.members.clone(), failures }
    }
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

    fn rules(direct: &[&str], query: Option<&str>) -> Rules {
        Rules { direct: direct.iter().map(ToString::to_string).collect(), query: query.map(str::to_owned) }
    }

    fn name(number: usize) -> ObjectName {
        ObjectName::new("default", format!("c{number}"))
    }

    fn by_id(clients: impl IntoIterator<Item = ClientFacts>) -> BTreeMap<String, ClientFacts> {
        clients.into_iter().map(|client| (client.id.clone(), client)).collect()
    }

    fn evaluate(rules: Rules, clients: &[ClientFacts]) -> Membership {
        let mut memberships = Memberships::default();
        memberships.update([(name(0), rules)].into(), &by_id(clients.iter().cloned()), &ChangedClients::All);
        memberships.of(&name(0)).unwrap().unwrap()
    }

    #[test]
    fn only_what_changed_is_looked_at() {
        const COLLECTIONS: usize = 20;
        const CLIENTS: usize = 30;
        let mut clients = by_id((0..CLIENTS).map(|number| client(&format!("c{number}"), "broad")));
        let pilots = r#"client.labels["ring"] == "pilot""#;
        let mut all: BTreeMap<_, _> = (0..COLLECTIONS).map(|number| (name(number), rules(&[], Some(pilots)))).collect();
        let mut memberships = Memberships::default();
        let none = ChangedClients::Only(BTreeSet::new());
        memberships.update(all.clone(), &clients, &ChangedClients::All);
        let mut expected = (COLLECTIONS * CLIENTS) as u64;
        assert_eq!(memberships.looks(), expected);

        memberships.update(all.clone(), &clients, &none);
        assert_eq!(memberships.looks(), expected, "nothing changed");

        // A client: once for each collection.
        clients.insert("c3".into(), client("c3", "pilot"));
        memberships.update(all.clone(), &clients, &ChangedClients::Only(["c3".to_owned()].into()));
        expected += COLLECTIONS as u64;
        assert_eq!(memberships.looks(), expected);
        assert_eq!(memberships.of(&name(7)).unwrap().unwrap().members, ["c3".to_owned()].into());

        // A collection: once for each client.
        all.insert(name(7), rules(&["c5"], Some(pilots)));
        memberships.update(all.clone(), &clients, &none);
        expected += CLIENTS as u64;
        assert_eq!(memberships.looks(), expected);
        assert_eq!(memberships.of(&name(7)).unwrap().unwrap().members, ["c3".to_owned(), "c5".to_owned()].into());

        // A client that is gone, and a collection that is gone.
        clients.remove("c3");
        all.remove(&name(0));
        memberships.update(all, &clients, &ChangedClients::Only(["c3".to_owned()].into()));
        expected += COLLECTIONS as u64 - 1;
        assert_eq!(memberships.looks(), expected);
        assert_eq!(memberships.of(&name(7)).unwrap().unwrap().members, ["c5".to_owned()].into());
        assert!(memberships.of(&name(0)).is_none());
    }

    #[test]
    fn a_failure_is_over_when_the_client_is_mended() {
        let mut odd = client("odd", "x");
        odd.inventory.facts.clear();
        let mut clients = by_id([odd, client("c1", "x")]);
        let kiosks: BTreeMap<_, _> = [(name(0), rules(&[], Some(r#"client.facts.role.name == "kiosk""#)))].into();
        let mut memberships = Memberships::default();
        memberships.update(kiosks.clone(), &clients, &ChangedClients::All);
        assert_eq!(memberships.of(&name(0)).unwrap().unwrap().failures.unwrap().0, 1);
        clients.insert("odd".into(), client("odd", "x"));
        memberships.update(kiosks, &clients, &ChangedClients::Only(["odd".to_owned()].into()));
        let membership = memberships.of(&name(0)).unwrap().unwrap();
        assert_eq!((membership.members.len(), membership.failures), (2, None));
    }

    #[test]
    fn rules_add_up() {
        let clients = [client("c1", "pilot"), client("c2", "broad"), client("c3", "broad")];
        let query = r#"client.labels["ring"] == "pilot" && client.os.distribution == "debian""#;
        let membership = evaluate(rules(&["c3", "nobody"], Some(query)), &clients);
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
        let query = r#"client.facts.role.name == "kiosk""#;
        let membership = evaluate(rules(&[], Some(query)), &[odd, client("c1", "x")]);
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
        assert_eq!(Query::compile("client.id").err(), Some(QueryError::NotBoolean("a text")));
        // What only the client's own facts tell.
        assert!(Query::compile("client.facts.role").unwrap().selects(&client("c1", "x")).is_err());
    }
}
