//! What is never a package, by all the names that it can be reached under.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::GuardedWhy::{self, AroundState, AroundSystem, State, System};
use super::*;
use crate::source::{SnapshotError, open_directory};

#[test]
fn the_system_and_the_state_are_never_a_package() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["base/pkg", "base/around/state/keys", "base/around/state/sync/export/pkg"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    let guarded = Guarded::new(&at("base/around/state"));
    let why = |path: &str, base: &Path| -> Option<GuardedWhy> {
        match open_directory(path, base, &["/".into()], &guarded) {
            Ok(_) => None,
            Err(SnapshotError::Guarded { why, .. }) => Some(why),
            Err(other) => panic!("{path}: {other}"),
        }
    };
    let base = at("base");
    for path in ["/etc", "/etc/.", "//etc/", "/usr", "/usr/bin", "/usr/share", "/proc/sys", "/dev"] {
        assert_eq!(why(path, &base), Some(System), "{path}");
    }
    assert_eq!(why("/", &base), Some(AroundSystem));
    assert_eq!(why("/usr/local", &base), None, "the administrator's own");
    for path in ["around/state", "around/state/keys", "around/./state/keys"] {
        assert_eq!(why(path, &base), Some(State), "{path}");
    }
    assert_eq!(why(at("base/around/state/sync").to_str().unwrap(), &base), Some(State));
    for path in [".", "around", at("").to_str().unwrap()] {
        assert_eq!(why(path, &base), Some(AroundState), "{path}");
    }
    assert_eq!(why("pkg", &base), None);
    // The export of a commit lies in the state directory: the server put it there.
    let export = at("base/around/state/sync/export");
    assert_eq!((why("pkg", &export), why(".", &export)), (None, None));
    // Beneath a permitted root that is the system's own, and by another name for it.
    assert!(matches!(open_directory("ssl", Path::new("/etc"), &[], &guarded), Err(SnapshotError::Guarded { .. })));
    symlink("/etc", at("alias")).unwrap();
    assert!(matches!(open_directory(".", &at("alias"), &[], &guarded), Err(SnapshotError::Guarded { .. })));
    symlink("/etc", at("base/link")).unwrap();
    assert!(matches!(open_directory("link", &base, &[], &guarded), Err(SnapshotError::Unavailable { .. })));
    assert!(matches!(open_directory("../etc", &base, &[], &guarded), Err(SnapshotError::NotPermitted { .. })));
}
