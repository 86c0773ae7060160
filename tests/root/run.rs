//! Runs by an agent that is root: as other accounts, as root only if allowed, in control groups of either version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use waybill::agent::run::{Begin, Ending, Launcher, Settled, prune_outputs, start};
use waybill::model::reason::Reason;

use crate::require;
use crate::setting::{Client, ending, eventually, intent, launcher, output, processes_with};

/// Prints what the process is.
const WHO: &str = "#!/bin/sh\nid -u; id -g; id -G; grep NoNewPrivs /proc/self/status; echo $HOME; cat data\n";

/// Runs [`WHO`]; how it ended and what it printed. The client's directory is closed to everybody else, as a state
/// directory is.
fn who(run_as: Option<&str>, allow_root: bool) -> (Ending, String) {
    let client = Client::with(&[("who", WHO), ("data", "readable\n")]);
    fs::set_permissions(client.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut ticket = client.ticket(&["who"]);
    ticket.run_as = run_as.map(Into::into);
    ticket.allow_root = allow_root;
    let settled = client.run(&ticket);
    (ending(&settled), output(&settled))
}

/// What the machine itself says about an account.
fn id(flag: &str, account: &str) -> String {
    String::from_utf8(Command::new("id").args([flag, account]).output().unwrap().stdout).unwrap()
}

#[test]
fn run_as_becomes_the_account_with_its_groups_and_gains_nothing_back() {
    if !require::root() {
        return;
    }
    let facts = ["-u", "-g", "-G"].map(|flag| id(flag, "nobody")).concat();
    let (ending, printed) = who(Some("nobody"), false);
    assert_eq!(ending, Ending::Exited { code: 0 }, "{printed}");
    assert!(
        printed.starts_with(&format!("{facts}NoNewPrivs:\t1\n/")) && printed.ends_with("\nreadable\n"),
        "{printed}"
    );
}

#[test]
fn root_runs_only_if_allowed() {
    if !require::root() {
        return;
    }
    for run_as in [None, Some("root")] {
        let (ending, printed) = who(run_as, false);
        assert!(matches!(ending, Ending::CouldNotStart { reason: Reason::NotAllowed, .. }), "{ending:?}");
        assert_eq!(printed, "");
        let (ending, printed) = who(run_as, true);
        assert_eq!(ending, Ending::Exited { code: 0 }, "{printed}");
        assert!(printed.starts_with("0\n0\n") && printed.contains("NoNewPrivs:\t0\n"), "{printed}");
    }
}

#[test]
fn an_account_cannot_signal_its_supervisor_or_reach_its_journal() {
    if !require::root() {
        return;
    }
    let client = Client::with(&[]);
    let state = client.state_dir();
    let script =
        format!("kill -KILL $PPID; ls {0}/runs; echo x > {0}/end.json; touch here; echo done", state.display());
    let mut ticket = client.ticket(&["/bin/sh", "-c", &script]);
    ticket.run_as = Some("nobody".into());
    ticket.allow_root = false;
    let settled = client.run(&ticket);
    assert_eq!(ending(&settled), Ending::Exited { code: 0 });
    let denials = output(&settled).matches("ermi").count();
    assert!(denials == 4 && output(&settled).ends_with("done\n"), "{}", output(&settled));
}

/// A launcher whose supervisor does not see these mounts.
fn without_mounts(mounts: &[String]) -> Launcher {
    let hide = mounts.iter().map(|mount| format!("umount {mount} && ")).collect::<String>();
    let agent = launcher();
    let script = format!("{hide}exec {} supervise \"$0\"", agent.program.display());
    Launcher { program: "/usr/bin/unshare".into(), verb: ["-m", "sh", "-c", &script].map(Into::into).into() }
}

/// Mount points of control groups with `option`, or of version 2.
fn cgroup_mounts(version2: bool) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let wanted = |line: &&str| {
        if version2 { line.contains(" - cgroup2 ") } else { line.contains(" - cgroup ") && line.ends_with("freezer") }
    };
    mounts.lines().filter(wanted).map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect()
}

/// Runs a stubborn tree for a second and returns where its control group was.
fn killed_tree(launcher: &Launcher) -> Option<std::path::PathBuf> {
    let client = Client::with(&[]);
    let tag = format!("stubborn-{}", client.dir().display());
    let script = "trap '' TERM
        (setsid sh -c '(setsid sh -c \"trap : TERM; while :; do sleep 0.1; done\" \"$0\" & ) ; exit 0' \"$0\" & )
        cat /proc/self/cgroup; while :; do sleep 0.1; done";
    let mut ticket = client.ticket(&["/bin/sh", "-c", script, &tag]);
    ticket.max_runtime_seconds = 1;
    let settled = start(&client.state_dir(), &intent("tree", 1), &ticket, launcher).unwrap().wait();
    assert_eq!(ending(&settled), Ending::TimedOut { killed: true, survivors: 0 });
    eventually("the tree is gone", || processes_with(&tag).is_empty().then_some(()));
    let cgroup = begin(&settled).cgroup;
    if let Some(dir) = &cgroup {
        let name = dir.file_name().unwrap().to_str().unwrap();
        assert!(output(&settled).contains(name), "the program was not in {name}: {}", output(&settled));
        assert!(!dir.exists(), "{} was left behind", dir.display());
    }
    cgroup
}

fn begin(settled: &Settled) -> Begin {
    serde_json::from_slice(&fs::read(settled.run_dir.join("begin.json")).unwrap()).unwrap()
}

#[test]
fn trees_are_ended_by_either_version_of_control_groups_and_without() {
    if !require::root() {
        return;
    }
    let (version1, version2) = (cgroup_mounts(false), cgroup_mounts(true));
    let below = |cgroup: &Option<std::path::PathBuf>, mounts: &[String]| {
        cgroup.as_deref().is_some_and(|dir: &Path| mounts.iter().any(|mount| dir.starts_with(mount)))
    };
    if version2.is_empty() {
        eprintln!("SKIPPED in part: no control groups of version 2 are mounted here");
    } else {
        assert!(below(&killed_tree(&launcher()), &version2));
    }
    if version1.is_empty() {
        eprintln!("SKIPPED in part: no freezer of version 1 is mounted here");
    } else {
        assert!(below(&killed_tree(&without_mounts(&version2)), &version1));
    }
    assert_eq!(killed_tree(&without_mounts(&[version1, version2].concat())), None);
}

#[test]
fn a_group_that_a_service_was_left_in_goes_once_that_has_ended() {
    if !require::root() {
        return;
    }
    let client = Client::with(&[]);
    let settled = client.run(&client.ticket(&["/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"]));
    assert_eq!(ending(&settled), Ending::Exited { code: 0 });
    let Some(group) = begin(&settled).cgroup else {
        eprintln!("SKIPPED in part: no control groups are mounted here");
        return;
    };
    let service: i32 = output(&settled).trim().parse().unwrap();
    prune_outputs(&client.state_dir()).unwrap();
    assert!(group.exists() && Path::new(&format!("/proc/{service}")).exists(), "what was left behind goes on");
    rustix::process::kill_process(rustix::process::Pid::from_raw(service).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    eventually("the group is empty and goes", || {
        prune_outputs(&client.state_dir()).unwrap();
        (!group.exists()).then_some(())
    });
}
