//! Which clients a collection selects: direct rules, or a query (`query`). Kept from one evaluation to the next, so that only
//! what changed is looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::query::{ClientFacts, Query, QueryError};
use crate::model::identity::ObjectName;

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
    use crate::plan::query::tests::client;

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
    fn a_query_that_fails_on_one_client_selects_the_others() {
        let mut odd = client("odd", "x");
        odd.inventory.facts.clear();
        let query = r#"client.facts.role.name == "kiosk""#;
        let membership = evaluate(rules(&[], Some(query)), &[odd, client("c1", "x")]);
        assert_eq!(membership.members, ["c1".to_owned()].into());
        assert_eq!(membership.failures.unwrap().0, 1);
    }

    #[test]
    fn a_client_that_makes_a_query_long_is_not_selected_by_it() {
        let mut liar = client("liar", "x");
        liar.inventory.addresses = (0..2_000).map(|number| format!("10.{number}")).collect();
        let query = "client.addresses.all(a, client.addresses.exists(b, a == b))";
        let membership = evaluate(rules(&[], Some(query)), &[liar, client("c1", "x")]);
        assert_eq!(membership.members, ["c1".to_owned()].into());
        assert!(membership.failures.unwrap().1.contains("1000000 are allowed"));
    }
}
