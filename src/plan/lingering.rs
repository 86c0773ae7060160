//! Who may still read content that no offer gives them any more, because a program that an offer gave them runs yet. Only
//! what a client could read anyway lingers: its word that it runs something opens nothing new.

use std::collections::{BTreeMap, BTreeSet};

use super::offer::Compiled;
use crate::{content::digest::Digest, model::identity::ObjectName};

type Contents = BTreeMap<ObjectName, BTreeSet<Digest>>;

/// Clients that read on, with the advertisements whose programs run there yet and what each of these gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lingering(BTreeMap<String, Contents>);

/// Clients that lose content with the present evaluation, by what gave it to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losing(BTreeMap<String, Contents>);

impl Losing {
    /// The pairs whose state decides.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &ObjectName)> {
        self.0.iter().flat_map(|(client, lost)| lost.keys().map(move |advertisement| (client.as_str(), advertisement)))
    }
}

impl Lingering {
    /// Whether nobody lingers: then no run's end changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who would lose what between `before`, which this lingering is part of, and `now`: because an offer is gone, or names
    /// another version. Who is not a client any more loses all of it.
    #[must_use]
    pub fn losing(&self, before: &Compiled, now: &Compiled) -> Losing {
        let mut losing: BTreeMap<String, Contents> = BTreeMap::new();
        for (content, clients) in &before.readers {
            let readers = now.readers.get(content);
            let lost = clients.iter().filter(|client| readers.is_none_or(|readers| !readers.contains(*client)));
            for client in lost.filter(|client| now.bodies.contains_key(*client)) {
                let offers = before.bodies.get(client).into_iter().flat_map(|body| &body.offers);
                let offered = offers.filter_map(|offer| before.contents.get_key_value(&offer.advertisement));
                let given = offered.chain(self.0.get(client).into_iter().flatten());
                for (advertisement, _) in given.filter(|(_, contents)| contents.contains(content)) {
                    let lost = losing.entry(client.clone()).or_default();
                    lost.entry(advertisement.clone()).or_default().insert(*content);
                }
            }
        }
        Losing(losing)
    }

    /// Lets those go on reading whose program runs yet, as `running` says.
    #[must_use]
    pub fn keep(losing: Losing, running: impl Fn(&str, &ObjectName) -> bool, now: &mut Compiled) -> Self {
        let mut kept = losing.0;
        for (client, contents) in &mut kept {
            contents.retain(|advertisement, _| running(client, advertisement));
            for content in contents.values().flatten() {
                now.readers.entry(*content).or_default().insert(client.clone());
            }
        }
        kept.retain(|_, contents| !contents.is_empty());
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
                compiled.contents.insert(name(one), [Digest::of(one.as_bytes())].into());
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
        let before = compiled(&[("c1", &["a", "b", "x"]), ("c2", &["a"]), ("gone", &["a"])]);
        let mut now = compiled(&[("c1", &["b"]), ("c2", &[]), ("new", &[])]);
        let losing = Lingering::default().losing(&before, &now);
        let pairs: Vec<_> = losing.pairs().map(|(client, one)| format!("{client} {one}")).collect();
        assert_eq!(pairs, ["c1 ns/a", "c1 ns/x", "c2 ns/a"], "who was deleted or blocked loses it whatever runs");
        let lingering = Lingering::keep(losing, |client, one| client == "c1" && *one == name("a"), &mut now);
        assert!(reads(&now, "c1", "a") && !reads(&now, "c2", "a") && !reads(&now, "gone", "a"));
        assert!(!reads(&now, "c1", "x"), "what does not run is lost");
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

    #[test]
    fn a_new_version_leaves_the_old_one_to_who_runs_it() {
        let before = compiled(&[("c1", &["a"]), ("c2", &["a"])]);
        let mut now = compiled(&[("c1", &["a"]), ("c2", &["a"])]);
        let newer = Digest::of(b"newer");
        now.readers = [(newer, ["c1".to_owned(), "c2".to_owned()].into())].into();
        now.contents = [(name("a"), [newer].into())].into();
        let losing = Lingering::default().losing(&before, &now);
        drop(Lingering::keep(losing, |client, _| client == "c1", &mut now));
        assert!(reads(&now, "c1", "a") && reads(&now, "c1", "newer") && !reads(&now, "c2", "a"));
    }
}
