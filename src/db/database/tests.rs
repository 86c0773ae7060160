//! Writes, reads and changes through the real writer, on a real file.

use super::*;
use crate::{
    db::{devices, fixtures, leaves, site, tokens},
    trust::identity::Role,
};

struct Scratch {
    database: Database,
    _directory: tempfile::TempDir,
}

fn scratch() -> Scratch {
    let directory = tempfile::tempdir().unwrap();
    let now = Timestamp::from_millisecond(fixtures::NOW).unwrap();
    let database = Database::open(&directory.path().join("site.db"), now).unwrap();
    Scratch { database, _directory: directory }
}

async fn join(database: &Database, id: &str) -> Result<(), DbError> {
    let device = fixtures::device(id, Role::Client, id);
    database.write(move |tx| devices::join(tx, &device)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_commits_and_each_gets_its_own_answer() {
    let scratch = scratch();
    let mut changes = scratch.database.subscribe();
    let writes = (0..200).map(|number| {
        let database = scratch.database.clone();
        // Every second id is taken: its writer is told so and disturbs nobody.
        async move { join(&database, &format!("c{}", number / 2)).await }
    });
    let results = futures::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 100);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(DbError::Conflict(_)))));
    let number = scratch.database.read(|connection| devices::number(connection, Role::Client)).await.unwrap();
    assert_eq!(number, 100);

    let mut told = std::collections::BTreeSet::new();
    while let Ok(change) = changes.try_recv() {
        told.insert(change);
    }
    assert_eq!(told.len(), 100, "one change for each that joined, none for those that did not");
}

#[tokio::test]
async fn a_write_that_fails_or_panics_is_undone_alone() {
    let scratch = scratch();
    let database = &scratch.database;
    let mut changes = database.subscribe();
    let failed = database
        .write(|tx| {
            devices::join(tx, &fixtures::device("c1", Role::Client, "c1"))?;
            Err::<(), _>(DbError::Conflict("changed my mind".into()))
        })
        .await;
    assert!(matches!(failed, Err(DbError::Conflict(_))));
    let panicked = database
        .write(|tx| {
            devices::join(tx, &fixtures::device("c2", Role::Client, "c2"))?;
            assert!(devices::get(tx, "c2")?.is_none(), "a bug");
            Ok(())
        })
        .await;
    assert!(matches!(panicked, Err(DbError::Panicked)));
    assert!(changes.try_recv().is_err(), "nothing changed");
    join(database, "c3").await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Devices("c3".into()));
    let all = database.read(|connection| devices::all(connection, Role::Client)).await.unwrap();
    assert_eq!(all.iter().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["c3"]);
    assert!(matches!(database.read(|_| -> Result<(), _> { panic!("a bug") }).await, Err(DbError::Panicked)));
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_passes() {
    let scratch = scratch();
    let database = &scratch.database;
    let pages = |pages: i64| database.write(move |tx| Ok(tx.pragma_update(None, "max_page_count", pages)?));
    // SQLite takes the present size instead of a smaller one.
    pages(1).await.unwrap();
    let big = || tokens::TokenRow {
        hash: crate::content::digest::Digest::of(b"secret"),
        role: Role::Dp,
        name: Some("x".repeat(1 << 20)),
        labels: std::collections::BTreeMap::new(),
        uses_left: 1,
        expires_ms: 0,
        created_ms: 0,
    };
    let (token, mut changes) = (big(), database.subscribe());
    assert!(database.write(move |tx| tokens::create(tx, &token)).await.unwrap_err().is_disk_full());
    assert_eq!(database.read(tokens::list).await.unwrap(), []);
    assert!(database.writable().await.unwrap_err().is_disk_full());
    assert_eq!(changes.recv().await.unwrap(), Change::Site, "it turned");
    pages(1_000_000).await.unwrap();
    assert!(changes.try_recv().is_err(), "it is told once");
    database.writable().await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Site, "it turned back");
    let token = big();
    database.write(move |tx| tokens::create(tx, &token)).await.unwrap();
    assert_eq!(database.read(tokens::list).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_written_is_there_after_closing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.db");
    let now = Timestamp::from_millisecond(fixtures::NOW).unwrap();
    let database = Database::open(&path, now).unwrap();
    let version = database.write(|tx| leaves::next_root_version(tx, 5)).await.unwrap();
    assert_eq!(database.write(|tx| site::raise_epoch(tx, 7)).await.unwrap(), 8);
    let before = database.read(site::read).await.unwrap();
    assert_eq!((before.epoch, before.root_version), (8, version));
    drop(database);
    let database = Database::open(&path, now).unwrap();
    assert_eq!(database.read(site::read).await.unwrap(), before);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
