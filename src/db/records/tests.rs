//! Publication, what may be offered, and retention of records.

use super::*;
use crate::{
    db::{
        fixtures::{NOW, scratch},
        locations::{self, Hold},
        report,
    },
    model::state::LocationState,
    wire::points::{PointReport, VersionRef, VersionReport},
};

fn package() -> ObjectName {
    ObjectName::new("default", "editor")
}

fn envelope(source_version: u64, content: Option<Digest>) -> Envelope {
    let record = PackageRecord {
        site: "s1".into(),
        namespace: "default".into(),
        package: "editor".into(),
        source_version,
        content,
        size_bytes: 0,
        programs: Vec::new(),
    };
    Envelope { payload: String::from_utf8(record.encode().unwrap()).unwrap(), signatures: Vec::new() }
}

/// The distribution point holds this version now.
fn hold(tx: &mut Tx, source_version: u64, content: Digest) {
    let hold = Hold { point: "dp-1".into(), source_version, content, resend_token: None };
    locations::want(tx, &package(), &[hold], NOW).unwrap();
    let version = VersionReport {
        version: VersionRef { package: package(), source_version, content },
        state: LocationState::Installed,
        detail: None,
        path: None,
        verified_at_ms: None,
        resend_token: None,
        check: 0,
    };
    let report = PointReport {
        assignment: "1".into(),
        url: "https://dp-1".into(),
        drives: Vec::new(),
        versions: vec![version],
        messages: Vec::new(),
        outbox: "o".into(),
    };
    report::take(tx, "dp-1", "d1", &report, NOW).unwrap();
}

fn offered(tx: &Tx) -> Vec<u64> {
    offerable(tx).unwrap().iter().map(|row| row.source_version).collect()
}

#[test]
fn the_old_record_is_offered_until_the_new_content_has_arrived() {
    let mut tx = scratch();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let (first, new) = publish(&mut tx, &envelope(1, Some(one)), NOW).unwrap();
    assert!(new);
    assert!(!publish(&mut tx, &envelope(1, Some(one)), NOW + 1).unwrap().1, "already current");
    assert_eq!(offered(&tx), [0; 0]);
    hold(&mut tx, 1, one);
    assert_eq!(offered(&tx), [1]);

    let (second, _) = publish(&mut tx, &envelope(2, Some(two)), NOW).unwrap();
    assert_eq!(current(&tx, &package()).unwrap().unwrap().digest, second);
    assert_eq!(offered(&tx), [1]);
    hold(&mut tx, 2, two);
    assert_eq!(offered(&tx), [2]);
    // The same bytes as before become current again: a program edit was taken back.
    assert!(publish(&mut tx, &envelope(1, Some(one)), NOW + 9).unwrap().1);
    assert_eq!(all_current(&tx).unwrap()[0].digest, first);
    assert_eq!(get(&tx, &second).unwrap().unwrap().envelope, envelope(2, Some(two)));
}

#[test]
fn records_without_files_are_offered_at_once_and_unused_ones_go() {
    let mut tx = scratch();
    let (old, _) = publish(&mut tx, &envelope(0, None), NOW).unwrap();
    assert_eq!(offered(&tx), [0]);
    let (named, _) = publish(&mut tx, &envelope(1, Some(Digest::of(b"a"))), NOW).unwrap();
    let (unused, _) = publish(&mut tx, &envelope(2, Some(Digest::of(b"b"))), NOW).unwrap();
    let (last, _) = publish(&mut tx, &envelope(3, Some(Digest::of(b"c"))), NOW).unwrap();
    let keep = BTreeSet::from([named]);
    assert_eq!(retain(&mut tx, &keep, NOW).unwrap(), 0, "all are younger");
    assert_eq!(retain(&mut tx, &keep, NOW + 1).unwrap(), 1);
    assert_eq!(get(&tx, &unused).unwrap(), None);
    assert!([old, named, last].iter().all(|digest| get(&tx, digest).unwrap().is_some()));

    assert!(withdraw(&mut tx, &package()).unwrap());
    assert!(!withdraw(&mut tx, &package()).unwrap());
    assert_eq!(offered(&tx), [0; 0]);
    assert_eq!(retain(&mut tx, &BTreeSet::new(), NOW + 1).unwrap(), 3);
}
