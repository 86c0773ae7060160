//! Who may still read content that no offer gives them any more, because a program that an offer gave them runs yet. Only
//! what a client could read anyway lingers: its word that it runs something opens nothing new.

use std::collections::{BTreeMap, BTreeSet};

use super::offer::Compiled;
use crate::{content::digest::Digest, model::identity::ObjectName};

/// Clients whose offers are gone, with the advertisements whose programs may run there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lingering(BTreeMap<String, BTreeSet<ObjectName>>);

/// Clients that lose content with the present evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losing(BTreeMap<String, Loss>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Loss {
    contents: BTreeSet<Digest>,
    advertisements: BTreeSet<ObjectName>,
}

impl Losing {
    /// The pairs whose state decides.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &ObjectName)> {
        self.0.iter().flat_map(|(client, loss)| loss.advertisements.iter().map(move |one| (client.as_str(), one)))
    }
}

impl Lingering {
    /// Whether nobody lingers: then no run's end changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who would lose what between `before`, which this lingering is part of, and `now`. Who is not a client any more loses
    /// all of it.
    #[must_use]
    pub fn losing(&self, before: &Compiled, now: &Compiled) -> Losing {
        let mut losing: BTreeMap<String, Loss> = BTreeMap::new();
        for (content, clients) in &before.readers {
            let readers = now.readers.get(content);
            let lost = clients.iter().filter(|client| readers.is_none_or(|readers| !readers.contains(*client)));
            for client in lost.filter(|client| now.bodies.contains_key(*client)) {
                losing.entry(client.clone()).or_default().contents.insert(*content);
            }
        }
        for (client, loss) in &mut losing {
            let offered = |compiled: &Compiled| -> BTreeSet<ObjectName> {
                let offers = compiled.bodies.get(client).into_iter().flat_map(|body| &body.offers);
                offers.map(|offer| offer.advertisement.clone()).collect()
            };
            loss.advertisements = &offered(before) - &offered(now);
            loss.advertisements.extend(self.0.get(client).into_iter().flatten().cloned());
        }
        Losing(losing)
    }

    /// Lets those go on reading whose program runs yet, as `running` says.
    #[must_use]
    pub fn keep(losing: Losing, running: impl Fn(&str, &ObjectName) -> bool, now: &mut Compiled) -> Self {
        let mut kept = BTreeMap::new();
        for (client, Loss { contents, mut advertisements }) in losing.0 {
            advertisements.retain(|advertisement| running(&client, advertisement));
            if advertisements.is_empty() {
                continue;
            }
            for content in contents {
                now.readers.entry(content).or_default().insert(client.clone());
            }
            kept.insert(client, advertisements);
        }
        Self(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{identity::ProgramIdentity, schedule::Rerun},
        wire::policy::{Offer, PolicyBody},
    };

    fn name(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    fn offer(advertisement: &str) -> Offer {
        Offer {
            advertisement: name(advertisement),
            program: ProgramIdentity {
                site: "s".into(),
                namespace: "ns".into(),
                package: "p".into(),
                program: "i".into(),
            },
            record: Digest::of(advertisement.as_bytes()),
            start: None,
            expires: None,
            assignments: vec![],
            user_may_start: true,
            rerun: Rerun::IfFailed,
            rerun_token: None,
            suspended: false,
        }
    }

    /// Each client with its offers; an offer's content is named as its advertisement.
    fn compiled(clients: &[(&str, &[&str])]) -> Compiled {
        let mut compiled = Compiled::default();
        for (client, offers) in clients {
            let body = PolicyBody { offers: offers.iter().map(|one| offer(one)).collect(), ..PolicyBody::default() };
            compiled.bodies.insert((*client).to_owned(), body);
            for one in *offers {
                compiled.readers.entry(Digest::of(one.as_bytes())).or_default().insert((*client).to_owned());
            }
        }
        compiled
    }

    fn reads(compiled: &Compiled, client: &str, content: &str) -> bool {
        compiled.readers.get(&Digest::of(content.as_bytes())).is_some_and(|readers| readers.contains(client))
    }

    #[test]
    fn a_client_reads_on_while_its_program_runs_and_no_longer() {
        let before = compiled(&[("c1", &["a", "b"]), ("c2", &["a"]), ("gone", &["a"])]);
        let mut now = compiled(&[("c1", &["b"]), ("c2", &[]), ("new", &[])]);
        let losing = Lingering::default().losing(&before, &now);
        let pairs: Vec<_> = losing.pairs().map(|(client, one)| format!("{client} {one}")).collect();
        assert_eq!(pairs, ["c1 ns/a", "c2 ns/a"], "who was deleted or blocked loses it whatever runs");
        let lingering = Lingering::keep(losing, |client, _| client == "c1", &mut now);
        assert!(reads(&now, "c1", "a") && !reads(&now, "c2", "a") && !reads(&now, "gone", "a"));
        assert!(!reads(&now, "new", "a"), "who never could does not get to");

        // Evaluated again while it runs, and once it has ended.
        let mut later = compiled(&[("c1", &["b"]), ("c2", &[])]);
        let losing = lingering.losing(&now, &later);
        let lingering = Lingering::keep(losing, |client, _| client == "c1", &mut later);
        assert!(reads(&later, "c1", "a") && !lingering.is_empty());
        let mut last = compiled(&[("c1", &["b"]), ("c2", &[])]);
        let lingering = Lingering::keep(lingering.losing(&later, &last), |_, _| false, &mut last);
        assert!(!reads(&last, "c1", "a") && lingering.is_empty());
    }
}
