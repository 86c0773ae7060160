//! Devices that their site blocks, lets back and deletes, as processes: each says in its log what became of it and what to
//! do, and joins anew in its old state directory without running anything twice.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::world::World;

const FLEET: &str = "/apis/fleet.waybill.dev/v1alpha1";

fn id(world: &World, name: &str) -> String {
    world.until("it has joined", |world| world.path(&format!("{name}/session.json")).exists());
    let session: Value =
        serde_json::from_slice(&fs::read(world.path(&format!("{name}/session.json"))).unwrap()).unwrap();
    session["id"].as_str().unwrap().to_owned()
}

fn log(world: &World, name: &str) -> String {
    fs::read_to_string(world.path(&format!("{name}.log"))).unwrap_or_default()
}

/// Waits until a line of the log holds all of these.
fn says(world: &World, name: &str, words: &[&str]) {
    world.until(&format!("{name} says {words:?}"), |world| {
        log(world, name).lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// How many lines of the log hold this.
fn times(world: &World, name: &str, words: &str) -> usize {
    log(world, name).lines().filter(|line| line.contains(words)).count()
}

/// Makes a client look at once, as its administrator does.
fn hang_up(world: &World, name: &str) {
    kill_process(Pid::from_raw(world.pid(name).cast_signed()).unwrap(), Signal::HUP).unwrap();
}

/// What an administrator does with a device.
fn act(world: &World, action: &str, id: &str) {
    let spec = json!({"action": action, "client": id});
    let review = json!({"apiVersion": "fleet.waybill.dev/v1alpha1", "kind": "ClientAction", "metadata": {"name": "a"}, "spec": spec});
    let done = world.ask("POST", &format!("{FLEET}/clientactions"), Some(&review));
    assert_eq!(done["status"]["changed"], true, "{done}");
}

/// Runs a process that is expected to end by itself with an error; gives what it says.
fn fails(world: &World, words: &[&str]) -> String {
    let output = world.command(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}

#[test]
fn a_client_tells_its_steps_says_that_it_is_blocked_and_joins_anew_once_it_is_deleted() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.start("site");
    world.join(&["client"]);
    let old = id(&world, "client");
    for words in [
        &["offer received", "default/tool"][..],
        &["fetching content", "version=1", "size_bytes="],
        &["content fetched and verified in", "bytes=", "point=\"main\""],
        &["program tool started", "default/tool"],
        &["program tool succeeded", "exit_code=\"0\""],
    ] {
        says(&world, "client", words);
    }

    // Blocked: said once, not told as a failure of the line again and again, and taken back.
    act(&world, "block", &old);
    says(&world, "client", &["turns this client away", "administrators have blocked it"]);
    world.package("tool", 2);
    for _ in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        hang_up(&world, "client");
    }
    assert_eq!(times(&world, "client", "turns this client away"), 1, "{}", log(&world, "client"));
    assert_eq!(times(&world, "client", "policy was not refreshed"), 0, "{}", log(&world, "client"));
    act(&world, "unblock", &old);
    hang_up(&world, "client");
    says(&world, "client", &["lets this client in again"]);
    world.until("it runs again", |world| world.lines().get("tool 2") == Some(&1));
    says(&world, "client", &["offer changed"]);

    // Deleted: its old join file is used up, and a stranger's site is no way back either.
    act(&world, "delete", &old);
    says(&world, "client", &["turns this client away", "it was deleted at the site", "waybill token create"]);
    world.stop("client");
    let again = ["agent", "run", "--join", "client.json", "--state", "client", "--config", "agent.json"];
    world.start("client");
    says(&world, "client", &["it was deleted at the site"]);
    world.stop("client");
    let file: Value = serde_json::from_slice(&fs::read(world.path("client.json")).unwrap()).unwrap();
    world.invite("client");
    let fresh: Value = serde_json::from_slice(&fs::read(world.path("client.json")).unwrap()).unwrap();
    assert_ne!(file["secret"], fresh["secret"]);
    let mut foreign = fresh.clone();
    foreign["site"] = "another".into();
    fs::write(world.path("client.json"), foreign.to_string()).unwrap();
    assert!(fails(&world, &again).contains("belongs to site"));
    assert_eq!(id(&world, "client"), old, "nothing was given up for it");
    fs::write(world.path("client.json"), fresh.to_string()).unwrap();
    world.start("client");
    world.until("it has another id", |world| id(world, "client") != old);
    let new = id(&world, "client");
    says(&world, "client", &["joined anew", &new]);

    // What ran here does not run again; what is new does.
    let state = |world: &World| {
        let status = world.ask("GET", &format!("{FLEET}/namespaces/default/clientstatuses/tool.{new}"), None);
        status["status"]["state"].clone()
    };
    world
        .until("the site knows where it stands", |world| state(world) == "Succeeded" || state(world) == "WillNotRerun");
    world.package("tool", 3);
    world.until("it runs the next version", |world| world.lines().get("tool 3") == Some(&1));
    world.until("and says so", |world| state(world) == "Succeeded");
    assert_eq!(world.lines().values().collect::<Vec<_>>(), [&1, &1, &1], "{:?}", world.lines());

    // A further invitation to a client that is known is not needed, and not used up.
    world.stop("client");
    world.invite("client");
    world.start("client");
    says(&world, "client", &["has joined already", "not used up"]);
    assert_eq!(id(&world, "client"), new);
}

#[test]
fn a_point_that_was_deleted_says_so_and_joins_anew_with_what_it_holds() {
    let mut world = World::new();
    world.package("tool", 1);
    world.start("site");
    world.join(&["dp", "cap"]);
    let holds = |world: &World, point: &str| {
        world
            .list(&format!("{FLEET}/namespaces/default/contentlocations"))
            .iter()
            .any(|row| row["status"]["distributionPoint"] == point && row["status"]["state"] == "Installed")
    };
    world.until("it holds the package", |world| holds(world, "dp"));
    let words = ["clients", "delete", "dp", "--state", "site"];
    assert_eq!(String::from_utf8(world.command(&words).output().unwrap().stdout).unwrap(), "deleted dp dp\n");
    // An access point's id is not its name.
    for (action, done) in [("block", "blocked"), ("unblock", "unblocked"), ("delete", "deleted")] {
        let output = world.command(&["clients", action, "cap", "--state", "site"]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{done} cap cap\n"));
    }
    let nobody = world.command(&["clients", "delete", "nobody", "--state", "site"]).output().unwrap();
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("there is no client 'nobody'"));
    says(&world, "dp", &["turns this point away", "it was deleted at the site"]);
    world.stop("dp");
    let words = ["token", "create", "--role", "dp", "--name", "dp-again", "--state", "site"];
    let output = world.command(&words).output().unwrap();
    fs::write(world.path("dp.json"), output.stdout).unwrap();
    world.start("dp");
    world.until("it is another", |world| id(world, "dp") == "dp-again");
    world.until("it holds the package under its new name", |world| holds(world, "dp-again"));
}
