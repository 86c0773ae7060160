//! What `waybill up` refuses at its start, and what it says in its log afterwards: as somebody meets it who types.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use crate::world::{HEAD, World};

fn told(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn log(world: &World) -> String {
    fs::read_to_string(world.path("site.log")).unwrap()
}

#[test]
fn what_can_never_be_served_is_refused_before_anything_is_made() {
    let world = World::new();
    fs::write(world.path("file"), "x").unwrap();
    for (words, expected) in [
        (&["up", "file"][..], "file is a file; name the directory"),
        (&["up", "file", "--branch", "main"], "file is a file; name the directory"),
        (&["up", "fleet", "--branch", "main"], "is in no git repository; make one with `git init`"),
        (&["up", "nowhere"], "nowhere cannot be read"),
    ] {
        let (code, said) = told(&mut world.command(&[words, &["--state", "site"]].concat()));
        assert!(code == Some(1) && said.contains(expected), "{words:?}: {code:?} {said}");
        assert!(!world.path("site").exists(), "{words:?}");
    }
    let (code, said) = told(&mut world.command(&["--log", "nonsense", "up", "fleet"]));
    assert!(code == Some(2) && said.contains("'nonsense' is no level"), "{said}");
}

#[test]
fn a_site_says_what_is_wrong_once_and_what_to_do() {
    let mut world = World::new();
    world.write("broken.yaml", format!("{HEAD}: Collection\nmetadata: {{name: x}}\nspec: {{clients: [a]\n"));
    for name in ["a", "b"] {
        world.write(
            &format!("{name}.yaml"),
            format!("{HEAD}: Collection\nmetadata: {{name: {name}}}\nspec: {{clients: [x]}}\n"),
        );
    }
    world.start("site");
    world.until("it is said", |world| log(world).contains("is in force except for its problems: 2 objects"));
    assert!(log(&world).contains("broken.yaml:4:7: this bracket is not closed"), "{}", log(&world));

    // Another revision, in which the same is wrong, and another that removes everything.
    world.write("c.yaml", format!("{HEAD}: Collection\nmetadata: {{name: c}}\nspec: {{clients: [x]}}\n"));
    world.until("the next revision is in force", |world| {
        log(world).contains("is in force except for its problems: 3 objects")
    });
    assert_eq!(log(&world).matches("broken.yaml:4:7").count(), 1, "{}", log(&world));
    for name in ["a.yaml", "b.yaml", "c.yaml", "broken.yaml"] {
        world.take_out(name);
    }
    world.until("the guard is said", |world| log(world).contains("waybill sync acknowledge "));
    let said = log(&world);
    assert_eq!(said.matches("would remove 3 of 3 objects").count(), 1, "{said}");
    let revision = said.rsplit("waybill sync acknowledge ").next().unwrap().split('.').next().unwrap();
    let (code, said) = told(&mut world.command(&["sync", "acknowledge", &revision[..6], "--state", "site"]));
    assert!(code == Some(1) && said.contains("at least its first 7 digits"), "{said}");
    let output = world.command(&["sync", "acknowledge", &revision[..7], "--state", "site"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.until("it is allowed", |world| log(world).contains("nothing is held back any more"));

    world.stop("site");
    let (code, said) = told(&mut world.command(&["up", "fleet", "--state", "site", "--site", "other"]));
    assert!(code == Some(1) && said.contains("is the state of site 'main', not of 'other'"), "{said}");
    let (code, said) = told(&mut world.command(&["apiserver", "--state", "site", "--listen", "127.0.0.1:0"]));
    assert!(code == Some(1) && said.contains("belongs to another kind of process"), "{said}");
    let key = world.path("site/keys/site.key");
    fs::rename(&key, world.path("key")).unwrap();
    let (code, said) = told(&mut world.command(&["up", "fleet", "--state", "site"]));
    assert!(code == Some(1) && said.contains("keys/site.key is gone, and no client or point believes"), "{said}");
    fs::rename(world.path("key"), key).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, api) = (format!("127.0.0.1:{}", world.port()), taken.local_addr().unwrap().to_string());
    let words = ["up", "fleet", "--state", "site", "--listen", &listen, "--api-listen", &api];
    let (code, said) = told(&mut world.command(&words));
    assert!(code == Some(1) && said.contains("for the Kubernetes API") && said.contains("--api-listen"), "{said}");
}

#[test]
fn a_branch_that_is_not_there_yet_is_served_and_said_aloud() {
    let mut world = World::new();
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]);
        let done = git.args(words).current_dir(world.path("fleet")).env("GIT_CONFIG_GLOBAL", "/dev/null").output();
        let done = done.unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    world.write("a.yaml", format!("{HEAD}: Collection\nmetadata: {{name: a}}\nspec: {{clients: [x]}}\n"));
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message=c"]);
    let listen = format!("127.0.0.1:{}", world.port());
    world.start_as("site", &["up", "fleet", "--branch", "later", "--state", "site", "--listen", &listen]);
    // On the terminal and in the log, which are one file here.
    let said = "has no branch `later` (it has main): nothing is declared until the branch is there";
    world.until("it is said", |world| log(world).contains("The site is up.") && log(world).matches(said).count() == 2);
    world.until("it is looked for", |world| log(world).contains("git sync: the repository"));
    let branch = ["branch", "later"];
    let done = Command::new("git").args(branch).current_dir(world.path("fleet")).output().unwrap();
    assert!(done.status.success());
    world.until("it is served", |world| log(world).contains("is in force: 1 object"));
    assert_eq!(log(&world).matches("git sync: the repository").count(), 1, "{}", log(&world));
}

#[test]
fn ports_that_were_free_at_the_first_start_are_kept() {
    let mut world = World::new();
    let words = ["up", "fleet", "--state", "site", "--listen", "127.0.0.1:0"];
    let urls = |world: &World| {
        let pid = world.pid("site");
        let read = || -> Option<serde_json::Value> {
            serde_json::from_slice(&std::fs::read(world.path("site/endpoints.json")).ok()?).ok()
        };
        world.until("the site is up", |_| read().is_some_and(|endpoints| endpoints["pid"] == pid));
        let endpoints = read().unwrap();
        ["apiUrl", "deviceUrl", "enrolmentUrl", "healthUrl"].map(|one| endpoints[one].as_str().unwrap().to_owned())
    };
    world.start_as("site", &words);
    let first = urls(&world);
    world.strike("site");
    world.start_as("site", &words);
    assert_eq!(urls(&world), first);

    // Somebody else has taken one meanwhile.
    world.stop("site");
    let _taken = TcpListener::bind(first[1].strip_prefix("https://").unwrap()).unwrap();
    world.start_as("site", &words);
    let now = urls(&world);
    assert_eq!((&now[0], &now[2], &now[3]), (&first[0], &first[2], &first[3]));
    assert_ne!(now[1], first[1]);
    assert!(log(&world).contains("where clients and points were served last, cannot be used again"), "{}", log(&world));
}

#[test]
fn a_process_whose_state_directory_is_gone_ends_and_says_so() {
    let mut world = World::new();
    world.start("site");
    world.join(&["dp", "cap"]);
    for name in ["dp", "cap"] {
        world.until("it has joined", |world| world.path(name).join("session.json").exists());
    }
    for name in ["dp", "cap", "site"] {
        fs::rename(world.path(name), world.path(&format!("{name}-aside"))).unwrap();
    }
    let mut ended = std::collections::BTreeMap::new();
    for _ in 0..600 {
        for name in ["dp", "cap", "site"] {
            if let Some(status) = world.ended(name) {
                ended.insert(name, status.success());
            }
        }
        if ended.len() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(ended, [("cap", false), ("dp", false), ("site", false)].into(), "{}", world.logs());
    for name in ["dp", "cap", "site"] {
        let log = fs::read_to_string(world.path(&format!("{name}.log"))).unwrap();
        assert!(log.contains("was removed or replaced while this process ran"), "{name}: {log}");
    }
}
