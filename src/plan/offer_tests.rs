//! Offers appear after content, move record by record, and one bad object hurts nobody else.

use super::*;
use crate::{
    model::{duration::Span, schedule::Assignment},
    plan::{
        grants::{Grant, Grants},
        membership::ChangedClients,
        query::ClientFacts,
    },
    wire::record::{DependencyRef, RecordProgram},
};

fn record(package: &str, version: u64, depends_on: Option<(&str, &str)>) -> PackageRecord {
    PackageRecord {
        site: "s".into(),
        namespace: "ns".into(),
        package: package.into(),
        source_version: version,
        content: Some(Digest::of(format!("{package}{version}").as_bytes())),
        size_bytes: 1,
        programs: vec![RecordProgram {
            name: format!("run-{package}"),
            argv: vec!["x".into()],
            cwd: None,
            env: vec![],
            run_as: None,
            max_runtime: Span::from_secs(1),
            platforms: vec![],
            disk_space_bytes: 0,
            success_codes: vec![0],
            depends_on: depends_on
                .map(|(package, program)| DependencyRef { package: package.into(), program: program.into() }),
            disabled: false,
        }],
    }
}

fn facts(record: PackageRecord, available: bool) -> RecordFacts {
    RecordFacts { digest: Digest::of(&record.encode().unwrap()), record, available }
}

fn advertisement(name: &str, package: &str, members: &[&str]) -> AdvertisementFacts {
    AdvertisementFacts {
        template: OfferTemplate {
            name: ObjectName::new("ns", name),
            program: format!("run-{package}"),
            start: None,
            expires: None,
            assignments: vec![Assignment::AsSoonAsPossible],
            user_may_start: false,
            rerun: Rerun::IfFailed,
            rerun_token: None,
            suspended: false,
        },
        package: Some(package.into()),
        members: Some(members.iter().map(|member| (*member).to_owned()).collect()),
    }
}

fn packages(all: impl IntoIterator<Item = (&'static str, PackageFacts)>) -> BTreeMap<ObjectName, PackageFacts> {
    all.into_iter().map(|(name, facts)| (ObjectName::new("ns", name), facts)).collect()
}

fn clients() -> BTreeSet<String> {
    ["c1", "c2", "c3"].map(str::to_owned).into()
}

fn outcome(compiled: &Compiled, name: &str) -> Outcome {
    compiled.outcomes[&ObjectName::new("ns", name)].clone()
}

#[test]
fn l31_an_offer_waits_for_its_content_and_then_reaches_members_only() {
    let package = |available| PackageFacts {
        records: vec![facts(record("a", 1, None), available)],
        offered: None,
        ..PackageFacts::default()
    };
    let ads = [advertisement("ad", "a", &["c1", "c3", "gone"])];
    let before = compile(
        &clients(),
        &ads,
        &packages([("a", package(false))]),
        &Granted::everything("main"),
        &AgentConfig::default(),
    );
    assert_eq!(outcome(&before, "ad"), Outcome::Waiting(Reason::WaitingForContent));
    assert!(before.bodies.values().all(|body| body.offers.is_empty()));
    let after = compile(
        &clients(),
        &ads,
        &packages([("a", package(true))]),
        &Granted::everything("main"),
        &AgentConfig::default(),
    );
    assert!(matches!(outcome(&after, "ad"), Outcome::Offered { members: 2, lost: false, .. }));
    assert_eq!(after.bodies["c1"].offers.len(), 1);
    assert!(after.bodies["c2"].offers.is_empty());
    let readers = &after.readers[&Digest::of(b"a1")];
    assert_eq!(readers.iter().map(String::as_str).collect::<Vec<_>>(), ["c1", "c3"]);
}

#[test]
fn l10_l11_the_old_record_stays_until_the_new_content_is_there() {
    let (old, new) = (facts(record("a", 1, None), true), facts(record("a", 2, None), false));
    let mut package =
        PackageFacts { records: vec![new.clone(), old.clone()], offered: Some(old.digest), ..PackageFacts::default() };
    assert!(matches!(choose(&package), Choice::Offer { record, lost: false } if record.digest == old.digest));
    package.records[0].available = true;
    assert!(matches!(choose(&package), Choice::Offer { record, lost: false } if record.digest == new.digest));
}

#[test]
fn losing_the_last_copy_does_not_revoke_and_never_goes_back_to_an_older_version() {
    let (old, new) = (facts(record("a", 1, None), true), facts(record("a", 2, None), false));
    let package =
        PackageFacts { records: vec![new.clone(), old], offered: Some(new.digest), ..PackageFacts::default() };
    assert!(matches!(choose(&package), Choice::Offer { record, lost: true } if record.digest == new.digest));
}

#[test]
fn l28_a_poisonous_advertisement_hurts_only_itself() {
    let all = packages([(
        "a",
        PackageFacts { records: vec![facts(record("a", 1, None), true)], offered: None, ..PackageFacts::default() },
    )]);
    let mut orphan = advertisement("no-program", "a", &["c1"]);
    orphan.package = None;
    let mut no_collection = advertisement("no-collection", "a", &["c1"]);
    no_collection.members = None;
    let ads = [orphan, no_collection, advertisement("no-package", "zz", &["c1"]), advertisement("good", "a", &["c1"])];
    let compiled = compile(&clients(), &ads, &all, &Granted::everything("main"), &AgentConfig::default());
    for name in ["no-program", "no-collection", "no-package"] {
        assert!(matches!(outcome(&compiled, name), Outcome::Stalled(Reason::ReferenceNotFound, _)), "{name}");
    }
    assert!(matches!(outcome(&compiled, "good"), Outcome::Offered { members: 1, lost: false, .. }));
}

#[test]
fn l32_a_contradiction_is_said_and_never_offered() {
    let mut without_files = record("a", 0, None);
    without_files.content = None;
    let all = packages([(
        "a",
        PackageFacts { records: vec![facts(without_files, true)], offered: None, ..PackageFacts::default() },
    )]);
    let mut ad = advertisement("ad", "a", &["c1"]);
    ad.template.rerun = Rerun::OncePerVersion;
    let compiled = compile(&clients(), &[ad], &all, &Granted::everything("main"), &AgentConfig::default());
    assert!(matches!(outcome(&compiled, "ad"), Outcome::Stalled(Reason::ProgramConflict, _)));
    assert!(compiled.bodies["c1"].offers.is_empty());
}

#[test]
fn dependencies_travel_along_and_cycles_are_found() {
    let chain = |back: Option<(&str, &str)>| {
        packages([
            (
                "a",
                PackageFacts {
                    records: vec![facts(record("a", 1, Some(("b", "run-b"))), true)],
                    offered: None,
                    ..PackageFacts::default()
                },
            ),
            (
                "b",
                PackageFacts {
                    records: vec![facts(record("b", 1, back), true)],
                    offered: None,
                    ..PackageFacts::default()
                },
            ),
        ])
    };
    let ads = [advertisement("ad", "a", &["c1"])];
    let straight = compile(&clients(), &ads, &chain(None), &Granted::everything("main"), &AgentConfig::default());
    assert_eq!(straight.bodies["c1"].dependencies.len(), 1);
    assert!(straight.readers.contains_key(&Digest::of(b"b1")));
    let cycle =
        compile(&clients(), &ads, &chain(Some(("a", "run-a"))), &Granted::everything("main"), &AgentConfig::default());
    assert!(matches!(outcome(&cycle, "ad"), Outcome::Stalled(Reason::ProgramConflict, _)));
}

#[test]
fn a_package_that_cannot_have_a_record_says_why_and_one_with_an_older_record_goes_on() {
    let obstacle = |needs_somebody| Obstacle { reason: Reason::SourceRefused, text: "a link".into(), needs_somebody };
    let all = |obstacle, records: Vec<RecordFacts>| {
        packages([("a", PackageFacts { records, offered: None, obstacle: Some(obstacle) })])
    };
    let ads = [advertisement("ad", "a", &["c1"])];
    let of = |packages| {
        outcome(&compile(&clients(), &ads, &packages, &Granted::everything("main"), &AgentConfig::default()), "ad")
    };
    let text = "package 'a' has no record: a link".to_owned();
    assert_eq!(of(all(obstacle(true), vec![])), Outcome::Stalled(Reason::SourceRefused, text));
    assert_eq!(of(all(obstacle(false), vec![])), Outcome::Waiting(Reason::SourceRefused));
    let older = vec![facts(record("a", 1, None), true)];
    assert!(matches!(of(all(obstacle(true), older)), Outcome::Offered { members: 1, lost: false, .. }));
    // The package of a program that this one depends on.
    let needing = facts(record("a", 1, Some(("b", "run-b"))), true);
    let both = packages([
        ("a", PackageFacts { records: vec![needing], ..PackageFacts::default() }),
        ("b", PackageFacts { obstacle: Some(obstacle(true)), ..PackageFacts::default() }),
    ]);
    assert_eq!(of(both), Outcome::Stalled(Reason::SourceRefused, "package 'b' has no record: a link".into()));
}

#[test]
fn an_offer_reaches_those_members_that_the_namespace_may_reach_and_nobody_without_a_grant() {
    let all: BTreeMap<String, ClientFacts> =
        clients().into_iter().map(|id| (id.clone(), ClientFacts { id, ..ClientFacts::default() })).collect();
    let compiled = |grants: &[(&str, Grant)], package: PackageFacts| {
        let grants = grants.iter().map(|(name, grant)| ((*name).to_owned(), grant.clone())).collect();
        let granted = Grants::default().update("main", &grants, &all, &ChangedClients::All);
        let ads = [advertisement("ad", "a", &["c1", "c2", "gone"])];
        compile(&clients(), &ads, &packages([("a", package)]), &granted, &AgentConfig::default())
    };
    let package = |run_as: Option<&str>| {
        let mut record = record("a", 1, None);
        record.programs[0].run_as = run_as.map(str::to_owned);
        PackageFacts { records: vec![facts(record, true)], ..PackageFacts::default() }
    };
    let grant = |query: Option<&str>, max_clients, users: Option<&str>| Grant {
        query: query.map(str::to_owned),
        max_clients,
        run_as: users.map(|user| [user.to_owned()].into()),
    };
    let offered_to = |compiled: &Compiled| -> Vec<String> {
        compiled.bodies.iter().filter(|(_, body)| !body.offers.is_empty()).map(|(client, _)| client.clone()).collect()
    };

    let some = compiled(&[("ns", grant(Some(r#"client.id != "c1""#), Some(1), Some("app")))], package(Some("app")));
    assert!(matches!(outcome(&some, "ad"), Outcome::Offered { members: 1, lost: false, .. }));
    assert_eq!(offered_to(&some), ["c2"]);
    assert_eq!(some.readers[&Digest::of(b"a1")], ["c2".to_owned()].into(), "content is for those alone");
    let reasons = [
        (("other", Grant::default()), Reason::NamespaceNotGranted),
        (("ns", grant(Some("client"), None, None)), Reason::QueryFailed),
        (("*", grant(None, Some(1), None)), Reason::TooManyClients),
        (("*", grant(None, None, Some("app"))), Reason::RunAsNotGranted),
    ];
    for (granted, reason) in reasons {
        let none = compiled(&[granted], package(None));
        assert!(matches!(outcome(&none, "ad"), Outcome::Stalled(found, _) if found == reason), "{none:?}");
        assert_eq!(offered_to(&none), Vec::<String>::new());
        assert!(none.readers.is_empty() && none.contents.is_empty());
    }
    // Said before anything else: no package makes up for it.
    let none = compiled(&[], PackageFacts::default());
    assert!(matches!(outcome(&none, "ad"), Outcome::Stalled(Reason::NamespaceNotGranted, _)));
}

#[test]
fn what_a_program_depends_on_runs_as_a_granted_user_too() {
    let all = |user: Option<&str>| {
        let mut first = record("b", 1, None);
        first.programs[0].run_as = user.map(str::to_owned);
        let mut second = record("a", 1, Some(("b", "run-b")));
        second.programs[0].run_as = Some("app".into());
        let facts = |record| PackageFacts { records: vec![facts(record, true)], ..PackageFacts::default() };
        packages([("a", facts(second)), ("b", facts(first))])
    };
    let grants = [("ns".to_owned(), Grant { run_as: Some(["app".to_owned()].into()), ..Grant::default() })].into();
    let granted = Grants::default().update("main", &grants, &BTreeMap::new(), &ChangedClients::All);
    let of = |user| {
        let ads = [advertisement("ad", "a", &["c1"])];
        outcome(&compile(&clients(), &ads, &all(user), &granted, &AgentConfig::default()), "ad")
    };
    assert!(matches!(of(Some("app")), Outcome::Offered { members: 1, lost: false, .. }));
    assert!(matches!(of(None), Outcome::Stalled(Reason::RunAsNotGranted, text) if text.contains("'run-b'")));
}
