//! An access point with a valid certificate of the site that lies, withholds, or never ends. The agent runs nothing that
//! the site did not sign for it, says so once, and goes on with the honest access point.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use waybill::{
    clock,
    content::Digest,
    model::{reason::Reason, state::RunState},
    trust::{envelope::Envelope, identity::Role, keys::SiteKey, merkle::MerkleTree},
    wire::{
        access::{INVENTORY_PATH, LOCATIONS_PATH, Locations, POLICY_PATH, PointRef, RECORD_PATH, STATUS_PATH},
        policy::{Leaf, PolicyAnswer, PolicyBody, PolicyRoot, ROOT_TYPE},
        status::{Outcome, RECEIPT_TYPE, Receipt},
    },
};

use crate::agent::{
    machine::Machine,
    site::{Evil, Site, assigned, program, record},
};

/// A body without an end.
fn endless() -> Body {
    Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 << 10]))))
}

/// A body that goes on for ever, a byte a second.
fn drip() -> Body {
    let bytes = stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Bytes::from_static(b" "))
    });
    Body::from_stream(bytes)
}

/// Answers requests whose path begins so.
fn at(path: &'static str, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Evil {
    Arc::new(move |request| request.uri().path().starts_with(path).then(|| answer(request)))
}

/// Answers polls so, once asked without waiting and for ever after.
fn policy(answer: PolicyAnswer) -> Evil {
    at(POLICY_PATH, move |_| ([(header::ETAG, "\"evil\"")], Json(answer.clone())).into_response())
}

/// What somebody with this key signs: the evil program for this client.
fn signed_by(key: &SiteKey, client: &str, like: &PolicyAnswer) -> PolicyAnswer {
    let body = like.body.replace("\"good\"", "\"evil\"");
    let leaf = Leaf { client: client.into(), version: like.leaf.version + 1, body: Digest::of(body.as_bytes()) };
    let tree = MerkleTree::new([serde_json::to_vec(&leaf).unwrap()]);
    let held: PolicyRoot = serde_json::from_str(&like.root.payload).unwrap();
    let root = PolicyRoot { version: held.version + 1, leaves_root: tree.root(), issued_at: clock::now(), ..held };
    let root = Envelope::sign(ROOT_TYPE, serde_json::to_string(&root).unwrap(), key).unwrap();
    PolicyAnswer { root, leaf, proof: tree.prove(0).unwrap(), body }
}

/// What a lie is made of.
struct Truth<'a> {
    site: &'a Site,
    record: Digest,
    other_record: Digest,
}

/// How an access point lies, whether the agent must complain aloud, and whether it notices by its clock alone.
type Lie = (&'static str, usize, fn(&Truth<'_>) -> Evil);

const LIES: &[Lie] = &[
    ("offers altered", 1, |truth| {
        let honest = truth.site.policy();
        policy(PolicyAnswer { body: honest.body.replace("\"good\"", "\"evil\""), ..honest })
    }),
    ("another client's leaf", 1, |truth| policy(signed_by(truth.site.key(), "c-2", &truth.site.policy()))),
    ("another client's leaf under this name", 1, |truth| {
        let mut other = signed_by(truth.site.key(), "c-2", &truth.site.policy());
        other.leaf.client = truth.site.policy().leaf.client;
        policy(other)
    }),
    ("signed by somebody", 1, |truth| policy(signed_by(&SiteKey::generate().unwrap(), "c-1", &truth.site.policy()))),
    ("no policy but words", 0, |_| at(POLICY_PATH, |_| "welcome".into_response())),
    ("a policy without an end", 0, |_| at(POLICY_PATH, |_| endless().into_response())),
    ("a refusal without an end", 0, |_| at(POLICY_PATH, |_| (StatusCode::FORBIDDEN, endless()).into_response())),
    ("a policy that drips", 0, |_| at(POLICY_PATH, |_| drip().into_response())),
    ("a head of a megabyte", 0, |_| at("/", |_| ([("x-much", "x".repeat(1 << 20))], "").into_response())),
    ("somewhere else", 0, |truth| {
        let elsewhere = format!("{}{POLICY_PATH}", truth.site.url);
        at("/", move |_| (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere.clone())]).into_response())
    }),
    ("never heard of you", 0, |_| at(POLICY_PATH, |_| StatusCode::NOT_FOUND.into_response())),
    ("a record with another command", 1, |truth| {
        let honest = truth.site.signed_record(&truth.record);
        let envelope = Envelope { payload: honest.payload.replace("/good", "/evil"), ..honest };
        at(RECORD_PATH, move |_| Json(envelope.clone()).into_response())
    }),
    ("the record of something else", 1, |truth| {
        let other = truth.site.signed_record(&truth.other_record);
        at(RECORD_PATH, move |_| Json(other.clone()).into_response())
    }),
    ("a record without an end", 0, |_| at(RECORD_PATH, |_| endless().into_response())),
    ("content at strangers'", 0, |_| {
        let stranger = |port: u16| PointRef { name: format!("s{port}"), url: format!("https://127.0.0.1:{port}") };
        let points = Locations { points: (1..1_000).map(stranger).collect() };
        at(LOCATIONS_PATH, move |_| Json(points.clone()).into_response())
    }),
    ("content nowhere", 0, |_| at(LOCATIONS_PATH, |_| Json(Locations::default()).into_response())),
    ("status thrown away, receipt of its own", 1, |truth| {
        let receipt = Receipt {
            sender: truth.site.policy().leaf.client,
            batch: Digest::of(b"whatever"),
            outcome: Outcome::Stored { through: u64::MAX },
        };
        let text = serde_json::to_string(&receipt).unwrap();
        let forged = Envelope::sign(RECEIPT_TYPE, text, &SiteKey::generate().unwrap()).unwrap();
        at(STATUS_PATH, move |_| Json(forged.clone()).into_response())
    }),
    ("status thrown away, receipt of another batch", 1, |truth| {
        let receipt = Receipt {
            sender: truth.site.policy().leaf.client,
            batch: Digest::of(b"another"),
            outcome: Outcome::Stored { through: u64::MAX },
        };
        let old = truth.site.signed(RECEIPT_TYPE, &receipt);
        at(STATUS_PATH, move |_| Json(old.clone()).into_response())
    }),
    ("inventory thrown away, receipt of its own", 1, |truth| {
        let receipt = Receipt {
            sender: truth.site.policy().leaf.client,
            batch: Digest::of(b"whatever"),
            outcome: Outcome::Stored { through: u64::MAX },
        };
        let old = truth.site.signed(RECEIPT_TYPE, &receipt);
        at(INVENTORY_PATH, move |_| Json(old.clone()).into_response())
    }),
    ("status refused in the site's name", 0, |_| {
        at(STATUS_PATH, |_| (StatusCode::UNPROCESSABLE_ENTITY, "this message is not taken").into_response())
    }),
];

/// One machine that asks the liar first; ends when the site has heard of the run.
fn told_lies(lie: &Lie) {
    let (name, complaints, evil) = lie;
    let place = tempfile::tempdir().unwrap();
    let script = |file: &str| format!("#!/bin/sh\necho run >> {}\n", place.path().join(file).display());
    let mut site = Site::start();
    let content = site.publish(&[("good.sh", &script("good"))], &[""]);
    let argument = script("good");
    let good = site.record(&record(Some(content), vec![program("good", &["good.sh", &argument])]));
    let bad = site.record(&record(None, vec![program("evil", &["/bin/sh", "-c", &script("evil")])]));
    site.offer(&[assigned("good", "good", good)]);
    let asked = Arc::new(AtomicUsize::new(0));
    let lies = {
        let (evil, asked) = (evil(&Truth { site: &site, record: good, other_record: bad }), asked.clone());
        let counted: Evil = Arc::new(move |request| {
            let answer = evil(request);
            asked.fetch_add(usize::from(answer.is_some()), Ordering::Relaxed);
            answer
        });
        counted
    };
    site.first_access_points = vec![site.impostor(Role::Cap, lies)];
    let machine = Machine::of(&site);
    machine.eventually(name, || site.states("good").contains(&RunState::Succeeded).then_some(()));
    machine.eventually(name, || (!site.received().inventories.is_empty()).then_some(()));
    assert!(asked.load(Ordering::Relaxed) > 0, "{name}: nobody asked the liar");
    assert_eq!(lines(place.path(), "good"), 1, "{name}");
    assert_eq!(lines(place.path(), "evil"), 0, "{name}");
    let complained = || site.messages().iter().filter(|m| m.reason == Some(Reason::SignatureInvalid)).count();
    if *complaints > 0 {
        machine.eventually(name, || (complained() >= *complaints).then_some(()));
    }
    assert_eq!(complained(), *complaints, "{name}");
}

fn lines(directory: &Path, file: &str) -> usize {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default().lines().count()
}

#[test]
fn a_lying_access_point_is_left_for_an_honest_one() {
    std::thread::scope(|scope| {
        let all: Vec<_> = LIES.iter().map(|lie| (lie.0, scope.spawn(|| told_lies(lie)))).collect();
        let failed: Vec<_> = all.into_iter().filter_map(|(name, told)| told.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

#[test]
fn policy_of_yesterday_is_refused_once_and_never_run() {
    let place = tempfile::tempdir().unwrap();
    let script = |file: &str| format!("echo run >> {}", place.path().join(file).display());
    let mut site = Site::start();
    let record = site.record(&record(
        None,
        ["old", "new", "newest"].iter().map(|name| program(name, &["/bin/sh", "-c", &script(name)])).collect(),
    ));
    site.offer(&[]);
    let lower_epoch = {
        let (honest, version) = (site.policy(), u64::MAX);
        let held: PolicyRoot = serde_json::from_str(&honest.root.payload).unwrap();
        let root = site.signed(ROOT_TYPE, &PolicyRoot { epoch: held.epoch - 1, version, ..held });
        PolicyAnswer { root, ..honest }
    };
    site.offer(&[assigned("old", "old", record)]);
    let yesterday = site.policy();
    let body: PolicyBody = serde_json::from_str(&yesterday.body).unwrap();
    assert_eq!(body.offers.len(), 1);
    site.offer(&[assigned("new", "new", record)]);
    // First the truth, then the policy of before the reset, then yesterday's.
    let asked = AtomicUsize::new(0);
    let url = site.impostor(
        Role::Cap,
        Arc::new(move |request| {
            let answer = match (request.uri().path(), asked.fetch_add(1, Ordering::Relaxed)) {
                (path, _) if path != POLICY_PATH => return None,
                (_, 0) => return None,
                (_, count) if count % 2 == 1 => &lower_epoch,
                _ => &yesterday,
            };
            Some(([(header::ETAG, "\"evil\"")], Json(answer.clone())).into_response())
        }),
    );
    site.first_access_points = vec![url];
    let machine = Machine::of(&site);
    machine.eventually("the newer policy", || site.states("new").contains(&RunState::Succeeded).then_some(()));
    let refused = |site: &Site| site.messages().iter().filter(|m| m.reason == Some(Reason::PolicyRollback)).count();
    machine.eventually("a word about the older one", || (refused(&site) > 0).then_some(()));
    site.offer(&[assigned("new", "new", record), assigned("newest", "newest", record)]);
    machine.eventually("the newest policy", || site.states("newest").contains(&RunState::Succeeded).then_some(()));
    assert_eq!(refused(&site), 1);
    assert_eq!(["old", "new", "newest"].map(|file| lines(place.path(), file)), [0, 1, 1]);
}
