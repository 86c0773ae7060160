//! A process that is killed at any moment: what it acknowledged is there, once.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Database, devices,
    fixtures::{NOW, device, message, sender},
    messages::{self, MessageFilter},
};
use crate::{model::state::RunState, trust::identity::Role};

/// Tells this test binary that it is the process to be killed, and where it works.
const WORK_IN: &str = "WAYBILL_TEST_KILL_DATABASE";
/// Messages in one batch.
const BATCH: u64 = 3;
const CLIENTS: [&str; 3] = ["c1", "c2", "c3"];

fn open(path: &Path) -> Database {
    Database::open(path, jiff::Timestamp::from_millisecond(NOW).unwrap()).unwrap()
}

/// The process to be killed: it sends batch after batch for every client and says what was acknowledged, for ever.
/// Run as a test by itself it does nothing.
#[test]
fn victim() {
    #[expect(clippy::disallowed_methods, reason = "how the test reaches its own child process")]
    let Ok(path) = std::env::var(WORK_IN) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = open(Path::new(&path));
        let work = CLIENTS.map(|client| send_for_ever(database.clone(), client));
        futures::future::join_all(work).await;
    });
}

async fn send_for_ever(database: Database, client: &'static str) {
    // Joined in an earlier round already, perhaps.
    let _ = database.write(move |tx| devices::join(tx, &device(client, Role::Client, client))).await;
    let mut from = 1;
    loop {
        let batch: Vec<_> = (from..from + BATCH)
            .map(|seq| {
                let mut message = message("editor", RunState::Waiting);
                message.text = seq.to_string();
                (seq, message)
            })
            .collect();
        let acked =
            database.write(move |tx| messages::store_batch(tx, &sender(client), "o", &batch, NOW)).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {client} {acked}").unwrap();
        out.flush().unwrap();
        drop(out);
        // The first round trip of a new process repeats old messages on purpose.
        from = acked + 1;
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.db");
    let mut acknowledged = CLIENTS.map(|_| 0_u64);
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "db::kill_tests::victim", "--nocapture"])
            .env(WORK_IN, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let Some((_, rest)) = line.split_once("acknowledged ") else { continue };
            let (client, number) = rest.split_once(' ').unwrap();
            let place = CLIENTS.iter().position(|known| *known == client).unwrap();
            acknowledged[place] = acknowledged[place].max(number.parse().unwrap());
            seen += 1;
            if seen == 20 + 7 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 20, "the child worked until it was killed");
        check(&path, acknowledged);
    }
}

fn check(path: &Path, acknowledged: [u64; 3]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let database = open(path);
    for (client, acknowledged) in CLIENTS.into_iter().zip(acknowledged) {
        let stored = runtime.block_on(database.read(move |connection| {
            let mut filter = MessageFilter { sender: Some(client.into()), ..MessageFilter::default() };
            let mut stored = Vec::new();
            loop {
                let page = messages::query(connection, &filter, messages::PAGE_MAX)?;
                let Some(last) = page.last() else { return Ok(stored) };
                filter.before_id = Some(last.id);
                stored.extend(page.into_iter().map(|row| row.message.text.parse::<u64>().unwrap()));
            }
        }));
        let stored = stored.unwrap();
        let distinct: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(distinct.len(), stored.len(), "nothing is stored twice");
        assert!((1..=acknowledged).all(|seq| distinct.contains(&seq)), "everything acknowledged is there");
        assert!(distinct.last().copied().unwrap_or(0) <= acknowledged + 2 * BATCH, "and little more");
    }
}
