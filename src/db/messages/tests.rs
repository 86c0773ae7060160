//! Stored once, in limits, found again, deleted by age.

use super::*;
use crate::{
    db::fixtures::{NOW, client, message, scratch, sender},
    model::state::RunState,
};

fn numbered(range: impl IntoIterator<Item = u64>) -> Vec<(u64, StatusMessage)> {
    range
        .into_iter()
        .map(|seq| (seq, StatusMessage { text: seq.to_string(), ..message("editor", RunState::Waiting) }))
        .collect()
}

fn texts(tx: &Tx, filter: &MessageFilter) -> Vec<String> {
    query(tx, filter, PAGE_MAX).unwrap().into_iter().map(|row| row.message.text).collect()
}

fn of_clients() -> MessageFilter {
    MessageFilter { component: Some(Component::ClientAgent), ..MessageFilter::default() }
}

#[test]
fn a_message_is_stored_once_however_often_it_is_sent() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let mut send = |range: std::ops::RangeInclusive<u64>| {
        store_batch(&mut tx, &sender("c1"), "o1", &numbered(range), NOW).unwrap()
    };
    assert_eq!(send(1..=3), 3);
    assert_eq!(send(1..=3), 3);
    assert_eq!(send(2..=5), 5);
    assert_eq!(store_batch(&mut tx, &sender("c1"), "o1", &[], NOW).unwrap(), 5);
    assert_eq!(texts(&tx, &of_clients()), ["5", "4", "3", "2", "1"]);
    assert_eq!(store_batch(&mut tx, &sender("c1"), "o2", &numbered(1..=1), NOW).unwrap(), 1, "another outbox");
    assert_eq!(number(&tx).unwrap(), 6);
}

#[test]
fn a_gap_is_noted_and_what_fills_it_is_stored_once() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let store =
        |tx: &mut Tx, seqs: &[u64]| store_batch(tx, &sender("c1"), "o1", &numbered(seqs.iter().copied()), NOW).unwrap();
    assert_eq!(store(&mut tx, &[1, 9, 5]), 9);
    let gaps = |tx: &Tx| {
        let gaps = outbox::gaps(tx, "c1", "o1").unwrap();
        gaps.into_iter().map(|gap| (gap.first, gap.last)).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&tx), [(2, 4), (6, 8)]);
    let noted =
        MessageFilter { client: Some("c1".into()), at_least: Some(Severity::Warning), ..MessageFilter::default() };
    assert_eq!(query(&tx, &noted, 9).unwrap().len(), 2);
    assert_eq!(store(&mut tx, &[3, 7, 8]), 9);
    assert_eq!(store(&mut tx, &[3, 5, 7, 8]), 9);
    assert_eq!(gaps(&tx), [(2, 2), (4, 4), (6, 6)]);
    assert_eq!(texts(&tx, &of_clients()), ["8", "7", "3", "9", "5", "1"]);
}

#[test]
fn gaps_and_outboxes_are_bounded() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let every_second = numbered((1..=200).map(|number| 2 * number));
    store_batch(&mut tx, &sender("c1"), "o1", &every_second, NOW).unwrap();
    assert_eq!(outbox::gaps(&tx, "c1", "o1").unwrap().len() as i64, outbox::GAPS_MAX);
    for number in 0..2 * outbox::OUTBOXES_MAX {
        store_batch(&mut tx, &sender("c1"), &format!("n{number}"), &numbered(1..=1), NOW).unwrap();
    }
    let kept: i64 = tx.query_row("SELECT count(*) FROM outboxes", (), |row| row.get(0)).unwrap();
    assert_eq!(kept, outbox::OUTBOXES_MAX);
}

#[test]
fn a_sender_speaks_only_as_what_it_is() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let forged = StatusMessage {
        component: Component::Security,
        attributes: [(CLIENT.to_owned(), "c2".to_owned())]
            .into_iter()
            .chain(message("editor", RunState::Succeeded).attributes)
            .collect(),
        ..message("editor", RunState::Succeeded)
    };
    store_batch(&mut tx, &sender("c1"), "o1", &[(1, forged)], NOW).unwrap();
    let row = query(&tx, &MessageFilter::default(), 1).unwrap().remove(0);
    assert_eq!((row.sender.as_str(), row.client.as_deref(), row.message.state), ("c1", Some("c1"), None));
    assert_eq!((row.message.component, row.message.severity), (Component::ClientAgent, Severity::Warning));
    let advertisement = ObjectName::new("default", "editor");
    assert_eq!(status::of_advertisement(&tx, &advertisement).unwrap(), []);
    let gone = store_batch(&mut tx, &sender("nobody"), "o1", &numbered(1..=1), NOW);
    assert!(matches!(gone, Err(DbError::NotFound(_))));
}

#[test]
fn limits_cut_and_refuse() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    let mut huge = message("editor", RunState::Failed);
    huge.text = "t".repeat(100_000);
    huge.attributes.insert(message::OUTPUT.into(), format!("{}end", "o".repeat(100_000)));
    huge.attributes.extend((0..100).map(|number| (format!("x{number}"), "v".repeat(10_000))));
    store_batch(&mut tx, &sender("c1"), "o1", &[(1, huge)], NOW).unwrap();
    let kept = query(&tx, &MessageFilter::default(), 1).unwrap().remove(0).message;
    assert_eq!((kept.text.len(), kept.attributes.len()), (8 << 10, 32));
    assert!(kept.attributes[message::OUTPUT].ends_with("end"));
    let many = numbered(1..=BATCH_MESSAGES_MAX as u64 + 1);
    assert!(matches!(store_batch(&mut tx, &sender("c1"), "o1", &many, NOW), Err(DbError::Limit { .. })));
    assert!(store_batch(&mut tx, &sender("c1"), "", &[], NOW).is_err());
    let beyond = [(u64::MAX, message("editor", RunState::Waiting))];
    assert_eq!(store_batch(&mut tx, &sender("c1"), "o1", &beyond, NOW).unwrap(), 1, "no such number");
}

#[test]
fn filters_narrow_and_pages_follow() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    store_batch(&mut tx, &sender("c1"), "o1", &numbered(1..=5), NOW).unwrap();
    let local = StatusMessage {
        component: Component::GitSync,
        severity: Severity::Error,
        message_id: 2_306,
        text: "local".into(),
        state: None,
        attributes: [(message::PACKAGE.to_owned(), "default/editor".to_owned())].into(),
        ..message("", RunState::Waiting)
    };
    store_local(&mut tx, "hq", &local, NOW + 10).unwrap();
    let all = MessageFilter::default;
    assert_eq!(query(&tx, &all(), 1).unwrap()[0].message, local);
    for filter in [
        MessageFilter { sender: Some("hq".into()), ..all() },
        MessageFilter { system: Some("hq".into()), ..all() },
        MessageFilter { component: Some(Component::GitSync), ..all() },
        MessageFilter { at_least: Some(Severity::Warning), ..all() },
        MessageFilter { message_id: Some(2_306), ..all() },
        MessageFilter { package: Some(ObjectName::new("default", "editor")), ..all() },
        MessageFilter { since_ms: Some(NOW + 10), ..all() },
    ] {
        assert_eq!(texts(&tx, &filter), ["local"], "{filter:?}");
    }
    let about = MessageFilter { advertisement: Some(ObjectName::new("default", "editor")), ..all() };
    let first = query(&tx, &about, 3).unwrap();
    let next = MessageFilter { before_id: first.last().map(|row| row.id), ..about };
    assert_eq!(texts(&tx, &next), ["2", "1"]);
    assert_eq!(texts(&tx, &MessageFilter { client: Some("c1".into()), ..all() }).len(), 5);
}

#[test]
fn retention_goes_by_age_in_steps() {
    let mut tx = scratch();
    client(&mut tx, "c1");
    for batch in 0..5 {
        let range = batch * 500 + 1..=(batch + 1) * 500;
        store_batch(&mut tx, &sender("c1"), "o1", &numbered(range), NOW + batch as i64).unwrap();
    }
    assert_eq!(expire(&mut tx, NOW).unwrap(), 0);
    assert_eq!(expire(&mut tx, NOW + 1).unwrap(), 500);
    assert_eq!(expire(&mut tx, NOW + 99).unwrap(), RETENTION_STEP);
    assert_eq!(expire(&mut tx, NOW + 99).unwrap(), 0);
    assert_eq!(number(&tx).unwrap(), 0);
    let again = store_batch(&mut tx, &sender("c1"), "o1", &numbered(2_400..=2_500), NOW).unwrap();
    assert_eq!((again, number(&tx).unwrap()), (2_500, 0), "deleted messages are not taken for new ones");
}
