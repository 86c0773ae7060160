//! A namespace reaches what its entry says and nothing else, whatever its collections select.

use proptest::{collection, prelude::*};

use super::*;

fn client(id: &str, team: &str) -> (String, ClientFacts) {
    let labels = [("team".to_owned(), team.to_owned())].into();
    (id.to_owned(), ClientFacts { id: id.to_owned(), labels, ..ClientFacts::default() })
}

fn fleet() -> BTreeMap<String, ClientFacts> {
    [client("c1", "web"), client("c2", "web"), client("c3", "db"), client("c4", "")].into()
}

fn query(text: &str) -> Grant {
    Grant { query: Some(text.to_owned()), ..Grant::default() }
}

fn team(name: &str) -> Grant {
    query(&format!(r#"client.labels["team"] == "{name}""#))
}

fn granted(entries: &[(&str, Grant)]) -> Granted {
    let entries = entries.iter().map(|(name, grant)| ((*name).to_owned(), grant.clone())).collect();
    Grants::default().update("main", &entries, &fleet(), &ChangedClients::All)
}

/// What a namespace reaches of the whole fleet.
fn reached(granted: &Granted, namespace: &str) -> Result<Vec<String>, Refusal> {
    let fleet = fleet();
    Ok(granted.of(namespace)?.targets(fleet.keys())?.into_iter().collect())
}

fn refused(granted: &Granted, namespace: &str) -> (Reason, String) {
    let refusal = reached(granted, namespace).unwrap_err();
    (refusal.reason, refusal.text)
}

#[test]
fn without_an_entry_nobody_is_reached_and_the_remedy_is_said() {
    for granted in [granted(&[]), granted(&[("db", Grant::default())])] {
        let (reason, text) = refused(&granted, "web");
        assert_eq!(reason, Reason::NamespaceNotGranted);
        assert!(text.contains("adds `name: web` to spec.namespaces of Site main"), "{text}");
    }
}

#[test]
fn a_namespaces_own_entry_counts_and_without_one_that_of_all() {
    let granted = granted(&[("*", Grant::default()), ("web", team("web"))]);
    assert_eq!(reached(&granted, "web").unwrap(), ["c1", "c2"]);
    assert_eq!(reached(&granted, "other").unwrap(), ["c1", "c2", "c3", "c4"]);
    assert!(granted.of("web").unwrap().admit("c1").is_ok());
    let text = granted.of("web").unwrap().admit("c3").unwrap_err().text;
    assert!(text.contains("the grant 'web' of Site main") && text.contains("\"team\"] == \"web\""), "{text}");
}

#[test]
fn more_clients_than_it_may_reach_at_once_are_none() {
    let at_most = |max| granted(&[("web", Grant { max_clients: Some(max), ..team("web") })]);
    assert_eq!(reached(&at_most(2), "web").unwrap().len(), 2);
    let (reason, text) = refused(&at_most(1), "web");
    assert_eq!(reason, Reason::TooManyClients);
    assert!(text.contains("would reach 2 clients") && text.contains("reach 1 at once"), "{text}");
    // Only whom the query selects counts.
    let fleet = fleet();
    let granted = at_most(1);
    let one = ["c1", "c3", "c4"].map(|id| fleet.get_key_value(id).unwrap().0);
    assert_eq!(granted.of("web").unwrap().targets(one).unwrap(), ["c1".to_owned()].into());
}

#[test]
fn programs_run_as_the_users_of_the_grant_and_as_no_other() {
    let users = Some(["app".to_owned(), "web".to_owned()].into());
    let limited = granted(&[("web", Grant { run_as: users, ..Grant::default() })]);
    let reach = limited.of("web").unwrap();
    assert!(reach.may_run("p", Some("app")).is_ok());
    for (user, says) in [(Some("root"), "runs as 'root'"), (None, "as it has no runAs")] {
        let refusal = reach.may_run("p", user).unwrap_err();
        assert_eq!(refusal.reason, Reason::RunAsNotGranted);
        assert!(refusal.text.contains(says) && refusal.text.contains("as app, web only"), "{}", refusal.text);
    }
    let any = granted(&[("web", Grant::default())]);
    assert!(any.of("web").unwrap().may_run("p", None).is_ok());
}

#[test]
fn an_invalid_query_reaches_nobody_and_leaves_the_others_alone() {
    let entries = [("bad", query("client.id ==")), ("web", team("web")), ("*", query("client.cpus"))];
    let granted = granted(&entries);
    for (namespace, name) in [("bad", "bad"), ("elsewhere", "*")] {
        let (reason, text) = refused(&granted, namespace);
        assert_eq!(reason, Reason::QueryFailed);
        assert!(text.contains(&format!("the grant '{name}' of Site main is not valid")), "{text}");
    }
    assert_eq!(reached(&granted, "web").unwrap(), ["c1", "c2"]);
    let entries = entries.map(|(name, grant)| (name.to_owned(), grant)).into();
    assert_eq!(first_invalid(&entries).unwrap().0, "*");
}

#[test]
fn a_query_that_fails_on_a_client_does_not_reach_it() {
    let granted = granted(&[("web", query(r#"client.facts.role == "web" || client.id == "c1""#))]);
    assert_eq!(reached(&granted, "web").unwrap(), ["c1"]);
    assert_eq!(granted.failures().unwrap().0, 3);
}

#[test]
fn everything_is_granted_once_and_only_where_nobody_says_what_is() {
    assert_eq!(first_grant(false, false, false), FirstGrant::Everything);
    assert_eq!(first_grant(false, false, true), FirstGrant::Note);
    for (is_declared, was_asked) in [(true, false), (false, true), (true, true)] {
        for has_grants in [false, true] {
            assert_eq!(first_grant(is_declared, was_asked, has_grants), FirstGrant::Nothing);
        }
    }
}

proptest! {
    /// Evaluated bit by bit, as clients and grants come, change and go, grants say what they say evaluated at once.
    #[test]
    fn grants_follow_every_change(
        steps in collection::vec((0_usize..4, prop_oneof!["web", "db", "none"], 0_usize..3, any::<bool>()), 1..20)
    ) {
        let (mut grants, mut fleet) = (Grants::default(), fleet());
        let mut entries: BTreeMap<String, Grant> = BTreeMap::new();
        let mut changed = ChangedClients::All;
        for (number, label, entry, is_there) in steps {
            let id = format!("c{number}");
            if is_there {
                fleet.extend([client(&id, &label)]);
            } else {
                fleet.remove(&id);
            }
            if let ChangedClients::Only(ids) = &mut changed {
                *ids = [id].into();
            }
            let name = ["*", "web", "db"][entry].to_owned();
            if entries.remove(&name).is_none() {
                let grant = if is_there { team(&label) } else { Grant::default() };
                entries.insert(name, grant);
            }
            let followed = grants.update("main", &entries, &fleet, &changed);
            let anew = Grants::default().update("main", &entries, &fleet, &ChangedClients::All);
            prop_assert_eq!(&followed, &anew);
            for namespace in ["web", "db", "other"] {
                let entry = entries.get(namespace).or_else(|| entries.get("*"));
                match (followed.of(namespace), entry) {
                    (Ok(reach), Some(grant)) => for (id, facts) in &fleet {
                        let expected = grant.query.as_ref().is_none_or(|text| {
                            Query::compile(text).unwrap().selects(facts) == Ok(true)
                        });
                        prop_assert_eq!(reach.includes(id), expected);
                    },
                    (Err(refusal), None) => prop_assert_eq!(refusal.reason, Reason::NamespaceNotGranted),
                    (found, expected) => prop_assert!(false, "{:?} {:?}", found, expected),
                }
            }
            changed = ChangedClients::Only(BTreeSet::new());
        }
    }
}
