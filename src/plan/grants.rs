//! Which clients a namespace may reach, and as whom its programs may run there: what the Site grants it. Whoever writes
//! advertisements in a namespace decides no more than that. Who is in a collection is decided in [`super::membership`].

use std::collections::{BTreeMap, BTreeSet};

use super::{
    membership::{ChangedClients, Membership, Memberships, Rules},
    query::{ClientFacts, Query, QueryError},
};
use crate::model::reason::Reason;

/// The entry for every namespace that has none of its own.
pub const EVERY_NAMESPACE: &str = "*";

/// What the Site grants one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// A CEL expression over `client`; without one, all clients.
    pub query: Option<String>,
    /// An advertisement that would reach more clients reaches nobody.
    pub max_clients: Option<usize>,
    /// The users that programs may run as; without it, any.
    pub run_as: Option<BTreeSet<String>>,
}

/// The first grant whose query is not valid, by its name, and why.
#[must_use]
pub fn first_invalid(grants: &BTreeMap<String, Grant>) -> Option<(&str, QueryError)> {
    grants.iter().find_map(|(name, grant)| Some((name.as_str(), Query::compile(grant.query.as_deref()?).err()?)))
}

/// What the object of a site that serves its own objects is given at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstGrant {
    /// Nothing: others say what is granted, or it was asked before.
    Nothing,
    /// Only the note that it was asked: it grants something already.
    Note,
    /// Every client for every namespace, and the note.
    Everything,
}

/// Asked once: whoever takes the grant away later has it stay away.
#[must_use]
pub const fn first_grant(is_declared: bool, was_asked: bool, has_grants: bool) -> FirstGrant {
    match (is_declared || was_asked, has_grants) {
        (true, _) => FirstGrant::Nothing,
        (false, true) => FirstGrant::Note,
        (false, false) => FirstGrant::Everything,
    }
}

/// The queries of all grants, kept from one evaluation to the next.
#[derive(Debug, Default)]
pub struct Grants(Memberships<String>);

impl Grants {
    /// Evaluates the grants of a site. `changed` tells which of `clients` are not as they were at the last call.
    pub fn update(
        &mut self,
        site: &str,
        grants: &BTreeMap<String, Grant>,
        clients: &BTreeMap<String, ClientFacts>,
        changed: &ChangedClients,
    ) -> Granted {
        let rules = |grant: &Grant| Some(Rules { direct: Vec::new(), query: Some(grant.query.clone()?) });
        let queries = grants.iter().filter_map(|(name, grant)| Some((name.clone(), rules(grant)?)));
        self.0.update(queries.collect(), clients, changed);
        let entry = |(name, grant): (&String, &Grant)| {
            let clients = match (&grant.query, self.0.of(name)) {
                (Some(query), Some(Ok(selected))) => Clients::Selected(query.clone(), selected),
                (_, Some(Err(error))) => Clients::Invalid(error),
                _ => Clients::All,
            };
            (name.clone(), Entry { clients, max_clients: grant.max_clients, run_as: grant.run_as.clone() })
        };
        Granted { site: site.to_owned(), entries: grants.iter().map(entry).collect() }
    }
}

/// What namespaces may reach at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    site: String,
    entries: BTreeMap<String, Entry>,
}

/// One grant, evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    clients: Clients,
    max_clients: Option<usize>,
    run_as: Option<BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clients {
    All,
    /// Those for which a query is true.
    Selected(String, Membership),
    /// Nobody: the query is not valid.
    Invalid(String),
}

/// Why an advertisement reaches nobody, for people, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The same as a sentence.
    pub text: String,
}

impl Granted {
    /// Every namespace may reach every client.
    #[must_use]
    pub fn everything(site: &str) -> Self {
        let entry = Entry { clients: Clients::All, max_clients: None, run_as: None };
        Self { site: site.to_owned(), entries: [(EVERY_NAMESPACE.to_owned(), entry)].into() }
    }

    /// What a namespace may reach: its own entry counts, and without one that of all.
    ///
    /// # Errors
    /// If that is nobody, whoever is in a collection.
    pub fn of<'a>(&'a self, namespace: &'a str) -> Result<Reach<'a>, Refusal> {
        let site = &self.site;
        let Some((name, entry)) =
            self.entries.get_key_value(namespace).or_else(|| self.entries.get_key_value(EVERY_NAMESPACE))
        else {
            let text = format!(
                "namespace {namespace} is granted no client; whoever owns the site adds `name: {namespace}` to \
                 spec.namespaces of Site {site}"
            );
            return Err(Refusal { reason: Reason::NamespaceNotGranted, text });
        };
        if let Clients::Invalid(error) = &entry.clients {
            let text = format!("the grant '{name}' of Site {site} is not valid: {error}");
            return Err(Refusal { reason: Reason::QueryFailed, text });
        }
        Ok(Reach { site, namespace, name, entry })
    }

    /// On how many clients the queries of grants failed, and how the first of them did: such a client is not reached.
    #[must_use]
    pub fn failures(&self) -> Option<(usize, &str)> {
        let failed = self.entries.values().filter_map(|entry| match &entry.clients {
            Clients::Selected(_, selected) => selected.failures.as_ref(),
            Clients::All | Clients::Invalid(_) => None,
        });
        failed.map(|(count, first)| (*count, first.as_str())).reduce(|(all, first), (count, _)| (all + count, first))
    }
}

/// What one namespace may reach.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    site: &'a str,
    namespace: &'a str,
    name: &'a str,
    entry: &'a Entry,
}

impl Reach<'_> {
    /// Whether this client may be reached at all.
    #[must_use]
    pub fn includes(&self, client: &str) -> bool {
        match &self.entry.clients {
            Clients::All => true,
            Clients::Selected(_, selected) => selected.members.contains(client),
            Clients::Invalid(_) => false,
        }
    }

    /// As [`Reach::includes`], for people.
    ///
    /// # Errors
    /// If it may not be reached.
    pub fn admit(&self, client: &str) -> Result<(), Refusal> {
        let Clients::Selected(query, selected) = &self.entry.clients else { return Ok(()) };
        if selected.members.contains(client) {
            return Ok(());
        }
        let text = format!(
            "the grant '{}' of Site {} does not include it: its query is not true for this client: {query}",
            self.name, self.site
        );
        Err(Refusal { reason: Reason::NamespaceNotGranted, text })
    }

    /// The clients that an advertisement to these members of its collection reaches.
    ///
    /// # Errors
    /// If they are more than it may reach at once.
    pub fn targets<'m>(&self, members: impl IntoIterator<Item = &'m String>) -> Result<BTreeSet<String>, Refusal> {
        let targets: BTreeSet<String> = members.into_iter().filter(|client| self.includes(client)).cloned().collect();
        match self.entry.max_clients {
            Some(max) if targets.len() > max => {
                let text = format!(
                    "it would reach {} clients, and the grant '{}' of Site {} lets namespace {} reach {max} at once: \
                     narrow the collection down, or have maxClients raised",
                    targets.len(),
                    self.name,
                    self.site,
                    self.namespace
                );
                Err(Refusal { reason: Reason::TooManyClients, text })
            }
            _ => Ok(targets),
        }
    }

    /// Whether a program may run as this user; `None` is the agent's own.
    ///
    /// # Errors
    /// If not.
    pub fn may_run(&self, program: &str, user: Option<&str>) -> Result<(), Refusal> {
        let Some(users) = &self.entry.run_as else { return Ok(()) };
        if user.is_some_and(|user| users.contains(user)) {
            return Ok(());
        }
        let whom =
            user.map_or_else(|| "the agent's own user, as it has no runAs".to_owned(), |user| format!("'{user}'"));
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let text = format!(
            "program '{program}' runs as {whom}, and the grant '{}' of Site {} lets programs of namespace {} run as {} only",
            self.name,
            self.site,
            self.namespace,
            users.join(", ")
        );
        Err(Refusal { reason: Reason::RunAsNotGranted, text })
    }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
