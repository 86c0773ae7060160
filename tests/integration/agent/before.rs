//! What ran before: a dependency that failed, an offer that comes back, a program that another advertisement ran.

use jiff::SignedDuration;
use waybill::{
    clock,
    model::{
        message::{EXIT_CODE, OUTPUT, StatusMessage},
        reason::Reason,
        schedule::Assignment,
        state::RunState,
    },
    wire::record::DependencyRef,
};

use super::{
    machine::Machine,
    noting, shell,
    site::{Site, assigned, record},
};

/// What was said under this advertisement about where it stands there, in order.
fn said(site: &Site, advertisement: &str) -> Vec<StatusMessage> {
    let name = format!("default/{advertisement}");
    site.messages().into_iter().filter(|message| message.attributes.get("advertisement") == Some(&name)).collect()
}

fn last(site: &Site, advertisement: &str) -> StatusMessage {
    said(site, advertisement).into_iter().rfind(|message| message.state.is_some()).unwrap()
}

#[test]
fn a_failed_dependency_fails_both_advertisements_and_its_output_is_under_both() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let mut top = shell("top", &noting(&machine, "top", "true"));
    top.depends_on = Some(DependencyRef { package: "tool".into(), program: "base".into() });
    let base = shell("base", &noting(&machine, "base", "echo bad things >&2; exit 3"));
    let record = site.record(&record(None, vec![top, base]));
    site.offer(&[assigned("top", "top", record), assigned("base", "base", record)]);
    machine.eventually("the blocked one has failed", || {
        site.states("top").contains(&RunState::PrepareFailed).then_some(())
    });
    let blocked = last(&site, "top");
    assert_eq!((blocked.reason, blocked.message_id), (Some(Reason::DependencyFailed), 10_003));
    assert!(blocked.text.contains("program base, which it depends on, failed with exit code 3"), "{}", blocked.text);
    machine.eventually("the failed one has failed", || site.states("base").contains(&RunState::Failed).then_some(()));
    assert_eq!(site.states("base"), [RunState::Accepted, RunState::Running, RunState::Failed]);
    for advertisement in ["top", "base"] {
        let failure = said(&site, advertisement).into_iter().find(|message| message.text.contains("base failed"));
        let failure = failure.unwrap_or_else(|| panic!("{advertisement}: {:?}", said(&site, advertisement)));
        assert_eq!(failure.attributes[EXIT_CODE], "3");
        assert_eq!(failure.attributes[OUTPUT], "bad things\n");
    }

    // An offer that comes later tells of the same failure, and nothing runs for it.
    site.offer(&[assigned("top", "top", record), assigned("base", "base", record), assigned("late", "base", record)]);
    machine.eventually("the late one", || site.states("late").contains(&RunState::Failed).then_some(()));
    let late = last(&site, "late");
    assert_eq!((late.reason, late.message_id, late.attributes[EXIT_CODE].as_str()), (Some(Reason::AlreadyRan), 0, "3"));
    assert_eq!((machine.lines("base").len(), machine.lines("top").len()), (1, 0));

    // Mended and run again by its own advertisement, it lets the other one go.
    let mended = shell("base", &noting(&machine, "base", "true"));
    let mut top = shell("top", &noting(&machine, "top", "true"));
    top.depends_on = Some(DependencyRef { package: "tool".into(), program: "base".into() });
    let record = site.record(&super::record(None, vec![top, mended]));
    site.offer(&[assigned("top", "top", record), assigned("base", "base", record)]);
    machine.eventually("both", || {
        (last(&site, "top").state == Some(RunState::Succeeded)
            && last(&site, "base").state == Some(RunState::Succeeded))
        .then_some(())
    });
    assert_eq!((machine.lines("base").len(), machine.lines("top").len()), (2, 1));
}

#[test]
fn an_offer_that_comes_back_tells_of_no_second_success() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let hello = shell("hello", &noting(&machine, "runs", "true"));
    let record = site.record(&record(None, vec![hello, shell("never", "exit 1")]));
    // What has not started says when it is withdrawn; what has run says nothing.
    let mut later = assigned("later", "never", record);
    later.assignments = vec![Assignment::At(clock::now() + SignedDuration::from_hours(1))];
    site.offer(&[assigned("hello", "hello", record), later]);
    machine.eventually("the run", || site.states("hello").contains(&RunState::Succeeded).then_some(()));
    machine.eventually("the wait", || site.states("later").contains(&RunState::Waiting).then_some(()));
    site.offer(&[]);
    machine.eventually("both are withdrawn", || site.states("later").contains(&RunState::Cancelled).then_some(()));
    site.offer(&[assigned("hello", "hello", record)]);
    machine.eventually("a word about it", || {
        (site.states("hello").iter().filter(|state| **state == RunState::Succeeded).count() == 2).then_some(())
    });
    let again = last(&site, "hello");
    assert_eq!((again.reason, again.message_id), (Some(Reason::AlreadyRan), 0));
    assert!(again.text.contains("ran here before this offer came; it succeeded, exit code 0"), "{}", again.text);
    assert_eq!(said(&site, "hello").iter().filter(|message| message.message_id == 10_008).count(), 1);
    assert_eq!(machine.lines("runs").len(), 1);
}

#[test]
fn an_offer_that_comes_back_is_still_a_failure() {
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let record = site.record(&record(None, vec![shell("fails", &noting(&machine, "runs", "exit 7"))]));
    let failed = |site: &Site| site.states("fails").iter().filter(|state| **state == RunState::Failed).count();
    site.offer(&[assigned("fails", "fails", record)]);
    machine.eventually("the run", || (failed(&site) == 1).then_some(()));
    site.offer(&[assigned("other", "fails", record)]);
    machine.eventually("another offer", || site.states("other").contains(&RunState::Failed).then_some(()));
    site.offer(&[assigned("fails", "fails", record)]);
    machine.eventually("a word about it", || (failed(&site) == 2).then_some(()));
    let again = last(&site, "fails");
    assert_eq!((again.reason, again.attributes[EXIT_CODE].as_str()), (Some(Reason::AlreadyRan), "7"));
    assert_eq!(machine.lines("runs").len(), 1);
}
