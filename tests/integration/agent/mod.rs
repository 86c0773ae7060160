//! The client agent as a real process against a real access point: what runs, how often, and what the site is told.

mod before;
mod kill;
mod local;
pub(crate) mod machine;
mod output;
pub(crate) mod site;

use std::{fs, time::Duration};

use jiff::SignedDuration;
use machine::Machine;
use site::{Site, assigned, program, record};
use waybill::{
    clock,
    model::{reason::Reason, schedule::Assignment, state::RunState},
    wire::record::DependencyRef,
};

/// A script that notes each of its starts in a file outside the package.
fn noting(machine: &Machine, file: &str, then: &str) -> String {
    format!("echo run >> {}; {then}", machine.file(file).display())
}

fn shell(name: &str, script: &str) -> waybill::wire::record::RecordProgram {
    program(name, &["/bin/sh", "-c", script])
}

#[test]
fn a_program_is_fetched_verified_run_once_and_reported_in_order() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let script = format!("#!/bin/sh\n{}\n", noting(&machine, "runs", "exit 0"));
    let content = site.publish(&[("install.sh", &script)], &[""]);
    let record = site.record(&record(Some(content), vec![program("install", &["install.sh"])]));
    site.offer(&[assigned("all", "install", record)]);
    machine.eventually("success", || site.states("all").contains(&RunState::Succeeded).then_some(()));
    assert_eq!(site.states("all"), [RunState::Accepted, RunState::Downloading, RunState::Running, RunState::Succeeded]);
    assert_eq!(machine.lines("runs").len(), 1);
    assert_eq!(site.received().inventories.len(), 1);

    // The same program by another advertisement does not run again.
    site.offer(&[assigned("all", "install", record), assigned("second", "install", record)]);
    machine.eventually("a word about the second", || {
        site.states("second").contains(&RunState::WillNotRerun).then_some(())
    });
    assert_eq!(machine.lines("runs").len(), 1);
}

#[test]
fn a_new_version_fetches_only_what_changed_and_never_a_damaged_copy() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let script = format!("#!/bin/sh\n{}\n", noting(&machine, "runs", "true"));
    let mut asked = Vec::new();
    for version in ["one", "two", "three"] {
        let content = site.publish(&[("install.sh", &script), ("same", "the same"), ("other", version)], &[""]);
        if version == "three" {
            machine.damage_cached("same");
        }
        let record = site.record(&record(Some(content), vec![program(version, &["install.sh"])]));
        site.offer(&[assigned(version, version, record)]);
        machine.eventually("success", || site.states(version).contains(&RunState::Succeeded).then_some(()));
        asked.push(site.received().files_asked);
    }
    // Everything; then the changed file; then that and the one whose copies here are damaged.
    assert_eq!(asked, [3, 4, 6]);
    assert_eq!(machine.lines("runs").len(), 3);
    assert_eq!(site.received().complaints.len(), 0, "no point is blamed for a bad disk here");
}

#[test]
fn success_codes_outputs_and_failures_are_told() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let mut reboot = shell("reboot", "exit 3010");
    reboot.argv = vec!["/bin/sh".into(), "-c".into(), "exit 17".into()];
    reboot.success_codes = vec![0, 17];
    let fails = shell("fails", "echo what went wrong; exit 5");
    let record = site.record(&record(None, vec![reboot, fails]));
    site.offer(&[assigned("reboot", "reboot", record), assigned("fails", "fails", record)]);
    machine.eventually("both", || {
        let done =
            site.states("reboot").contains(&RunState::Succeeded) && site.states("fails").contains(&RunState::Failed);
        done.then_some(())
    });
    let messages = site.messages();
    let failure = messages.iter().find(|message| message.state == Some(RunState::Failed)).unwrap();
    assert_eq!(failure.message_id, 10_006);
    assert_eq!(failure.attributes["exitCode"], "5");
    assert!(failure.attributes["output"].contains("what went wrong"));
    assert_eq!(failure.attributes["program"], "fails");
    // How it ended stays where it stands: no later word hides it.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.states("fails").last(), Some(&RunState::Failed));
}

#[test]
fn a_program_that_was_refused_is_never_said_to_have_started() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let content = site.publish(&[("install.sh", "#!/bin/sh\nexit 3\n"), ("plain", "")], &[""]);
    let programs =
        vec![program("missing", &["plain"]), program("odd", &["/bin/true"]), program("runs", &["install.sh"])];
    let record = site.record(&record(Some(content), programs));
    let offers = ["missing", "odd", "runs"].map(|name| assigned(name, name, record));
    site.offer(&offers);
    machine.eventually("the one that runs", || site.states("runs").contains(&RunState::Failed).then_some(()));
    for refused in ["missing", "odd"] {
        machine.eventually(refused, || site.states(refused).contains(&RunState::PrepareFailed).then_some(()));
        assert!(!site.states(refused).contains(&RunState::Running), "{:?}", site.states(refused));
    }
    let started = site.messages().iter().filter(|message| message.message_id == 10_005).count();
    assert_eq!(started, 1);
    assert_eq!(site.states("runs").iter().filter(|state| **state == RunState::Running).count(), 1);
}

#[test]
fn a_late_joiner_runs_what_was_assigned_and_an_expired_offer_starts_nothing() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let late = shell("late", &noting(&machine, "late", "true"));
    let never = shell("never", &noting(&machine, "never", "true"));
    let record = site.record(&record(None, vec![late, never]));
    let hour = SignedDuration::from_hours(1);
    let mut past = assigned("late", "late", record);
    past.assignments = vec![Assignment::At(clock::now() - hour)];
    let mut expired = assigned("expired", "never", record);
    expired.expires = Some(clock::now() - SignedDuration::from_secs(1));
    let mut suspended = assigned("suspended", "never", record);
    suspended.suspended = true;
    let mut ahead = assigned("ahead", "never", record);
    ahead.start = Some(clock::now() + hour);
    site.offer(&[past, expired, suspended, ahead]);
    machine.eventually("a late joiner runs it", || site.states("late").contains(&RunState::Succeeded).then_some(()));
    machine.eventually("the expired one says so", || site.states("expired").contains(&RunState::Expired).then_some(()));
    machine.eventually("a hold", || site.states("suspended").contains(&RunState::Waiting).then_some(()));
    assert!(site.states("ahead").is_empty(), "nothing is visible before its start");
    assert!(machine.lines("never").is_empty());
}

#[test]
fn a_withdrawn_offer_lets_its_program_go_on_and_report() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let go = machine.file("go");
    let waits = shell("waits", &format!("while [ ! -e {} ]; do sleep 0.05; done", go.display()));
    let record = site.record(&record(None, vec![waits, shell("never", "exit 1")]));
    let mut later = assigned("later", "never", record);
    later.assignments = vec![Assignment::At(clock::now() + SignedDuration::from_hours(1))];
    site.offer(&[assigned("all", "waits", record), later]);
    machine.eventually("a start", || site.states("all").contains(&RunState::Running).then_some(()));
    machine.eventually("a wait", || site.states("later").contains(&RunState::Waiting).then_some(()));
    site.offer(&[]);
    machine.eventually("what had not started is cancelled", || {
        site.states("later").contains(&RunState::Cancelled).then_some(())
    });
    std::fs::write(&go, "").unwrap();
    machine
        .eventually("what ran goes on to its end", || site.states("all").contains(&RunState::Succeeded).then_some(()));
}

#[test]
fn a_dependency_runs_first_once_and_moves_no_advertisement() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let first = shell("first", &noting(&machine, "order", "true"));
    let mut second = shell("second", &format!("echo second >> {}", machine.file("order").display()));
    second.depends_on = Some(DependencyRef { package: "tool".into(), program: "first".into() });
    let mut blocked = shell("blocked", &noting(&machine, "blocked", "true"));
    blocked.depends_on = Some(DependencyRef { package: "tool".into(), program: "broken".into() });
    let broken = shell("broken", "exit 1");
    let record = site.record(&record(None, vec![first, second, blocked, broken]));
    site.offer(&[assigned("all", "second", record), assigned("blocked", "blocked", record)]);
    machine.eventually("the dependency and then the program", || {
        site.states("all").contains(&RunState::Succeeded).then_some(())
    });
    assert_eq!(machine.lines("order"), ["run", "second"]);
    machine.eventually("a blocked program says why", || {
        let messages = site.messages();
        messages.iter().any(|message| message.reason == Some(Reason::DependencyFailed)).then_some(())
    });
    assert!(machine.lines("blocked").is_empty());
    let states = site.states("blocked");
    assert!(!states.contains(&RunState::Running) && !states.contains(&RunState::Failed), "{states:?}");
}

#[test]
fn a_disabled_program_is_held_and_keeps_its_history() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let enabled = shell("install", &noting(&machine, "runs", "true"));
    let mut disabled = enabled.clone();
    disabled.disabled = true;
    let (enabled, disabled) = (site.record(&record(None, vec![enabled])), site.record(&record(None, vec![disabled])));
    site.offer(&[assigned("all", "install", disabled)]);
    machine.eventually("the disabled one is held", || {
        site.messages().iter().any(|message| message.reason == Some(Reason::ProgramDisabled)).then_some(())
    });
    assert!(machine.lines("runs").is_empty());
    site.offer(&[assigned("all", "install", enabled)]);
    machine.eventually("a run", || site.states("all").contains(&RunState::Succeeded).then_some(()));
    site.offer(&[assigned("all", "install", disabled)]);
    site.offer(&[assigned("all", "install", enabled), assigned("again", "install", enabled)]);
    machine.eventually("history", || site.states("again").contains(&RunState::WillNotRerun).then_some(()));
    assert_eq!(machine.lines("runs").len(), 1);
}

#[test]
fn a_state_that_was_moved_is_the_same_and_tells_nothing_again() {
    let mut site = Site::start();
    let mut machine = Machine::of(&site);
    let first = shell("first", &noting(&machine, "runs", "true"));
    let later = shell("later", "true");
    let record = site.record(&record(None, vec![first, later]));
    site.offer(&[assigned("first", "first", record)]);
    machine.eventually("a run", || site.states("first").contains(&RunState::Succeeded).then_some(()));
    machine.kill();
    machine.move_state();
    machine.start();
    site.offer(&[assigned("first", "first", record), assigned("later", "later", record)]);
    machine.eventually("what came later", || site.states("later").contains(&RunState::Succeeded).then_some(()));
    let states = site.states("first");
    let said = |state: RunState| states.iter().filter(|one| **one == state).count();
    assert_eq!((said(RunState::Running), said(RunState::Succeeded)), (1, 1), "{states:?}");
    assert_eq!(machine.lines("runs").len(), 1);
    let history = machine.ask(&["history", "--output", "json"]);
    let runs: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs:#}");
}

#[test]
fn a_bad_and_a_dead_point_are_left_for_the_next_and_complained_about_once() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let script = format!("#!/bin/sh\n{}\n", noting(&machine, "runs", "true"));
    let content = site.publish(&[("install.sh", &script)], &["/bad"]);
    let wrong = site.record(&record(Some(content), vec![program("install", &["install.sh"])]));
    site.offer(&[assigned("all", "install", wrong)]);
    machine.eventually("a mismatch", || site.states("all").contains(&RunState::ContentMismatch).then_some(()));
    assert!(machine.lines("runs").is_empty());
    // Tried again by itself: with backoff, and with a single complaint.
    let tries = site.received().downloads;
    machine.eventually("another try", || (site.received().downloads > tries).then_some(()));
    assert_eq!(site.received().complaints.len(), 1);
    site.publish(&[("install.sh", &script)], &["https://127.0.0.1:1", "/bad", ""]);
    site.offer(&[assigned("all", "install", wrong), assigned("more", "install", wrong)]);
    machine.eventually("a good point", || site.states("all").contains(&RunState::Succeeded).then_some(()));
    assert_eq!(machine.lines("runs").len(), 1);
    assert_eq!(site.received().complaints.len(), 1);
}

#[test]
fn an_older_policy_is_refused_and_told_once() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let record = site.record(&record(None, vec![shell("a", "true"), shell("b", &noting(&machine, "b", "true"))]));
    site.offer_signed(&[assigned("a", "a", record)], Some(50));
    machine.eventually("the newer policy", || site.states("a").contains(&RunState::Succeeded).then_some(()));
    site.offer_signed(&[assigned("b", "b", record)], Some(40));
    machine.eventually("a word about it", || {
        site.messages().iter().any(|message| message.reason == Some(Reason::PolicyRollback)).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let words = site.messages().iter().filter(|message| message.reason == Some(Reason::PolicyRollback)).count();
    assert_eq!(words, 1);
    assert!(machine.lines("b").is_empty());
}

#[test]
fn a_message_that_is_refused_for_good_does_not_block_the_others() {
    let mut site = Site::start();
    site.received().away = true;
    site.received().poison = Some("program bad failed".into());
    let machine = Machine::of(&site);
    let programs =
        vec![shell("good", &noting(&machine, "runs", "true")), shell("bad", &noting(&machine, "runs", "exit 1"))];
    let record = site.record(&record(None, programs));
    site.offer(&[assigned("bad", "bad", record), assigned("good", "good", record)]);
    machine.eventually("both runs while the site takes nothing", || (machine.lines("runs").len() == 2).then_some(()));
    site.received().away = false;
    machine.eventually("the good one", || site.states("good").contains(&RunState::Succeeded).then_some(()));
    machine.eventually("a word about the bad one", || {
        site.messages().iter().any(|message| message.text.contains("refused status message")).then_some(())
    });
    assert_eq!(site.states("bad"), [RunState::Accepted, RunState::Running]);
}

#[test]
fn local_users_see_offers_and_start_what_they_may() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let record = site.record(&record(None, vec![shell("game", "true"), shell("patch", "true")]));
    let mut optional = assigned("game", "game", record);
    optional.assignments = vec![];
    optional.user_may_start = true;
    let mut mandatory = assigned("patch", "patch", record);
    mandatory.assignments = vec![Assignment::At(clock::now() + SignedDuration::from_hours(1))];
    site.offer(&[optional, mandatory]);
    machine.eventually("the wait for a user", || site.states("game").contains(&RunState::Waiting).then_some(()));
    let offers = machine.ask(&["offers"]);
    let text = String::from_utf8(offers.stdout).unwrap();
    assert!(text.contains("default/game") && text.contains("Waiting (WaitingForUser)"), "{text}");
    let refused = machine.ask(&["start", "patch"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not for users to start"));
    assert!(!machine.ask(&["start", "nothing"]).status.success());
    let started = machine.ask(&["start", "game"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    machine.eventually("the run", || site.states("game").contains(&RunState::Succeeded).then_some(()));
    let messages = site.messages();
    let done = messages.iter().find(|message| message.state == Some(RunState::Succeeded)).unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert!(done.attributes["user"].contains(&uid.to_string()), "{:?}", done.attributes);
    let history = machine.ask(&["history", "--output", "json"]);
    let runs: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    assert_eq!(runs[0]["key"]["program"]["program"], "game");
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_the_agent_goes_on() {
    let mut site = Site::start();
    let life = Duration::from_secs(8);
    let machine = Machine::with_certificate(&site, life);
    let session = machine.state().join("session.json");
    let before = std::fs::read(&session).unwrap();
    machine.eventually("a renewal", || (std::fs::read(&session).unwrap() != before).then_some(()));
    std::thread::sleep(life);
    let record = site.record(&record(None, vec![shell("a", "true")]));
    site.offer(&[assigned("a", "a", record)]);
    machine
        .eventually("a run after the old one ended", || site.states("a").contains(&RunState::Succeeded).then_some(()));
}

#[test]
fn an_agent_whose_state_directory_is_gone_starts_nothing_more_and_ends() {
    let mut site = Site::start();
    let mut machine = Machine::of(&site);
    let first = site.record(&record(None, vec![shell("first", &noting(&machine, "runs", "true"))]));
    site.offer(&[assigned("first", "first", first)]);
    machine.eventually("the first run", || site.states("first").contains(&RunState::Succeeded).then_some(()));
    fs::rename(machine.state(), machine.file("aside")).unwrap();
    let second = site.record(&record(None, vec![shell("second", &noting(&machine, "runs", "true"))]));
    site.offer(&[assigned("second", "second", second)]);
    let mut ended = None;
    let log = machine.file("log");
    for _ in 0..600 {
        ended = machine.ended();
        if ended.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = fs::read_to_string(log).unwrap();
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}\n{log}");
    assert!(log.contains("was removed or replaced while this process ran"), "{log}");
    assert_eq!(machine.lines("runs").len(), 1, "{log}");
    assert!(!machine.state().exists(), "nothing is made in its place");

    fs::rename(machine.file("aside"), machine.state()).unwrap();
    machine.start();
    machine.eventually("the second run", || site.states("second").contains(&RunState::Succeeded).then_some(()));
    assert_eq!(machine.lines("runs").len(), 2);
}

#[test]
fn a_state_directory_has_one_agent() {
    let site = Site::start();
    let machine = Machine::of(&site);
    machine.eventually("the first", || (!site.received().inventories.is_empty()).then_some(()));
    let second = machine.ask(&["run"]);
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent is running"));
}
