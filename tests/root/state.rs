//! State directories that another user made, or into which another user put something: every verb of root refuses them, and
//! changes nothing in them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use crate::require;

/// The user that puts things in root's way.
const OTHER: u32 = 65_534;
/// Every kind of process that has a state directory.
const VERBS: [&[&str]; 5] = [&["agent", "run"], &["dp"], &["cap"], &["up", "fleet"], &["apiserver"]];

fn other_made(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    chown(path, Some(OTHER), Some(OTHER)).unwrap();
}

/// Starts a process of root with this state directory; what it says when it refuses.
fn refusal(scratch: &Path, verb: &[&str], state: &Path) -> String {
    // One that accepts it would serve for ever.
    let mut command = Command::new("timeout");
    command.current_dir(scratch).args(["60", env!("CARGO_BIN_EXE_waybill")]).args(verb).arg("--state").arg(state);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{verb:?} {said}");
    said
}

fn is_untouched(path: &Path) -> bool {
    let metadata = fs::metadata(path).unwrap();
    let empty = fs::read_dir(path).unwrap().count() == 0;
    (metadata.uid(), metadata.mode() & 0o7777, empty) == (OTHER, 0o755, true)
}

#[test]
fn no_process_of_root_uses_a_state_directory_that_another_user_controls() {
    if !require::root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    fs::create_dir(place("fleet")).unwrap();
    // A place where everybody may make things, as /tmp is.
    fs::create_dir(place("shared")).unwrap();
    fs::set_permissions(place("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    other_made(&place("shared/theirs"));
    other_made(&place("target"));
    symlink(place("target"), place("shared/link")).unwrap();
    fs::create_dir(place("ours")).unwrap();
    fs::create_dir(place("planted")).unwrap();
    fs::write(place("planted/session.json"), "{}").unwrap();
    chown(place("planted/session.json"), Some(OTHER), Some(OTHER)).unwrap();
    symlink(place("ours"), place("shared/way")).unwrap();
    std::os::unix::fs::lchown(place("shared/way"), Some(OTHER), Some(OTHER)).unwrap();

    for verb in VERBS {
        for (state, expected) in [
            ("shared/theirs", "belongs to user 65534 and this process runs as user 0"),
            ("shared/link", "is a symbolic link"),
            ("shared/theirs/deeper", "on the way to the state directory, belongs to user 65534"),
            ("shared/way/state", "on the way to the state directory, belongs to user 65534"),
            ("planted", "session.json belongs to user 65534"),
        ] {
            let said = refusal(scratch.path(), verb, &place(state));
            assert!(said.contains(expected) && said.contains("give"), "{verb:?} {state}: {said}");
        }
        assert!(is_untouched(&place("shared/theirs")) && is_untouched(&place("target")), "{verb:?}");
    }
    assert_eq!(fs::read_dir(place("ours")).unwrap().count(), 0);
}
