//! What clients are offered while their site is suspended: what they were offered before, and nothing new. It does not
//! keep it; whoever serves the site does, also over a restart.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    grants::Granted,
    offer::{Compiled, Outcome},
};
use crate::{
    content::digest::Digest,
    model::{identity::ObjectName, reason::Reason},
    wire::policy::Offer,
};

/// What was offered when the site was suspended. Clients with equal offers share a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    sets: Vec<Set>,
    clients: BTreeMap<String, usize>,
    offered: Vec<(ObjectName, Digest)>,
    readers: Vec<(Digest, BTreeSet<String>)>,
}

/// Offers and the records of programs that they depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    offers: Vec<Offer>,
    dependencies: Vec<Digest>,
}

impl Held {
    /// What `compiled` offers.
    #[must_use]
    pub fn of(compiled: &Compiled) -> Self {
        let mut held = Self {
            offered: compiled.offered.iter().map(|(name, digest)| (name.clone(), *digest)).collect(),
            readers: compiled.readers.iter().map(|(content, clients)| (*content, clients.clone())).collect(),
            ..Self::default()
        };
        for (client, body) in &compiled.bodies {
            let set = Set { offers: body.offers.clone(), dependencies: body.dependencies.clone() };
            let index = held.sets.iter().position(|one| *one == set).unwrap_or_else(|| {
                held.sets.push(set);
                held.sets.len() - 1
            });
            held.clients.insert(client.clone(), index);
        }
        held
    }

    /// Puts what is held in place of what was compiled. Clients keep getting their configuration; one that joined since
    /// is offered nothing. An advertisement in `suspended` starts nothing any more: that is no new work. Neither is a grant
    /// that is taken back: its offers go.
    pub fn put(&self, compiled: &mut Compiled, suspended: &BTreeSet<ObjectName>, granted: &Granted) {
        let mut members: BTreeMap<ObjectName, (usize, Digest)> = BTreeMap::new();
        for (client, body) in &mut compiled.bodies {
            let set = self.clients.get(client).and_then(|index| self.sets.get(*index)).cloned().unwrap_or_default();
            (body.offers, body.dependencies) = (set.offers, set.dependencies);
            let reached = |namespace: &str| granted.of(namespace).is_ok_and(|reach| reach.includes(client));
            body.offers.retain(|offer| reached(&offer.advertisement.namespace));
            for offer in &mut body.offers {
                offer.suspended |= suspended.contains(&offer.advertisement);
                members.entry(offer.advertisement.clone()).or_insert((0, offer.record)).0 += 1;
            }
        }
        for (name, outcome) in &mut compiled.outcomes {
            match (&mut *outcome, members.get(name)) {
                (Outcome::Offered { members, record, .. }, Some(held)) => (*members, *record) = *held,
                (Outcome::Offered { .. }, None) => *outcome = Outcome::Waiting(Reason::Suspended),
                _ => {}
            }
        }
        compiled.offered = self.offered.iter().cloned().collect();
        for (content, clients) in &self.readers {
            compiled.readers.entry(*content).or_default().extend(clients.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{identity::ProgramIdentity, schedule::Rerun},
        wire::policy::{AgentConfig, PolicyBody},
    };

    fn offer(name: &str) -> Offer {
        Offer {
            advertisement: ObjectName::new("n", name),
            program: ProgramIdentity {
                site: "s".into(),
                namespace: "n".into(),
                package: "p".into(),
                program: "r".into(),
            },
            record: Digest::of(name.as_bytes()),
            start: None,
            expires: None,
            assignments: vec![],
            user_may_start: true,
            rerun: Rerun::default(),
            rerun_token: None,
            suspended: false,
        }
    }

    fn compiled(clients: &[&str], names: &[&str]) -> Compiled {
        let body = PolicyBody { offers: names.iter().map(|name| offer(name)).collect(), ..PolicyBody::default() };
        Compiled {
            bodies: clients.iter().map(|client| ((*client).to_owned(), body.clone())).collect(),
            outcomes: names
                .iter()
                .map(|name| {
                    let record = Digest::of(names.concat().as_bytes());
                    (ObjectName::new("n", *name), Outcome::Offered { members: clients.len(), record, lost: false })
                })
                .collect(),
            offered: [(ObjectName::new("n", "p"), Digest::of(names.concat().as_bytes()))].into(),
            contents: BTreeMap::new(),
            readers: [(Digest::of(b"content"), clients.iter().map(|one| (*one).to_owned()).collect())].into(),
        }
    }

    #[test]
    fn clients_keep_what_they_were_offered_and_get_nothing_new() {
        let before = compiled(&["a", "b"], &["old"]);
        let held: Held = serde_json::from_str(&serde_json::to_string(&Held::of(&before)).unwrap()).unwrap();
        assert_eq!(held.sets.len(), 1, "equal offers are kept once");
        let mut now = compiled(&["b", "c"], &["old", "new"]);
        let config = AgentConfig { enabled: false, ..AgentConfig::default() };
        for body in now.bodies.values_mut() {
            body.config = config.clone();
        }
        held.put(&mut now, &BTreeSet::new(), &Granted::everything("main"));
        assert_eq!(now.bodies["b"], PolicyBody { config: config.clone(), ..before.bodies["b"].clone() });
        assert_eq!(now.bodies["c"], PolicyBody { config, ..PolicyBody::default() });
        assert_eq!(
            now.outcomes[&ObjectName::new("n", "old")],
            Outcome::Offered { members: 1, record: Digest::of(b"old"), lost: false }
        );
        assert_eq!(now.outcomes[&ObjectName::new("n", "new")], Outcome::Waiting(Reason::Suspended));
        assert_eq!(now.offered, before.offered);
        assert_eq!(now.readers[&Digest::of(b"content")].len(), 3);
    }

    #[test]
    fn an_advertisement_can_still_be_suspended() {
        let before = compiled(&["a"], &["one", "two"]);
        let mut now = before.clone();
        Held::of(&before).put(&mut now, &[ObjectName::new("n", "two")].into(), &Granted::everything("main"));
        let offers = &now.bodies["a"].offers;
        assert_eq!(offers.iter().map(|offer| offer.suspended).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_grant_can_still_be_taken_back() {
        let before = compiled(&["a"], &["one"]);
        let mut now = before.clone();
        Held::of(&before).put(&mut now, &BTreeSet::new(), &Granted::default());
        assert_eq!(now.bodies["a"].offers, []);
    }
}
