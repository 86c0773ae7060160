//! How runs end, and what the program finds around it.

use std::fs;

use waybill::agent::run::{Ending, StartError, prune_outputs, prune_runs, recover};
use waybill::clock;

use super::setting::{Client, end, ending, eventually, intent, key, launcher, output, processes_with};

#[test]
fn exit_codes_and_signals_are_reported_raw() {
    let client = Client::with(&[]);
    for (number, (script, expected)) in [
        ("exit 0", Ending::Exited { code: 0 }),
        ("exit 3", Ending::Exited { code: 3 }),
        ("exit 255", Ending::Exited { code: 255 }),
        ("kill -KILL $$", Ending::Signalled { signal: 9 }),
        ("kill -TERM $$", Ending::Signalled { signal: 15 }),
        ("kill -ABRT $$", Ending::Signalled { signal: 6 }),
    ]
    .into_iter()
    .enumerate()
    {
        let ticket = client.ticket(&["/bin/sh", "-c", script]);
        let settled = client.start(&number.to_string(), &ticket).unwrap().wait();
        assert_eq!(ending(&settled), expected, "{script}");
    }
}

#[test]
fn output_of_both_streams_is_kept_in_order() {
    let (ending, output) = Client::with(&[]).shell("echo one; echo two >&2; echo three");
    assert_eq!((ending, output.as_str()), (Ending::Exited { code: 0 }, "one\ntwo\nthree\n"));
}

#[test]
fn the_last_64_kib_of_output_are_kept() {
    let client = Client::with(&[]);
    let settled = client.run(&client.ticket(&["/bin/sh", "-c", "seq 1 200000; echo the end"]));
    let kept = output(&settled);
    assert_eq!(kept.len(), 64 << 10);
    assert!(kept.ends_with("\n199999\n200000\nthe end\n"));
    assert_eq!(end(&settled).output_bytes, 1_288_903);
}

#[test]
fn a_binary_of_the_package_is_executed() {
    let client = Client::with_bytes(&[("bin/ok", &fs::read("/bin/true").unwrap())]);
    assert_eq!(ending(&client.run(&client.ticket(&["bin/ok"]))), Ending::Exited { code: 0 });
}

#[test]
fn a_script_of_the_package_is_executed_by_its_descriptor() {
    let script = "#!/bin/sh\necho \"$0\" \"$@\"; cat data/greeting; pwd\n";
    let client = Client::with(&[("setup script.sh", script), ("data/greeting", "hello\n")]);
    let settled = client.run(&client.ticket(&["./setup script.sh", "a b", "ü"]));
    assert_eq!(ending(&settled), Ending::Exited { code: 0 });
    let (name, rest) = output(&settled).split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(name.starts_with("/proc/self/fd/") || name.starts_with("/dev/fd/"), "{name}");
    assert_eq!(rest, format!("a b ü\nhello\n{}\n", client.content_dir().display()));
}

#[test]
fn the_environment_is_clean_and_input_is_empty() {
    let client = Client::with(&[("data/file", "x")]);
    let mut ticket =
        client.ticket(&["/bin/sh", "-c", "env | sort; cat; ulimit -c; umask; pwd; ls -l /proc/self/fd | wc -l"]);
    ticket.env = [("LICENCE", "none"), ("LANG", "de_DE.UTF-8"), ("WAYBILL_PACKAGE", "forged")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    ticket.cwd = Some("data".parse().unwrap());
    let settled = client.run(&ticket);
    let content = client.content_dir();
    let expected = format!(
        "LANG=de_DE.UTF-8\nLICENCE=none\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         PWD={0}/data\nWAYBILL_CONTENT={0}\nWAYBILL_PACKAGE=tool\nWAYBILL_PROGRAM=install\nWAYBILL_SOURCE_VERSION=7\n\
         0\n0022\n{0}/data\n5\n",
        content.display()
    );
    let printed: Vec<String> = output(&settled)
        .lines()
        .filter(|line| !line.starts_with("HOME=/") && !line.starts_with("_=") && !line.starts_with("OLDPWD="))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(printed.concat(), expected);
}

#[test]
fn a_package_without_files_runs_a_system_program_in_the_root_directory() {
    let client = Client::with(&[]);
    let mut ticket = client.ticket(&["/bin/sh", "-c", "pwd; echo ${WAYBILL_CONTENT-none}"]);
    ticket.content = None;
    assert_eq!(output(&client.run(&ticket)), "/\nnone\n");
}

#[test]
fn a_process_left_behind_lives_on_and_does_not_delay_the_end() {
    let client = Client::with(&[]);
    let mark = client.dir().join("left-behind");
    let script = format!("(sleep 4; echo alive > {}) > /dev/null 2>&1 & echo started", mark.display());
    let begun = std::time::Instant::now();
    let (ending, output) = client.shell(&script);
    assert_eq!((ending, output.as_str()), (Ending::Exited { code: 0 }, "started\n"));
    assert!(!mark.exists() && begun.elapsed().as_millis() < 3500);
    super::setting::eventually("the process left behind writes its file", || mark.exists().then_some(()));
    let script = format!("echo alive > {}", mark.display());
    super::setting::eventually("it ends", || super::setting::processes_with(&script).is_empty().then_some(()));
}

#[test]
fn an_attempt_is_started_once_and_not_beside_another() {
    let client = Client::with(&[]);
    let ticket = client.ticket(&["/bin/sh", "-c", "sleep 1"]);
    let first = client.start("key", &ticket).unwrap();
    let again = waybill::agent::run::start(&client.state_dir(), &intent("key", 2), &ticket, &launcher());
    assert!(matches!(again, Err(StartError::StillRunning { .. })));
    assert_eq!(ending(&first.wait()), Ending::Exited { code: 0 });
    assert!(matches!(client.start("key", &ticket), Err(StartError::AttemptExists { attempt: 1, .. })));
    assert_eq!(waybill::agent::run::next_attempt(&client.state_dir(), &key("key")).unwrap(), 2);
    assert_eq!(waybill::agent::run::next_attempt(&client.state_dir(), &key("other")).unwrap(), 1);
}

#[test]
fn output_of_three_runs_is_kept_and_recorded_runs_go_when_they_are_old() {
    let client = Client::with(&[]);
    let ticket = client.ticket(&["/bin/sh", "-c", "echo text"]);
    let runs: Vec<_> = (0..5).map(|n| client.start(&format!("run {n}"), &ticket).unwrap().wait().run_dir).collect();
    prune_outputs(&client.state_dir()).unwrap();
    let kept: Vec<bool> = runs.iter().map(|run| run.join("output").exists()).collect();
    assert_eq!(kept, [false, false, true, true, true]);

    let later = clock::now() + jiff::SignedDuration::from_hours(401 * 24);
    assert_eq!(prune_runs(&client.state_dir(), clock::now(), |_| true).unwrap(), 0);
    assert_eq!(prune_runs(&client.state_dir(), later, |intent| intent.run_key != key("run 1")).unwrap(), 4);
    let left = recover(&client.state_dir()).unwrap();
    let left: Vec<_> = left.into_iter().map(|run| run.intent.unwrap().run_key).collect();
    assert_eq!(left, [key("run 1")]);
}

#[test]
fn a_run_whose_directory_is_gone_leaves_no_supervisor() {
    let client = Client::with(&[]);
    let began = client.dir().join("began");
    let run = client.start("key", &client.ticket(&["/bin/sh", "-c", "touch \"$0\"; sleep 1", began.to_str().unwrap()]));
    eventually("it runs", || began.exists().then_some(()));
    let word = format!("supervise {}", client.state_dir().display());
    assert_eq!(processes_with(&word).len(), 1);
    fs::remove_dir_all(client.state_dir().join("runs")).unwrap();
    drop(run);
    eventually("nobody waits to write an end", || processes_with(&word).is_empty().then_some(()));
}
