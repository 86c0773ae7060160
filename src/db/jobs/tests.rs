//! Jobs follow the locations they are about.

use super::*;
use crate::db::{
    fixtures::{NOW, scratch},
    locations::{self, Hold},
};

fn spec(point: &str, source_version: u64) -> JobSpec {
    JobSpec {
        namespace: "default".into(),
        distribution: "editor".into(),
        package: "editor".into(),
        source_version,
        content: Some(Digest::of(b"content")),
        point: point.into(),
        resend_token: None,
        advertisement: None,
        priority: Priority::Normal,
        start_after_ms: None,
        send: false,
    }
}

fn want(tx: &mut Tx, points: &[&str]) {
    let holds: Vec<Hold> = points
        .iter()
        .map(|point| Hold {
            point: (*point).into(),
            source_version: 1,
            content: Digest::of(b"content"),
            resend_token: None,
        })
        .collect();
    locations::want(tx, &ObjectName::new("default", "editor"), &holds, NOW).unwrap();
}

fn set_location(tx: &mut Tx, point: &str, state: LocationState) {
    tx.execute("UPDATE locations SET state = ?2 WHERE point = ?1", (point, state.as_str())).unwrap();
    follow(tx, &ObjectName::new("default", "editor"), NOW).unwrap();
}

#[test]
fn the_same_facts_make_the_same_job() {
    let one = spec("dp-1", 1);
    assert_eq!(one.id(), spec("dp-1", 1).id());
    let others = [
        spec("dp-2", 1),
        spec("dp-1", 2),
        JobSpec { resend_token: Some("t".into()), ..one.clone() },
        JobSpec { namespace: "other".into(), ..one.clone() },
    ];
    assert!(others.iter().all(|other| other.id() != one.id()));
    let later = JobSpec { start_after_ms: Some(5), priority: Priority::High, ..one.clone() };
    assert_eq!(later.id(), one.id(), "a changed time is the same job at another time");
    assert!(JobSpec { distribution: format!("{}-x", "d".repeat(59)), ..one }.id().starts_with(&"d".repeat(59)));
}

#[test]
fn a_job_follows_its_location_to_the_end() {
    let mut tx = scratch();
    let specs = [spec("dp-1", 1), spec("dp-2", 1)];
    want(&mut tx, &["dp-1", "dp-2"]);
    assert!(set(&mut tx, "default", "editor", &specs, NOW).unwrap());
    assert!(!set(&mut tx, "default", "editor", &specs, NOW).unwrap());
    let state = |tx: &Tx, point: &str| get(tx, &spec(point, 1).id()).unwrap().unwrap().state;
    assert_eq!(state(&tx, "dp-1"), PhaseState::Active);
    set_location(&mut tx, "dp-1", LocationState::InstallRetrying);
    assert_eq!(state(&tx, "dp-1"), PhaseState::Retrying);
    set_location(&mut tx, "dp-1", LocationState::Installed);
    assert_eq!(state(&tx, "dp-1"), PhaseState::Complete);
    assert_eq!(get(&tx, &spec("dp-1", 1).id()).unwrap().unwrap().finished_ms, Some(NOW));

    // dp-2 is not targeted any more: what is not finished is cancelled, and taken up when it is wanted again.
    set(&mut tx, "default", "editor", &specs[..1], NOW).unwrap();
    assert_eq!((state(&tx, "dp-1"), state(&tx, "dp-2")), (PhaseState::Complete, PhaseState::Cancelled));
    set(&mut tx, "default", "editor", &specs, NOW).unwrap();
    assert_eq!((state(&tx, "dp-1"), state(&tx, "dp-2")), (PhaseState::Complete, PhaseState::Active));
    assert_eq!(forget_finished(&mut tx, NOW + 1).unwrap(), 1);
    assert_eq!(page(&tx, Some("default"), "", 9).unwrap().len(), 1);
}

#[test]
fn a_job_waits_for_its_start() {
    let mut tx = scratch();
    want(&mut tx, &["dp-1"]);
    let later = JobSpec { start_after_ms: Some(NOW + 10), ..spec("dp-1", 1) };
    set(&mut tx, "default", "editor", std::slice::from_ref(&later), NOW).unwrap();
    assert_eq!(get(&tx, &later.id()).unwrap().unwrap().state, PhaseState::Pending);
    assert_eq!(next_start(&tx, NOW).unwrap(), Some(NOW + 10));
    assert!(set(&mut tx, "default", "editor", std::slice::from_ref(&later), NOW + 10).unwrap());
    assert_eq!(get(&tx, &later.id()).unwrap().unwrap().state, PhaseState::Active);
    assert_eq!(next_start(&tx, NOW + 10).unwrap(), None);
}

#[test]
fn phases_make_the_whole() {
    let mut tx = scratch();
    let job = JobSpec { send: true, advertisement: Some("editor".into()), ..spec("dp-1", 1) };
    set(&mut tx, "default", "editor", std::slice::from_ref(&job), NOW).unwrap();
    let mut to = |phase, state| {
        set_phase(&mut tx, &job.id(), phase, state, Some("why"), NOW).unwrap();
        get(&tx, &job.id()).unwrap().unwrap()
    };
    assert_eq!(to(Phase::Send, PhaseState::Retrying).state, PhaseState::Retrying);
    assert_eq!(to(Phase::Send, PhaseState::Complete).state, PhaseState::Active);
    assert_eq!(to(Phase::Distribute, PhaseState::Complete).state, PhaseState::Active);
    let done = to(Phase::Run, PhaseState::Complete);
    assert_eq!((done.state, done.detail, done.finished_ms), (PhaseState::Complete, None, Some(NOW)));
    assert!(!set_phase(&mut tx, "none-such", Phase::Run, PhaseState::Failed, None, NOW).unwrap());
}
