//! A release from before, from `tests/fixtures/previous`, whose README says what it is: unpacked for a test, at the address where its
//! client knows its site. Does not start anything.

#![allow(unreachable_pub, reason = "a module of several test binaries")]

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Where its client knows the site.
pub const ADDRESS: &str = "127.83.9.1";
/// The port for devices there; the others follow it.
pub const PORT: u16 = 31_444;
/// Longest wait for another test at the same address.
const PATIENCE: Duration = Duration::from_secs(600);

/// A file or folder of the fixture.
pub fn fixture(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/previous").join(below)
}

/// The address, for one test at a time, whichever process it is in.
pub struct Address {
    _held: TcpListener,
}

impl Address {
    /// Waits until no other test has it.
    pub fn take() -> Address {
        let end = Instant::now() + PATIENCE;
        loop {
            // A port of the same address that nobody else listens on: gone with whoever holds it.
            match TcpListener::bind((ADDRESS, PORT - 2)) {
                Ok(held) => return Address { _held: held },
                Err(error) => assert!(Instant::now() < end, "{ADDRESS}: {error}"),
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Unpacks its state and its served directory: `site`, `client` and `fleet` beneath `directory`, and a configuration for the client.
pub fn unpack(directory: &Path, _at: &Address) {
    let succeed = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    succeed(
        Command::new("tar").arg("-xzf").arg(fixture("state.tar.gz")).arg("-C").arg(directory).arg("--no-same-owner"),
    );
    succeed(Command::new("cp").arg("-r").arg(fixture("fleet")).arg(directory));
    let settings = directory.join("agent.json");
    fs::write(&settings, r#"{"allowRoot": true}"#).unwrap();
    fs::set_permissions(settings, Permissions::from_mode(0o600)).unwrap();
    // A client's state stays where it is on its machine, and knows its runs by where they lie.
    let database = rusqlite::Connection::open(directory.join("client/agent.db")).unwrap();
    let here = directory.to_str().unwrap();
    let moved = database.execute("UPDATE runs SET run_dir = replace(run_dir, '/srv/waybill', ?1)", [here]).unwrap();
    assert_eq!(moved, 2);
}

/// The id of the client, as its own state has it.
pub fn client_id(directory: &Path) -> String {
    let session: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("client/session.json")).unwrap()).unwrap();
    session["id"].as_str().unwrap().to_owned()
}

/// Changes the package `tool`: its program goes on doing the same.
pub fn change_package(directory: &Path) {
    let program = directory.join("fleet/packages/tool/run.sh");
    let text = fs::read_to_string(&program).unwrap() + "# changed\n";
    let fresh = directory.join("fresh");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, Permissions::from_mode(0o755)).unwrap();
    fs::rename(fresh, program).unwrap();
}

/// The lines that its programs wrote since it was unpacked.
pub fn lines(directory: &Path) -> Vec<String> {
    fs::read_to_string(directory.join("lines")).unwrap_or_default().lines().map(str::to_owned).collect()
}
