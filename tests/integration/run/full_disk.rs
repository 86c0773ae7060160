//! Full disks: what a run needs for its end is set aside before it begins, and a run that cannot begin is not begun.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use waybill::agent::run::{Ending, StartError, State, start};

use super::setting::{Client, ending, intent, launcher};
use crate::require;

/// The environment variable that makes this process the one in the namespace.
const INSIDE: &str = "WAYBILL_TEST_FULL_DISK";

/// A namespace in which whoever runs the tests may mount.
pub(crate) const MAY_MOUNT: &[&str] = &["--user", "--map-root-user", "--mount"];

/// Runs the test `name` again in a namespace of its own; true if this already is that process.
pub(crate) fn inside(name: &str, namespace: &[&str]) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the way to hand an argument to a test")]
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let Some(unshare) = require::program("unshare") else { return false };
    if !Command::new(&unshare).args(namespace).arg("true").output().unwrap().status.success() {
        require::missing("userns", "the kernel has to let users make user namespaces");
        return false;
    }
    let mut again = Command::new(unshare);
    again.args(namespace).arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// A client whose state directory is a disk of 1 MiB.
fn client_on_small_disk() -> Client {
    let client = Client::with(&[]);
    mount("tmpfs", client.state_dir(), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
    client
}

/// Fills the disk of `dir` to the last byte; the file that does.
pub(crate) fn fill(dir: &Path) -> std::path::PathBuf {
    let ballast = dir.join("ballast");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success());
    ballast
}

#[test]
fn a_program_that_fills_the_disk_has_an_end() {
    if !inside("run::full_disk::a_program_that_fills_the_disk_has_an_end", MAY_MOUNT) {
        return;
    }
    let client = client_on_small_disk();
    let script = format!("dd if=/dev/zero bs=4k of={}/ballast; seq 1 100000; exit 4", client.state_dir().display());
    let settled = client.run(&client.ticket(&["/bin/sh", "-c", &script]));
    assert_eq!(ending(&settled), Ending::Exited { code: 4 });
}

#[test]
fn on_a_full_disk_nothing_is_started_and_afterwards_everything_works() {
    if !inside("run::full_disk::on_a_full_disk_nothing_is_started_and_afterwards_everything_works", MAY_MOUNT) {
        return;
    }
    let client = client_on_small_disk();
    let mark = client.dir().join("mark");
    let ticket = client.ticket(&["/bin/sh", "-c", &format!("echo started >> {}", mark.display())]);
    let mut attempt = 0;
    let mut try_to_run = || {
        attempt += 1;
        start(&client.state_dir(), &intent("disk", attempt), &ticket, &launcher())
            .map(|handle| handle.wait().state.unwrap())
    };
    // At every size of what is left, down to nothing.
    for left_kib in [0, 4, 8, 12, 16, 20, 24] {
        let ballast = fill(&client.state_dir());
        let size = fs::metadata(&ballast).unwrap().len();
        fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(size - left_kib * 1024).unwrap();
        let before = fs::read_to_string(&mark).unwrap_or_default().lines().count();
        let outcome = try_to_run();
        let lines = fs::read_to_string(&mark).unwrap_or_default().lines().count() - before;
        match outcome {
            Err(StartError::Journal { .. } | StartError::Supervisor(_)) | Ok(State::NotStarted) => assert_eq!(lines, 0),
            Ok(State::Ended(end)) if lines == 0 => {
                assert!(matches!(end.ending, Ending::CouldNotStart { .. }), "{end:?}")
            }
            Ok(State::Ended(end)) => assert_eq!((end.ending, lines), (Ending::Exited { code: 0 }, 1)),
            other => panic!("{left_kib} KiB left: {other:?}"),
        }
        fs::remove_file(ballast).unwrap();
    }
    let Ok(State::Ended(end)) = try_to_run() else { panic!("it does not recover") };
    assert_eq!(end.ending, Ending::Exited { code: 0 });
}
