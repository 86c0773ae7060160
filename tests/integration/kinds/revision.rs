//! A revision is taken as a whole, and a program's edit moves no content.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{DEFAULT, bodies, count, until_ready};
use crate::world::{HEAD, World};
use rusqlite::Connection;

/// Programs of the package in the test of whole revisions: enough that applying them takes a while.
const PROGRAMS: u32 = 40;

/// Two advertisements of which one goes to everybody and the other to nobody, and many programs that agree on a number.
fn revision(number: u32, swapped: bool) -> String {
    let (a, b) = if swapped { ("none", "all") } else { ("all", "none") };
    let offer = |name: &str, collection: &str| {
        format!(
            "{HEAD}: Advertisement\nmetadata: {{name: {name}}}\n\
             spec: {{program: p0, collection: {collection}, userMayStart: true}}\n---\n"
        )
    };
    let mut text = format!(
        "{}{HEAD}: Package\nmetadata: {{name: p}}\nspec: {{source: {{none: {{}}}}}}\n---\n\
         {HEAD}: Collection\nmetadata: {{name: all}}\nspec: {{query: 'true'}}\n---\n\
         {HEAD}: Collection\nmetadata: {{name: none}}\nspec: {{query: 'false'}}\n",
        offer("a", a)
    );
    for program in 0..PROGRAMS {
        text.push_str(&format!(
            "---\n{HEAD}: Program\nmetadata: {{name: p{program}}}\nspec: {{packageRef: p, argv: [/bin/true, '{number}']}}\n"
        ));
    }
    // at the other end, so that everything lies between the two
    format!("{text}---\n{}", offer("b", b))
}

#[test]
fn nothing_is_compiled_from_half_a_revision() {
    let mut world = World::new();
    world.write("all.yaml", revision(1, false));
    world.start("site");
    world.join(&["client"]);
    let targeted = |world: &World| {
        ["a", "b"].map(|name| {
            world.ask("GET", &format!("{DEFAULT}/advertisements/{name}"), None)["status"]["clients"]["targeted"]
                .as_i64()
        })
    };
    world.until("the client is offered one of them", |world| {
        targeted(world) == [Some(1), Some(0)] && bodies(world).len() == 1
    });
    // only now is that policy published, and not the one before the record
    until_ready(&world, &format!("{DEFAULT}/advertisements/a"), "Succeeded");
    let records = || count(&world, "SELECT count(*) FROM records");
    assert_eq!(records(), 1, "one record of one revision, with all its programs");

    // every policy that the client is given from here on
    let database = Connection::open(world.path("site/site.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    database
        .execute_batch(
            "CREATE TABLE told (body TEXT);
             CREATE TRIGGER told AFTER UPDATE ON leaves WHEN NEW.body <> OLD.body BEGIN INSERT INTO told VALUES (NEW.body); END",
        )
        .unwrap();
    let told = || count(&world, "SELECT count(*) FROM told");
    for round in 1..4 {
        // both offers change places: never both, never neither
        let swapped = round % 2 == 1;
        let before = told();
        world.write("all.yaml", revision(round, swapped));
        let wanted = if swapped { [Some(0), Some(1)] } else { [Some(1), Some(0)] };
        world.until("they changed places", |world| targeted(world) == wanted && told() > before);
        super::reconcile(&world, &format!("{DEFAULT}/advertisements/a"), &format!("places-{round}"));
        assert_eq!(told(), before + 1, "round {round}: one policy of one revision{}", policies(&database));
        // all programs change: one record with all of them, and one policy that names it
        let number = round + 1;
        let before = told();
        world.write("all.yaml", revision(number, swapped));
        world.until("its record is offered", |_| records() == i64::from(number) && told() > before);
        super::reconcile(&world, &format!("{DEFAULT}/packages/p"), &format!("programs-{round}"));
        assert_eq!(records(), i64::from(number), "round {round}: one record of one revision");
        let envelope: String = {
            let newest = "SELECT envelope FROM records ORDER BY place DESC LIMIT 1";
            database.query_row(newest, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(envelope.matches(&format!("/bin/true\\\",\\\"{number}\\\"")).count(), 40, "{envelope}");
    }
    database.execute_batch("DROP TRIGGER told; DROP TABLE told").unwrap();
}

/// Every policy that was told, for the report of a failure.
fn policies(database: &Connection) -> String {
    let mut rows = database.prepare("SELECT body FROM told").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| format!("\n{}", row.unwrap())).collect()
}

/// Passes everything between a device and its site on, and counts what comes from the site.
struct Wire {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Wire {
    fn to(site: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, bytes) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
        let counted = bytes.clone();
        thread::spawn(move || {
            for device in listener.incoming().map_while(Result::ok) {
                let Ok(site) = TcpStream::connect(("127.0.0.1", site)) else { continue };
                let (up, down) = ((device.try_clone().unwrap(), site.try_clone().unwrap()), (site, device));
                let counted = counted.clone();
                thread::spawn(move || pass(up.0, up.1, &AtomicU64::new(0)));
                thread::spawn(move || pass(down.0, down.1, &counted));
            }
        });
        Self { port, bytes }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(size as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Every file below, with what changes when it is written again.
fn files(directory: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut found = vec![];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path, about.ino(), about.ctime(), about.ctime_nsec()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_edit_of_a_program_makes_a_new_record_and_moves_no_content() {
    /// Size of the package's only file besides its script: far above what talk about it takes.
    const SIZE: usize = 4 << 20;
    let mut world = World::new();
    world.script("p", 1, "");
    world.write("packages/p/data", vec![1; SIZE]);
    world.declare("p");
    world.advertise("p");
    world.start("site");
    // the point speaks to its site through a wire that counts
    let wire = Wire::to(world.port());
    world.join(&["dp"]);
    world.until("the point joined and reports", |world| {
        let point = world.ask("GET", &format!("{}/distributionpoints/dp", super::CLUSTER), None);
        point["status"]["url"].is_string()
    });
    world.stop("dp");
    let swapped = swap(&world.path("dp"), &format!("127.0.0.1:{}", world.port()), &format!("127.0.0.1:{}", wire.port));
    assert!(swapped > 0, "the point remembers where its site is");
    world.start("dp");
    world.join(&["client"]);
    let state = "SELECT count(*) FROM locations WHERE state = 'Installed' AND source_version = 1";
    world.until("both copies", |world| count(world, state) == 2);
    world.until("the run", |world| world.lines().get("p 1") == Some(&1));
    until_ready(&world, &format!("{DEFAULT}/distributions/p"), "Succeeded");

    let records = || count(&world, "SELECT count(*) FROM records");
    let (before, drives, bytes) = (records(), [files(&world.path("dp")), files(&world.path("site/dp"))], wire.bytes());
    let content = |files: &Vec<(PathBuf, u64, i64, i64)>| {
        files
            .iter()
            .filter(|file| file.0.ends_with("data") || file.0.ends_with("install.sh"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(drives.iter().all(|drive| content(drive).len() == 2), "{drives:?}");
    let ledger = "SELECT group_concat(point || source_version || state || coalesce(verified_at_ms, 0)) FROM locations";
    let ledger = || {
        let database = Connection::open(world.path("site/site.db")).unwrap();
        database.query_row(ledger, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let noted = ledger();
    let text = std::fs::read_to_string(world.path("fleet/p.yaml")).unwrap();
    world.write("p.yaml", text.replace("argv: [install.sh]", "argv: [install.sh, loudly], maxRuntime: 7m"));
    world.until("the new record", |_| records() == before + 1);
    world.until("clients are offered it", |world| {
        let digest = "SELECT count(*) FROM current_records";
        count(world, digest) == 1
            && world.ask("GET", &format!("{DEFAULT}/packages/p"), None)["status"]["sourceVersion"] == 1
    });
    super::reconcile(&world, &format!("{DEFAULT}/packages/p"), "a");
    super::reconcile(&world, &format!("{DEFAULT}/distributions/p"), "a");
    assert_eq!(count(&world, "SELECT count(DISTINCT content) FROM records"), 1, "the same content");
    assert_eq!(ledger(), noted, "the ledger knows of no other copy");
    assert_eq!(content(&files(&world.path("dp"))), content(&drives[0]), "not a file was written again");
    assert_eq!(content(&files(&world.path("site/dp"))), content(&drives[1]));
    let moved = wire.bytes() - bytes;
    assert!(moved < SIZE as u64 / 8, "{moved} bytes went to the point");
    assert_eq!(world.lines().get("p 1"), Some(&1), "an edit alone runs nothing again");

    // that the wire would have told
    world.write("packages/p/data", vec![2; SIZE]);
    let state = "SELECT count(*) FROM locations WHERE state = 'Installed' AND source_version = 2";
    world.until("both copies of the next version", |world| count(world, state) == 2);
    assert!(wire.bytes() - bytes > SIZE as u64);
}

/// Replaces a text in every text file below; how often.
fn swap(directory: &Path, old: &str, new: &str) -> usize {
    let mut swapped = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            swapped += swap(&path, old, new);
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && text.contains(old)
        {
            swapped += text.matches(old).count();
            std::fs::write(&path, text.replace(old, new)).unwrap();
        }
    }
    swapped
}
