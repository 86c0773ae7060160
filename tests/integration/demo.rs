//! `waybill demo --once`: the whole story with real processes, which ends well by itself or says who did not get there.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(180);

fn demo(directory: &Path, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["demo", "--once", "--dir"]).arg(directory).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end; answers the exit code and everything said.
fn end(mut child: Child) -> (Option<i32>, String) {
    let pipe = child.stdout.take().unwrap();
    let told = thread::spawn(move || std::io::read_to_string(pipe).unwrap());
    let pipe = child.stderr.take().unwrap();
    let complained = thread::spawn(move || std::io::read_to_string(pipe).unwrap());
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= until {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    };
    (status.code(), format!("{}{}", told.join().unwrap(), complained.join().unwrap()))
}

#[test]
fn once_ends_by_itself_with_every_client_as_declared() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("demo");
    let (code, told) = end(demo(&directory, &["--keep"]));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Every client is as declared"), "{told}");
    // what the machines themselves say
    for (client, lines) in [("kiosk-1", 4), ("kiosk-2", 4), ("kiosk-3", 4), ("kiosk-4", 4), ("kiosk-5", 4)] {
        let text = fs::read_to_string(directory.join("machines").join(client).join("installed")).unwrap();
        let mut ran: Vec<&str> = text.lines().collect();
        assert_eq!(ran.len(), lines, "{client}: {ran:?}");
        ran.sort_unstable();
        assert_eq!(ran, ["greeter 1", "greeter 2", "notice 1", "runtime 1"], "{client}");
    }
    crate::world::unseal(&directory);
}

#[test]
fn a_client_that_cannot_get_there_is_named_and_the_exit_code_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("demo");
    let child = demo(&directory, &["--patience", "12"]);
    let machine = directory.join("machines/kiosk-4");
    let until = Instant::now() + PATIENCE;
    while !machine.exists() {
        assert!(Instant::now() < until, "the demo does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    // its programs cannot write there any more
    fs::set_permissions(&machine, Permissions::from_mode(0o555)).unwrap();
    let (code, told) = end(child);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("kiosk-4 has not run: greeter 1, runtime 1"), "{told}");
    assert!(!told.contains("kiosk-5 has not run"), "{told}");
    assert!(told.contains("the logs are in"), "{told}");
    crate::world::unseal(&directory);
}

#[test]
fn an_audience_that_cannot_be_told_anything_is_left_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("demo");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["demo", "--once", "--dir"]).arg(&directory).stdin(Stdio::null()).stdout(full);
    let output = command.output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.starts_with("waybill: standard output cannot be written: "), "{complained}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!directory.exists(), "the scratch directory stays");
}

#[test]
fn a_reader_that_leaves_ends_everything_quietly() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("demo");
    let mut child = demo(&directory, &[]);
    // As `| head -1` does: a line, and then nobody reads any more.
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("serves the branch main"), "{first}");
    let output = child.wait_with_output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), complained.as_ref()), (Some(128 + 13), ""));
    assert!(!directory.exists(), "the scratch directory stays");
    let state = directory.join("site").display().to_string();
    let left = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let words = fs::read_to_string(process.path().join("cmdline")).ok()?;
        words.contains(&state).then_some(words)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "processes stay");
}
