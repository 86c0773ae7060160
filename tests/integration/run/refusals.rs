//! What is not started, and that nothing of it ran.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waybill::agent::run::{Ending, Settled, Ticket};
use waybill::model::reason::Reason;

use super::setting::{Client, ending, unseal};

/// A script that leaves a mark when it runs.
const MARKING: &str = "#!/bin/sh\ntouch \"$MARK\"\n";

fn client() -> Client {
    Client::with(&[("setup", MARKING), ("lib/data", "payload")])
}

fn marking_ticket(client: &Client) -> Ticket {
    let mut ticket = client.ticket(&["setup"]);
    ticket.env.insert("MARK".into(), mark(client).to_str().unwrap().into());
    ticket
}

fn mark(client: &Client) -> std::path::PathBuf {
    client.dir().join("mark")
}

fn reason(settled: &Settled) -> (Reason, String) {
    match ending(settled) {
        Ending::CouldNotStart { reason, detail } => (reason, detail),
        other => panic!("it was started: {other:?}"),
    }
}

#[test]
fn untouched_content_runs() {
    let client = client();
    assert_eq!(ending(&client.run(&marking_ticket(&client))), Ending::Exited { code: 0 });
    assert!(mark(&client).exists());
}

#[test]
fn content_that_is_not_the_manifest_is_refused() {
    let write = |path: &Path, bytes: &[u8]| {
        fs::remove_file(path).ok();
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    };
    type Tampering<'a> = (&'a str, Reason, &'a dyn Fn(&Path));
    let cases: [Tampering<'_>; 9] = [
        ("flipped program", Reason::DigestMismatch, &|dir| {
            write(&dir.join("setup"), MARKING.replace("touch", "Touch").as_bytes())
        }),
        ("flipped data", Reason::DigestMismatch, &|dir| write(&dir.join("lib/data"), b"paYload")),
        ("truncated data", Reason::DigestMismatch, &|dir| write(&dir.join("lib/data"), b"pay")),
        ("missing data", Reason::DigestMismatch, &|dir| fs::remove_file(dir.join("lib/data")).unwrap()),
        ("added file", Reason::DigestMismatch, &|dir| write(&dir.join("lib/extra"), b"")),
        ("added directory", Reason::DigestMismatch, &|dir| fs::create_dir(dir.join("more")).unwrap()),
        ("link to equal bytes", Reason::DigestMismatch, &|dir| {
            fs::rename(dir.join("lib/data"), dir.join("../data")).unwrap();
            std::os::unix::fs::symlink("../../data", dir.join("lib/data")).unwrap();
        }),
        ("writable file", Reason::NotAllowed, &|dir| {
            fs::set_permissions(dir.join("lib/data"), fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("writable directory", Reason::NotAllowed, &|dir| {
            fs::set_permissions(dir.join("lib"), fs::Permissions::from_mode(0o775)).unwrap();
        }),
    ];
    for (name, expected, tamper) in cases {
        let client = client();
        unseal(&client.content_dir());
        tamper(&client.content_dir());
        let settled = client.run(&marking_ticket(&client));
        assert_eq!(reason(&settled).0, expected, "{name}: {}", reason(&settled).1);
        assert!(!mark(&client).exists() && !settled.run_dir.join("begin.json").exists(), "{name}");
    }
}

#[test]
fn a_manifest_other_than_the_signed_one_is_refused() {
    let client = client();
    let mut ticket = marking_ticket(&client);
    ticket.content.as_mut().unwrap().manifest_digest = waybill::content::Digest::of(b"another");
    assert_eq!(reason(&client.run(&ticket)).0, Reason::DigestMismatch);
    assert!(!mark(&client).exists());
}

#[test]
fn commands_outside_package_and_configuration_are_refused() {
    for (argv, expected) in [
        (&["/usr/bin/env", "true"][..], Reason::NotAllowed),
        (&["/bin/../bin/sh", "-c", "true"], Reason::NotAllowed),
        (&["../setup"], Reason::ProgramNotFound),
        (&["lib/../setup"], Reason::ProgramNotFound),
        (&["missing"], Reason::ProgramNotFound),
        (&["lib"], Reason::ProgramNotFound),
        (&["sh"], Reason::ProgramNotFound),
        (&[""], Reason::ProgramNotFound),
        (&[], Reason::ProgramNotFound),
    ] {
        let client = client();
        let settled = client.run(&client.ticket(argv));
        assert_eq!(reason(&settled).0, expected, "{argv:?}: {}", reason(&settled).1);
    }
}

#[test]
fn a_working_directory_outside_the_package_is_refused() {
    let client = client();
    let mut ticket = marking_ticket(&client);
    ticket.cwd = Some("nowhere".parse().unwrap());
    assert_eq!(reason(&client.run(&ticket)).0, Reason::ProgramNotFound);
}

#[test]
fn what_the_kernel_cannot_execute_is_reported_as_not_started() {
    for (text, hint) in [
        ("#!/no/such/interpreter\n", "No such file"),
        ("\x7fELF but not really", "executable"),
        ("no program", "neither"),
    ] {
        let client = Client::with(&[("setup", text)]);
        let settled = client.run(&client.ticket(&["setup"]));
        let (reason, detail) = reason(&settled);
        assert!(reason == Reason::StartFailed && detail.contains(hint) && detail.contains("\"setup\""), "{detail}");
    }
}

#[test]
fn an_unknown_account_is_refused() {
    let client = client();
    let mut ticket = marking_ticket(&client);
    ticket.run_as = Some("no-such-account".into());
    assert_eq!(reason(&client.run(&ticket)).0, Reason::NotAllowed);
    assert!(!mark(&client).exists());
}

#[test]
fn an_agent_that_is_not_root_refuses_another_account() {
    if rustix::process::geteuid().is_root() {
        // tests/root.rs has the other side of this rule.
        return;
    }
    let client = client();
    let mut ticket = marking_ticket(&client);
    for account in ["root", "daemon"] {
        ticket.run_as = Some(account.into());
        assert_eq!(reason(&client.start(account, &ticket).unwrap().wait()).0, Reason::NotAllowed);
    }
    assert!(!mark(&client).exists());
}

#[test]
fn a_run_directory_is_supervised_for_its_agent_only() {
    let client = client();
    let settled = client.run(&marking_ticket(&client));
    fs::remove_file(mark(&client)).unwrap();
    let again =
        assert_cmd::Command::new(super::setting::launcher().program).arg("supervise").arg(&settled.run_dir).output();
    assert!(!again.unwrap().status.success());
    let lock = fs::File::open(settled.run_dir.join("lock")).unwrap();
    let mut with_lock = std::process::Command::new(super::setting::launcher().program);
    assert!(!with_lock.arg("supervise").arg(&settled.run_dir).stdin(lock).output().unwrap().status.success());
    assert!(!mark(&client).exists());
}

#[test]
fn a_file_that_is_replaced_while_it_is_looked_at_is_not_executed() {
    let client = client();
    let content = client.content_dir();
    unseal(&content);
    let forged = client.dir().join("forged");
    let genuine = client.dir().join("genuine");
    fs::write(&forged, MARKING.replace("MARK", "FORGED")).unwrap();
    fs::write(&genuine, MARKING).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut executed, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let spare = client.dir().join("spare");
            for source in [&forged, &genuine].into_iter().cycle() {
                fs::copy(source, &spare).unwrap();
                fs::set_permissions(&spare, fs::Permissions::from_mode(0o555)).unwrap();
                fs::rename(&spare, content.join("setup")).unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut ticket = marking_ticket(&client);
        ticket.env.insert("FORGED".into(), client.dir().join("forged-ran").to_str().unwrap().into());
        for number in 0..60 {
            match ending(&client.start(&number.to_string(), &ticket).unwrap().wait()) {
                Ending::Exited { code: 0 } => executed += 1,
                Ending::CouldNotStart { reason: Reason::DigestMismatch, .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!client.dir().join("forged-ran").exists());
    assert!(executed > 0 && refused > 0, "{executed} executed, {refused} refused: the test proves nothing");
}
