//! Restarts: after kill -9 while writing every acknowledged write is there and versions go on upward; watches go on too.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde_json::json;
use waybill::apiserver::Identity;

use super::{
    support::{open, program, programs, reopen},
    watches::events,
};

/// Names the scratch directory for the child that is to write until it is killed.
const CHILD: &str = "WAYBILL_TEST_WRITER";

/// Runs only as the child of the test below: writes objects and says each one that was acknowledged.
#[tokio::test]
async fn writer_child() {
    let Some(dir) = child_directory() else { return };
    let server = open(&dir);
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(Identity::Admin), &programs());
    let start = server_versions(&api).await.len();
    let writers = (0..8).map(|writer| {
        let api = api.clone();
        async move {
            for n in 0.. {
                let name = format!("w{writer}-{}", start + n);
                let made =
                    api.create(&PostParams::default(), &program(&name, json!({"command": "run"}))).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ACK {name} {}", made.resource_version().unwrap()).unwrap();
                out.flush().unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[expect(clippy::disallowed_methods, reason = "the test's own message to its child")]
fn child_directory() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

async fn server_versions(api: &Api<DynamicObject>) -> Vec<(String, u64)> {
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(|o| (o.name_any(), o.resource_version().unwrap().parse().unwrap())).collect()
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "apiserver::durability::writer_child", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = vec![];
        // libtest's own words may stand before the first acknowledgement on its line
        let told = |line: &str| -> Option<(String, u64)> {
            let mut words = line.split("ACK ").nth(1)?.split(' ');
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        };
        while acknowledged.len() < 40 + round * 7 {
            acknowledged.extend(told(&lines.next().unwrap().unwrap()));
        }
        child.kill().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|l| told(&l)));
        child.wait().unwrap();

        let server = open(dir.path());
        let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(Identity::Admin), &programs());
        let stored = server_versions(&api).await;
        for write in &acknowledged {
            assert!(stored.contains(write), "{write:?} was acknowledged and is lost");
            assert!(write.1 > highest, "a version was used again");
        }
        highest = stored.iter().map(|(_, v)| *v).max().unwrap();
        drop((api, server));
        drop(reopen(dir.path()).await);
    }
}

#[tokio::test]
async fn a_watch_resumes_from_the_past_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(Identity::Admin), &programs());
    let a = api.create(&PostParams::default(), &program("a", json!({"command": "run"}))).await.unwrap();
    let from = a.resource_version().unwrap();
    for label in ["x", "y", "x"] {
        let label = Patch::Merge(json!({"metadata": {"labels": {"app": label}}}));
        api.patch("a", &PatchParams::default(), &label).await.unwrap();
    }
    drop((api, server));

    let server = reopen(dir.path()).await;
    let api: Api<DynamicObject> = Api::default_namespaced_with(server.client(Identity::Admin), &programs());
    assert_eq!(events(&api, WatchParams::default().labels("app=x"), &from, 3).await, ["+a", "-a", "+a"]);
    assert_eq!(events(&api, WatchParams::default(), "1", 1).await, ["error 410"]);
}
