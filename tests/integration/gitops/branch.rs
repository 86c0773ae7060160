//! A served branch: commits count, nothing else does.

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use super::support::{World, collection, collections};

#[tokio::test(flavor = "multi_thread")]
async fn commits_count_and_uncommitted_edits_do_not() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..3));
    world.write("content/file", "one");
    let first = world.commit();
    world.serve_branch();
    let state = world.until(|state| state.objects == 3).await;
    assert_eq!(state.revision, first);

    world.write("a.yaml", &collections(0..5));
    world.write("content/file", "edited");
    world.git(&["add", "--all"]);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.now(), state, "an uncommitted edit changes nothing");
    assert_eq!(fs::read_to_string(state.root.join("content/file")).unwrap(), "one");

    let second = world.commit();
    let later = world.until(|state| state.revision == second).await;
    assert_eq!(later.objects, 5);
    assert_eq!(fs::read_to_string(later.root.join("content/file")).unwrap(), "edited");
    // Whoever still reads the revision before finds it unchanged.
    assert_eq!(fs::read_to_string(state.root.join("content/file")).unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_noticed_within_the_target() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..3));
    world.commit();
    world.serve_branch();
    world.until(|state| state.objects == 3).await;
    let mut took = Vec::new();
    for round in 0..5 {
        world.write("a.yaml", &format!("{}{}", collections(0..3), collection("new", &format!("r{round}"))));
        let commit = world.commit();
        let committed = Instant::now();
        world.until(|state| state.revision == commit).await;
        took.push(committed.elapsed());
    }
    took.sort();
    // The target of 150 ms is for a machine of its own; here other tests run beside. Polling alone would take 2 s.
    assert!(took[2] < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_set_back_or_packed_is_followed() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..6));
    let first = world.commit();
    world.serve_branch();
    world.until(|state| state.revision == first).await;
    world.write("a.yaml", &collections(0..7));
    let second = world.commit();
    world.until(|state| state.revision == second).await;

    world.git(&["reset", "--quiet", "--hard", &first]);
    world.until(|state| state.revision == first && state.objects == 6).await;
    world.git(&["pack-refs", "--all"]);
    world.write("a.yaml", &collections(0..8));
    let third = world.commit();
    world.until(|state| state.revision == third && state.objects == 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_cannot_be_used_leaves_the_last_one_in_force() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..3));
    let first = world.commit();
    world.serve_branch();
    world.until(|state| state.revision == first).await;

    let blob = world.git(&["rev-parse", "HEAD:a.yaml"]);
    let line = format!("100644 blob {blob}\t..\n");
    let listing = world.state().join("listing");
    fs::write(&listing, line).unwrap();
    let tree = String::from_utf8(
        std::process::Command::new("git")
            .arg("mktree")
            .current_dir(world.fleet())
            .stdin(fs::File::open(&listing).unwrap())
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let hostile = world.git(&["commit-tree", tree.trim(), "-p", "HEAD", "-m", "x"]);
    world.git(&["update-ref", "refs/heads/main", &hostile]);
    let state = world.until(|state| state.problem.is_some()).await;
    assert!(state.problem.as_ref().unwrap().contains("`..`"), "{:?}", state.problem);
    assert_eq!((state.revision.as_str(), world.names("Collection").await.len()), (first.as_str(), 3));

    world.git(&["reset", "--quiet", "--hard", &first]);
    world.until(|state| state.problem.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_do_not_pile_up() {
    let Some(mut world) = World::new().await else { return };
    world.write("a.yaml", &collections(0..3));
    world.commit();
    world.serve_branch();
    for round in 0..6 {
        world.write("content", &format!("{round}"));
        let commit = world.commit();
        world.until(|state| state.revision == commit).await;
    }
    let exports = fs::read_dir(world.state()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert!(exports <= 3, "{exports} exports");
}
