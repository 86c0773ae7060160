//! The counter of source versions.

use super::*;
use crate::db::fixtures::{NOW, scratch};

fn key(package: &str) -> PackageKey {
    PackageKey { site: "s1".into(), package: ObjectName::new("default", package) }
}

fn see(tx: &mut Tx, package: &str, content: &[u8]) -> (u64, bool) {
    let seen = observe(tx, &key(package), &Digest::of(content), 10, 1, NOW).unwrap();
    (seen.source_version, seen.new)
}

#[test]
fn the_counter_grows_with_the_digest_only_and_is_never_used_again() {
    let mut tx = scratch();
    assert_eq!(see(&mut tx, "editor", b"one"), (1, true));
    assert_eq!(see(&mut tx, "editor", b"one"), (1, false));
    assert_eq!(see(&mut tx, "editor", b"two"), (2, true));
    assert_eq!(see(&mut tx, "editor", b"one"), (3, true), "a revert is a new version");
    assert_eq!(see(&mut tx, "other", b"one"), (1, true), "every package counts for itself");

    // Deleted and created again.
    assert_eq!(forget(&mut tx, &key("editor"), None).unwrap(), 3);
    assert_eq!(list(&tx, &key("editor")).unwrap(), []);
    assert_eq!(see(&mut tx, "editor", b"one"), (3, false), "the same content is the same version");
    forget(&mut tx, &key("editor"), None).unwrap();
    assert_eq!(see(&mut tx, "editor", b"three"), (4, true));
}

#[test]
fn current_previous_and_pinned_are_kept() {
    let mut tx = scratch();
    for content in [b"a", b"b", b"c", b"d"] {
        see(&mut tx, "editor", content);
    }
    let kept_numbers =
        |tx: &Tx| kept(tx, &key("editor")).unwrap().iter().map(|row| row.source_version).collect::<Vec<_>>();
    assert_eq!(kept_numbers(&tx), [4, 3]);
    assert!(set_pinned(&mut tx, &key("editor"), 1, true).unwrap());
    assert!(!set_pinned(&mut tx, &key("editor"), 1, true).unwrap());
    assert_eq!(kept_numbers(&tx), [4, 3, 1]);
    assert_eq!(current(&tx, &key("editor")).unwrap().unwrap().content, Digest::of(b"d"));
    assert_eq!(all(&tx).unwrap().len(), 4);
}

#[test]
fn what_nobody_needs_is_forgotten_and_a_copy_somewhere_is_a_need() {
    let mut tx = scratch();
    for (package, content) in [("editor", b"a"), ("editor", b"b"), ("editor", b"c"), ("gone", b"x"), ("left", b"y")] {
        see(&mut tx, package, content);
    }
    let hold = |source_version, content: &[u8]| {
        let content = Digest::of(content);
        locations::Hold { point: "dp-1".into(), source_version, content, resend_token: None }
    };
    // A point has yet to confirm that it removed this one.
    locations::want(&mut tx, &key("left").package, &[hold(1, b"y")], NOW).unwrap();
    locations::want(&mut tx, &key("left").package, &[], NOW).unwrap();
    locations::want(&mut tx, &key("editor").package, &[hold(1, b"a")], NOW).unwrap();
    let numbers = |tx: &Tx, package| -> Vec<u64> {
        list(tx, &key(package)).unwrap().iter().map(|row| row.source_version).collect()
    };
    let declared = |package: &ObjectName| package.name == "editor";
    assert_eq!(forget_unneeded(&mut tx, declared).unwrap(), 1);
    assert_eq!((numbers(&tx, "editor"), numbers(&tx, "gone"), numbers(&tx, "left")), (vec![3, 2, 1], vec![], vec![1]));

    locations::abandon(&mut tx, None, Some("dp-1"), NOW).unwrap();
    assert_eq!(forget_unneeded(&mut tx, declared).unwrap(), 1);
    assert_eq!((numbers(&tx, "editor"), numbers(&tx, "left")), (vec![3, 2, 1], vec![]));
    assert_eq!(see(&mut tx, "gone", b"new"), (2, true), "numbers are never used again");
}

#[test]
fn reports_rebuild_the_counter() {
    let mut tx = scratch();
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    assert!(restore(&mut tx, &key("editor"), 7, &new, NOW).unwrap());
    assert!(restore(&mut tx, &key("editor"), 6, &old, NOW).unwrap());
    assert!(!restore(&mut tx, &key("editor"), 7, &new, NOW).unwrap());
    assert!(matches!(restore(&mut tx, &key("editor"), 7, &old, NOW), Err(DbError::Conflict(_))));
    assert_eq!(see(&mut tx, "editor", b"new"), (7, false), "the source still is what was distributed last");
    let row = current(&tx, &key("editor")).unwrap().unwrap();
    assert_eq!((row.size_bytes, row.files), (10, 1), "the snapshot completes it");
    assert_eq!(see(&mut tx, "editor", b"newer"), (8, true));
}
