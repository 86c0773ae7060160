//! The summaries as a fold: kept all along, they equal what is counted anew.

use proptest::prelude::*;

use super::*;
use crate::{
    db::{
        devices,
        fixtures::{NOW, client, device, message, scratch, sender},
        messages, points, status,
    },
    model::{message::StatusMessage, reason::Reason},
    trust::identity::Role,
    wire::points::{DriveReport, PointReport},
};

const ADVERTISEMENTS: [&str; 2] = ["editor", "viewer"];

fn name(advertisement: &str) -> ObjectName {
    ObjectName::new("default", advertisement)
}

#[derive(Clone, Debug)]
enum Step {
    /// A client (by number) sends messages (sequence number, advertisement, state) of one of its outboxes.
    Send(usize, usize, Vec<(u64, usize, RunState)>),
    /// The site itself says something about an advertisement.
    Local(usize),
    /// Retention up to a step of the past.
    Expire(i64),
    DeleteClient(usize),
    ForgetAdvertisement(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sent = (1_u64..30, 0..ADVERTISEMENTS.len(), proptest::sample::select(&RunState::ALL[..]));
    prop_oneof![
        8 => (0..3_usize, 0..2_usize, proptest::collection::vec(sent, 1..6)).prop_map(|(c, o, m)| Step::Send(c, o, m)),
        1 => (0..ADVERTISEMENTS.len()).prop_map(Step::Local),
        2 => (0..30_i64).prop_map(Step::Expire),
        1 => (0..3_usize).prop_map(Step::DeleteClient),
        1 => (0..ADVERTISEMENTS.len()).prop_map(Step::ForgetAdvertisement),
    ]
}

fn apply(tx: &mut Tx, step: &Step, time: i64) {
    match step {
        Step::Send(number, outbox, sent) => {
            let id = format!("c{number}");
            let batch: Vec<(u64, StatusMessage)> =
                sent.iter().map(|(seq, which, state)| (*seq, maybe_old(*seq, *which, *state))).collect();
            // Refused once the client is deleted.
            let _ = messages::store_batch(tx, &sender(&id), &format!("o{outbox}"), &batch, NOW + time);
        }
        Step::Local(which) => {
            let said = message(ADVERTISEMENTS[*which], RunState::Failed);
            messages::store_local(tx, "hq", &said, NOW + time).unwrap();
        }
        Step::Expire(age) => {
            messages::expire(tx, NOW + time - age).unwrap();
        }
        Step::DeleteClient(number) => {
            devices::delete(tx, &format!("c{number}"), NOW).unwrap();
        }
        Step::ForgetAdvertisement(which) => status::forget_advertisement(tx, &name(ADVERTISEMENTS[*which])).unwrap(),
    }
}

/// Every third message is about what ran before the offer came.
fn maybe_old(seq: u64, which: usize, state: RunState) -> StatusMessage {
    let reason = seq.is_multiple_of(3).then_some(Reason::AlreadyRan);
    StatusMessage { reason, ..message(ADVERTISEMENTS[which], state) }
}

type Everything = (Vec<ComponentStatus>, Vec<(MessageCounts, BTreeMap<RunState, u64>)>);

fn everything(tx: &Tx) -> Everything {
    let of = |advertisement: &&str| {
        let name = name(advertisement);
        (message_counts(tx, &name).unwrap(), client_states(tx, &name).unwrap())
    };
    (components(tx).unwrap(), ADVERTISEMENTS.iter().map(of).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn kept_all_along_equals_counted_anew(steps in proptest::collection::vec(step(), 1..30)) {
        let mut tx = scratch();
        for number in 0..3 {
            client(&mut tx, &format!("c{number}"));
        }
        for (time, step) in steps.iter().enumerate() {
            apply(&mut tx, step, time as i64);
        }
        let kept = everything(&tx);
        rebuild(&mut tx).unwrap();
        prop_assert_eq!(&kept, &everything(&tx));
        for (place, advertisement) in ADVERTISEMENTS.iter().enumerate() {
            let mut by_row: BTreeMap<RunState, u64> = BTreeMap::new();
            for (_, state, _) in status::states(&tx, &name(advertisement), None).unwrap() {
                *by_row.entry(state).or_default() += 1;
            }
            prop_assert_eq!(&kept.1[place].1, &by_row);
        }
    }
}

#[test]
fn what_ran_before_the_offer_came_is_counted_for_its_client_and_not_again_as_a_message() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let old = |state| StatusMessage { reason: Some(Reason::AlreadyRan), ..message("editor", state) };
    let batch =
        [(1, message("editor", RunState::Succeeded)), (2, old(RunState::Failed)), (3, old(RunState::Succeeded))];
    messages::store_batch(&mut tx, &sender("c1"), "o", &batch, NOW).unwrap();
    let expected = MessageCounts { succeeded: 1, ..MessageCounts::default() };
    assert_eq!(message_counts(&tx, &name("editor")).unwrap(), expected);
    assert_eq!(client_states(&tx, &name("editor")).unwrap(), [(RunState::Succeeded, 1)].into());
    messages::expire(&mut tx, NOW + 1).unwrap();
    assert_eq!(message_counts(&tx, &name("editor")).unwrap(), expected);
}

#[test]
fn messages_are_counted_as_messages_and_outlive_retention() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let states = [
        RunState::Accepted,
        RunState::Running,
        RunState::Failed,
        RunState::Running,
        RunState::TimedOut,
        RunState::PrepareFailed,
        RunState::Running,
        RunState::Succeeded,
    ];
    let batch: Vec<_> = states.into_iter().zip(1..).map(|(state, seq)| (seq, message("editor", state))).collect();
    messages::store_batch(&mut tx, &sender("c1"), "o", &batch, NOW).unwrap();
    let counts = MessageCounts { received: 1, failed_to_start: 1, started: 3, succeeded: 1, failed: 2 };
    assert_eq!(message_counts(&tx, &name("editor")).unwrap(), counts);
    let clients = || ComponentStatus {
        system: messages::CLIENTS.into(),
        component: "ClientAgent".into(),
        informational: 5,
        warnings: 0,
        errors: 3,
        health: Health::Warning,
    };
    assert_eq!(components(&tx).unwrap(), [clients()]);

    messages::expire(&mut tx, NOW + 1).unwrap();
    assert_eq!(components(&tx).unwrap(), [], "the window is the retention of messages");
    assert_eq!(message_counts(&tx, &name("editor")).unwrap(), counts, "no reset");
    assert_eq!(client_states(&tx, &name("editor")).unwrap(), [(RunState::Succeeded, 1)].into());
    rebuild(&mut tx).unwrap();
    assert_eq!(message_counts(&tx, &name("editor")).unwrap(), counts);
}

#[test]
fn site_systems_show_silence_and_storage() {
    let mut tx = scratch();
    devices::join(&mut tx, &device("d1", Role::Dp, "dp-1")).unwrap();
    devices::join(&mut tx, &device("d2", Role::Dp, "dp-2")).unwrap();
    devices::join(&mut tx, &device("k1", Role::Cap, "cap-1")).unwrap();
    let drive =
        |path: &str, free_bytes, usable| DriveReport { path: path.into(), free_bytes, total_bytes: 100 << 30, usable };
    let report = PointReport {
        assignment: String::new(),
        url: "https://dp-1".into(),
        drives: vec![
            drive("/a", 20 << 30, true),
            drive("/b", 6 << 30, true),
            drive("/c", 0, false),
            DriveReport { total_bytes: 0, ..drive("/gone", 0, false) },
        ],
        versions: Vec::new(),
        messages: Vec::new(),
        outbox: "o".into(),
    };
    points::heard(&mut tx, "dp-1", "d1", &report, NOW).unwrap();
    let shown = |tx: &Tx, now_ms| {
        let systems = site_systems(tx, now_ms, 60_000).unwrap();
        systems.into_iter().map(|one| (one.system, one.storage, one.health)).collect::<Vec<_>>()
    };
    let line = |system: &str, storage: &str, health| (system.to_owned(), storage.to_owned(), health);
    assert_eq!(
        shown(&tx, NOW),
        [
            line("cap-1", "", Health::Ok),
            line("dp-1", "/a", Health::Ok),
            line("dp-1", "/b", Health::Warning),
            line("dp-1", "/c", Health::Ok),
            line("dp-1", "/gone", Health::Critical),
            line("dp-2", "", Health::Critical),
        ]
    );
    assert!(shown(&tx, NOW + 60_000).iter().all(|(_, _, health)| *health == Health::Critical));
}
