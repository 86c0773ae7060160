//! Joining, blocking, deleting.

use super::*;
use crate::db::fixtures::{NOW, client, device, scratch};

#[test]
fn a_device_joins_once_renews_and_comes_back_under_its_id() {
    let mut tx = scratch();
    let row = device("d1", Role::Dp, "dp-1");
    join(&mut tx, &row).unwrap();
    assert!(matches!(join(&mut tx, &row), Err(DbError::Conflict(_))), "an id is given out once");
    let same_name = device("d2", Role::Dp, "dp-1");
    assert!(matches!(join(&mut tx, &same_name), Err(DbError::Conflict(_))));
    join(&mut tx, &device("d3", Role::Cap, "dp-1")).unwrap();
    assert_eq!(by_name(&tx, Role::Dp, "dp-1").unwrap().unwrap(), row);

    renew(&mut tx, "d1", "second", NOW + 20).unwrap();
    rejoin(&mut tx, "d1", "third", NOW + 30, NOW + 5).unwrap();
    let now = get(&tx, "d1").unwrap().unwrap();
    assert_eq!((now.certificate.as_str(), now.not_after_ms, now.joined_at_ms), ("third", NOW + 30, NOW + 5));
    assert!(matches!(rejoin(&mut tx, "d9", "x", 0, 0), Err(DbError::NotFound(_))));
}

#[test]
fn blocked_and_deleted_devices_are_refused() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    client(&mut tx, "c2");
    assert!(set_blocked(&mut tx, "c1", true).unwrap());
    assert!(!set_blocked(&mut tx, "c1", true).unwrap());
    assert!(matches!(admission(&tx, "c1").unwrap(), Admission::Blocked(_)));
    rejoin(&mut tx, "c1", "new", NOW + 99, NOW).unwrap();
    assert!(get(&tx, "c1").unwrap().unwrap().blocked, "joining again does not unblock");
    assert!(delete(&mut tx, "c2", NOW).unwrap());
    assert!(!delete(&mut tx, "c2", NOW).unwrap());
    assert_eq!(admission(&tx, "c2").unwrap(), Admission::Gone);
    let turned_away = turned_away(&tx).unwrap();
    assert_eq!(turned_away, [("c1".into(), TurnedAway::Blocked), ("c2".into(), TurnedAway::Deleted)].into());
    assert_eq!((gone(&tx, Role::Client).unwrap(), gone(&tx, Role::Dp).unwrap()), (vec!["c2".to_owned()], vec![]));
    assert!(join(&mut tx, &device("c2", Role::Client, "again")).is_err(), "an id never comes back");

    assert!(set_blocked(&mut tx, "c1", false).unwrap());
    assert!(matches!(admission(&tx, "c1").unwrap(), Admission::Admitted(_)));
    let ended = device("c2", Role::Client, "").not_after_ms + 1;
    assert_eq!(forget_gone(&mut tx, ended).unwrap(), 1);
    assert_eq!(admission(&tx, "c2").unwrap(), Admission::Unknown);
    assert!(matches!(set_blocked(&mut tx, "c2", true), Err(DbError::NotFound(_))));
}

#[test]
fn seen_writes_once_a_minute() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let first = get(&tx, "c1").unwrap().unwrap();
    assert!(!first.seen_is_due(NOW + SEEN_STEP_MS - 1));
    seen(&mut tx, "c1", NOW + SEEN_STEP_MS - 1).unwrap();
    assert_eq!(get(&tx, "c1").unwrap().unwrap().last_seen_ms, NOW);
    assert!(first.seen_is_due(NOW + SEEN_STEP_MS));
    seen(&mut tx, "c1", NOW + SEEN_STEP_MS).unwrap();
    assert_eq!(get(&tx, "c1").unwrap().unwrap().last_seen_ms, NOW + SEEN_STEP_MS);
}

#[test]
fn what_is_heard_of_clients_never_goes_back_and_is_of_clients_only() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    join(&mut tx, &device("d1", Role::Dp, "dp-1")).unwrap();
    for (id, at_ms) in [("c1", NOW + 2), ("c1", NOW + 1), ("d1", NOW + 9), ("nobody", NOW + 9)] {
        heard(&mut tx, id, at_ms).unwrap();
    }
    let seen = |id| get(&tx, id).unwrap().unwrap().last_seen_ms;
    assert_eq!((seen("c1"), seen("d1")), (NOW + 2, NOW));
}

#[test]
fn listings_go_page_by_page() {
    let mut tx = scratch();
    for number in 0..5 {
        client(&mut tx, &format!("c{number}"));
    }
    join(&mut tx, &device("d1", Role::Dp, "dp-1")).unwrap();
    let ids = |rows: Vec<DeviceRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(page(&tx, Role::Client, "", 2).unwrap()), ["c0", "c1"]);
    assert_eq!(ids(page(&tx, Role::Client, "c1", 9).unwrap()), ["c2", "c3", "c4"]);
    assert_eq!((number(&tx, Role::Client).unwrap(), number(&tx, Role::Cap).unwrap()), (5, 0));
    assert_eq!(all(&tx, Role::Dp).unwrap().len(), 1);
    let labels = BTreeMap::from([("ring".to_owned(), "first".to_owned())]);
    assert!(set_labels(&mut tx, "c0", &labels).unwrap());
    assert!(!set_labels(&mut tx, "c0", &labels).unwrap());
}
