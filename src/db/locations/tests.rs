//! What points should hold, what they say, and the ledger of removals.

use super::*;
use crate::{
    db::{
        fixtures::{NOW, device, scratch},
        points, report, summaries,
    },
    trust::identity::Role,
    wire::points::{DriveReport, PointReport, VersionReport},
};

fn package() -> ObjectName {
    ObjectName::new("default", "editor")
}

fn hold(point: &str, source_version: u64) -> Hold {
    let content = Digest::of(&source_version.to_le_bytes());
    Hold { point: point.into(), source_version, content, resend_token: None }
}

fn says(source_version: u64, state: LocationState) -> VersionReport {
    let content = hold("", source_version).content;
    VersionReport {
        version: VersionRef { package: package(), source_version, content },
        state,
        detail: None,
        path: Some("/srv/editor".into()),
        verified_at_ms: Some(NOW),
        resend_token: None,
        check: 0,
    }
}

fn report(point: &str, versions: Vec<VersionReport>) -> PointReport {
    let drive = DriveReport { path: "/srv".into(), free_bytes: 6 << 30, total_bytes: 9 << 30, usable: true };
    PointReport {
        assignment: "1".into(),
        url: format!("https://{point}"),
        drives: vec![drive],
        versions,
        messages: Vec::new(),
        outbox: "o".into(),
    }
}

fn take(tx: &mut Tx, point: &str, versions: Vec<VersionReport>) -> bool {
    report::take(tx, point, point, &report(point, versions), NOW).unwrap().changed
}

fn states(tx: &Tx) -> Vec<(String, u64, LocationState)> {
    let rows = of_package(tx, &package()).unwrap();
    rows.into_iter().map(|row| (row.point, row.version.source_version, row.state)).collect()
}

#[test]
fn a_version_is_brought_replaced_and_removed() {
    let mut tx = scratch();
    let holds = [hold("dp-1", 1), hold("dp-2", 1)];
    assert!(want(&mut tx, &package(), &holds, NOW).unwrap());
    let changes = tx.total_changes();
    assert!(!want(&mut tx, &package(), &holds, NOW).unwrap());
    assert_eq!(tx.total_changes(), changes, "nothing is written");

    assert!(take(&mut tx, "dp-1", vec![says(1, LocationState::Installed)]));
    assert!(!take(&mut tx, "dp-1", vec![says(1, LocationState::Installed)]));
    let content = hold("", 1).content;
    let held = points::holders(&tx, &content).unwrap();
    assert_eq!(held.iter().map(|point| point.url.as_str()).collect::<Vec<_>>(), ["https://dp-1"]);
    assert_eq!(points::all_holders(&tx).unwrap(), [(says(1, LocationState::Installed).version, held)]);

    want(&mut tx, &package(), &[hold("dp-1", 2)], NOW).unwrap();
    assert_eq!(
        states(&tx),
        [
            ("dp-1".into(), 1, LocationState::RemovalPending),
            ("dp-2".into(), 1, LocationState::RemovalPending),
            ("dp-1".into(), 2, LocationState::InstallPending),
        ]
    );
    assert!(!take(&mut tx, "dp-1", vec![says(1, LocationState::Installed)]), "said before it was told");
    assert_eq!(points::holders(&tx, &content).unwrap(), [], "not handed out any more");
    take(&mut tx, "dp-1", vec![says(1, LocationState::Removed), says(2, LocationState::Installed)]);
    let of_dp1: Vec<_> = wanted_of(&tx, "dp-1").unwrap().iter().map(|row| row.version.source_version).collect();
    assert_eq!(of_dp1, [2], "a confirmed removal is not asked for again");
    let two = summaries::package(&tx, &package()).unwrap()[&2];
    assert_eq!((two.targeted, two.installed), (1, 1));
}

#[test]
fn the_ledger_outlives_the_package_until_confirmed_or_abandoned() {
    let mut tx = scratch();
    want(&mut tx, &package(), &[hold("dp-1", 1), hold("dp-2", 1), hold("dp-3", 1)], NOW).unwrap();
    want(&mut tx, &package(), &[], NOW).unwrap();
    points::forget(&mut tx, "dp-2").unwrap();
    take(&mut tx, "dp-1", vec![says(1, LocationState::Removed)]);
    take(&mut tx, "dp-3", vec![says(1, LocationState::RemovalFailed)]);
    let waiting =
        |tx: &Tx| waiting_removals(tx, &package()).unwrap().into_iter().map(|row| row.point).collect::<Vec<_>>();
    assert_eq!(waiting(&tx), ["dp-2", "dp-3"]);
    assert_eq!(abandon(&mut tx, None, Some("dp-2"), NOW).unwrap(), 1);
    assert_eq!(waiting(&tx), ["dp-3"]);
    assert_eq!(abandon(&mut tx, Some(&package()), None, NOW).unwrap(), 1);
    assert_eq!(waiting(&tx), [""; 0]);
    assert_eq!(forget_settled(&mut tx, NOW).unwrap(), 0, "shown for a while");
    assert_eq!(forget_settled(&mut tx, NOW + 1).unwrap(), 3);
}

#[test]
fn no_removal_waits_for_a_point_that_was_deleted() {
    let mut tx = scratch();
    for id in ["dp-1", "dp-2"] {
        devices::join(&mut tx, &device(id, Role::Dp, id)).unwrap();
    }
    let waiting =
        |tx: &Tx| waiting_removals(tx, &package()).unwrap().into_iter().map(|row| row.point).collect::<Vec<_>>();
    want(&mut tx, &package(), &[hold("dp-1", 1), hold("dp-2", 1)], NOW).unwrap();
    // One is deleted after the removal was wanted, the other one before.
    want(&mut tx, &package(), &[hold("dp-2", 1)], NOW).unwrap();
    assert_eq!(waiting(&tx), ["dp-1"]);
    assert!(devices::delete(&mut tx, "dp-1", NOW).unwrap());
    assert_eq!(waiting(&tx), [""; 0]);
    assert!(devices::delete(&mut tx, "dp-2", NOW).unwrap());
    want(&mut tx, &package(), &[], NOW).unwrap();
    assert_eq!(waiting(&tx), [""; 0]);
}

#[test]
fn bad_content_and_resend_tokens_reach_the_point() {
    let mut tx = scratch();
    want(&mut tx, &package(), &[hold("dp-1", 1)], NOW).unwrap();
    take(&mut tx, "dp-1", vec![says(1, LocationState::Installed)]);
    let content = hold("", 1).content;
    assert_eq!(request_check(&mut tx, "dp-1", &content).unwrap(), 1);
    assert_eq!(request_check(&mut tx, "dp-2", &content).unwrap(), 0);
    let again = Hold { resend_token: Some("t1".into()), ..hold("dp-1", 1) };
    assert!(want(&mut tx, &package(), &[again], NOW).unwrap());
    let row = wanted_of(&tx, "dp-1").unwrap().remove(0);
    assert_eq!((row.check_wanted, row.check_honoured, row.resend_wanted.as_deref()), (1, 0, Some("t1")));
    assert_eq!(row.state, LocationState::Installed, "the old copy is served meanwhile");

    let other = Hold { content: Digest::of(b"other"), ..hold("dp-1", 1) };
    assert!(matches!(want(&mut tx, &package(), &[other], NOW), Err(DbError::Conflict(_))));
}

#[test]
fn unknown_versions_are_handed_back() {
    let mut tx = scratch();
    let lost = says(7, LocationState::Installed);
    let taken = report::take(&mut tx, "dp-1", "d1", &report("dp-1", vec![lost.clone()]), NOW).unwrap();
    assert_eq!((taken.changed, taken.unknown), (false, vec![lost]));
}

#[test]
fn a_blocked_point_is_not_handed_out_and_pages_are_complete() {
    let mut tx = scratch();
    crate::db::devices::join(&mut tx, &device("dp-1", Role::Dp, "dp-1")).unwrap();
    let holds: Vec<Hold> = (1..=5).map(|version| hold("dp-1", version)).collect();
    want(&mut tx, &package(), &holds, NOW).unwrap();
    take(&mut tx, "dp-1", vec![says(1, LocationState::Installed)]);
    assert_eq!(points::holders(&tx, &hold("", 1).content).unwrap().len(), 1);
    crate::db::devices::set_blocked(&mut tx, "dp-1", true).unwrap();
    assert_eq!(points::holders(&tx, &hold("", 1).content).unwrap(), []);

    let first = page(&tx, Some("default"), None, 3).unwrap();
    let last = first.last().map(|row| (&row.version.package, row.version.source_version, row.point.as_str()));
    let second = page(&tx, None, last, 3).unwrap();
    let numbers: Vec<u64> = first.iter().chain(&second).map(|row| row.version.source_version).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(page(&tx, Some("elsewhere"), None, 3).unwrap(), []);
}
