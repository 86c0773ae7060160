//! Versions, races, history and refused files of the store, each on a real database.

use super::*;
use serde_json::json;

fn key(name: &str) -> Key {
    Key::new(&"things.example.dev".into(), "ns", name)
}

fn put(name: &str, expected: Option<u64>, n: i64) -> Write {
    let object = json!({"metadata": {"name": name, "namespace": "ns"}, "n": n});
    Write { key: key(name), expected, effect: Effect::Put(object), within: None }
}

fn open(path: &Path) -> Store {
    Store::open(path, &|_, _| {}).unwrap()
}

#[tokio::test]
async fn versions_and_objects_survive_a_restart_and_are_never_reused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.db");
    let store = open(&path);
    let a = store.write(put("a", None, 1)).await.unwrap();
    let last = store.write(Write { effect: Effect::Remove, ..put("a", Some(version_of(&a)), 1) }).await.unwrap();
    assert!(version_of(&last) > version_of(&a));
    drop(store);

    let store = open(&path);
    assert_eq!(store.revision(), version_of(&last));
    assert!(store.get(&key("a")).is_none());
    let b = store.write(put("b", None, 2)).await.unwrap();
    assert!(version_of(&b) > version_of(&last));
    let (_, changes) = store.changes(&"things.example.dev".into(), version_of(&a)).unwrap();
    let kinds: Vec<_> = changes.iter().filter_map(|c| c.event("ns", |_| true)).map(|e| e.kind).collect();
    assert_eq!(kinds, [EventType::Deleted, EventType::Added]);
}

#[tokio::test]
async fn a_write_based_on_an_old_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("api.db"));
    let a = store.write(put("a", None, 1)).await.unwrap();
    assert!(matches!(store.write(put("a", None, 1)).await, Err(Refusal::Raced)));
    store.write(put("a", Some(version_of(&a)), 2)).await.unwrap();
    assert!(matches!(store.write(put("a", Some(version_of(&a)), 3)).await, Err(Refusal::Raced)));
}

#[tokio::test]
async fn an_older_list_is_rebuilt_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("api.db"));
    let resource: Arc<str> = "things.example.dev".into();
    let a = store.write(put("a", None, 1)).await.unwrap();
    let then = store.revision();
    store.write(put("a", Some(version_of(&a)), 2)).await.unwrap();
    store.write(put("b", None, 1)).await.unwrap();
    let old = store.list_at(&resource, "ns", then).unwrap();
    assert_eq!(old.len(), 1);
    assert_eq!(old[0].1["n"], 1);
    assert_eq!(store.list_at(&resource, "", 1), Err(TooOld { oldest: 100 }));
}

#[tokio::test]
async fn the_log_forgets_and_says_so_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.db");
    let store = Arc::new(open(&path));
    let first = version_of(&store.write(put("a", None, 0)).await.unwrap());
    let writes = (0..history::LOG_ENTRIES + 300).map(|n| {
        let store = store.clone();
        async move { store.write(put(&format!("x{n}"), None, 1)).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    store.write(put("last", None, 0)).await.unwrap();
    assert!(store.changes(&"things.example.dev".into(), first).is_err());
    drop(store);
    let store = open(&path);
    assert!(store.changes(&"things.example.dev".into(), first).is_err());
    assert!(store.changes(&"things.example.dev".into(), store.revision() - 10).is_ok());
}

#[tokio::test]
async fn an_object_needs_a_living_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("api.db"));
    let place = Key::new(&"namespaces".into(), "", "ns");
    let write = Write { within: Some(place), ..put("a", None, 1) };
    assert!(matches!(store.write(write).await, Err(Refusal::NoPlace)));
}

#[test]
fn a_file_in_use_or_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.db");
    let store = open(&path);
    assert!(matches!(Store::open(&path, &|_, _| {}), Err(OpenError::Busy { .. })));
    drop(store);
    let foreign = dir.path().join("other.db");
    std::fs::write(&foreign, "certainly no database, but a long enough text to be looked at by SQLite").unwrap();
    assert!(matches!(Store::open(&foreign, &|_, _| {}), Err(OpenError::Foreign { .. })));
    let table = dir.path().join("table.db");
    rusqlite::Connection::open(&table).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(Store::open(&table, &|_, _| {}), Err(OpenError::Foreign { .. })));
}
