//! Kill -9 of every kind of process in a whole fleet, at moments that a seed decides: no program starts twice, none is
//! forgotten, and the fleet ends where it would have ended. `WAYBILL_TEST_KILLS` names how many kills each loop makes, and
//! `WAYBILL_TEST_SEED` the seed of a failed run, to make it again.

#![allow(clippy::print_stderr, reason = "a seed must be heard")]

pub(crate) mod fleet;
mod odd;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fleet::{Fleet, Size, Start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Kills per loop in the suite's short form.
const SHORT_KILLS: u64 = 6;
/// Most kills while one version is on its way.
const KILLS_PER_VERSION: u64 = 5;
/// Longest pause between two kills: longer than a process needs to start.
const PAUSE_MAX_MS: u64 = 900;
/// How long a kill waits for a program to begin: longer than a version needs to reach a client.
const BEGIN_PATIENCE: Duration = Duration::from_secs(3);
/// A fleet in which nobody is the only one of its kind.
const WHOLE: Size = Size { points: 2, access_points: 2, clients: 3 };

#[expect(clippy::disallowed_methods, reason = "the test run's own switch, not a setting of the product")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

fn kills() -> u64 {
    setting("WAYBILL_TEST_KILLS").unwrap_or(SHORT_KILLS)
}

/// Numbers that spread kills (xorshift64), from a seed that a failure shows.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = setting("WAYBILL_TEST_SEED").unwrap_or(waybill::clock::now_unix_ms().cast_unsigned());
        eprintln!("WAYBILL_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pause(&mut self) {
        thread::sleep(Duration::from_millis(self.below(PAUSE_MAX_MS)));
    }
}

/// Runs a fleet through versions of a package while `kill` strikes, until there were as many kills as wanted. `settled`
/// tells whether everybody is done with a version. The fleet, and the last version.
fn through_kills(
    fleet: &mut Fleet,
    random: &mut Random,
    mut kill: impl FnMut(&mut Fleet, &mut Random) -> u64,
    settled: impl Fn(&Fleet, u64) -> bool,
) -> u64 {
    fleet.publish(1);
    fleet.up();
    fleet.world.until("version 1", |_| settled(fleet, 1));
    let (mut version, mut killed) = (1, 0);
    while killed < kills() {
        version += 1;
        fleet.publish(version);
        for _ in 0..=random.below(KILLS_PER_VERSION) {
            random.pause();
            killed += kill(fleet, random);
        }
        fleet.world.until(&format!("version {version}"), |_| settled(fleet, version));
    }
    eprintln!("{killed} kills in {version} versions");
    version
}

/// Kills one process of `kind`, now and then together with the one of its kind that takes over.
fn kill_of(kind: &str, fleet: &mut Fleet, random: &mut Random) -> u64 {
    let mut names = fleet.names(kind);
    while names.len() > 1 && random.below(3) > 0 {
        names.remove(usize::try_from(random.below(names.len() as u64)).unwrap());
    }
    names.iter().for_each(|name| fleet.world.strike(name));
    if random.below(2) == 0 {
        random.pause();
    }
    names.iter().for_each(|name| fleet.world.launch(name));
    names.len() as u64
}

fn every_start(fleet: &Fleet, version: u64) -> BTreeSet<Start> {
    fleet.names("client").iter().flat_map(|name| (1..=version).map(|version| (name.clone(), version))).collect()
}

fn all_ran(fleet: &Fleet, version: u64) -> bool {
    let starts = fleet.starts();
    fleet.names("client").iter().all(|client| starts.contains_key(&(client.clone(), version)))
}

/// Nothing ran twice, nothing is missing, and the fleet says and holds what it would have said and held without a kill.
fn assert_whole(fleet: &Fleet, version: u64) {
    let clients = fleet.names("client").len() as u64;
    let mut shown = Value::Null;
    let succeeded = |shown: &Value| {
        let one = &shown["advertisements"][0];
        (one["clients"]["succeeded"] == clients && one["messages"]["succeeded"] == clients * version)
            && shown["packages"][0]["ready"] == "True"
    };
    fleet.world.until("everybody's success is known", |_| {
        shown = fleet.status();
        succeeded(&shown)
    });
    let expected: BTreeMap<Start, u32> = every_start(fleet, version).into_iter().map(|start| (start, 1)).collect();
    assert_eq!(fleet.starts(), expected);
    let messages = &shown["advertisements"][0]["messages"];
    assert_eq!(messages["failed"], 0, "{messages}");
    assert_eq!(messages["failedToStart"], 0, "{messages}");
    assert_eq!(messages["started"], clients * version, "{messages}");
    let lost = fleet.messages().into_iter().find(|message| message["state"] == "Unknown");
    assert_eq!(lost, None, "no supervisor was killed");
    assert_eq!(shown["packages"][0]["sourceVersion"], version);
    assert_published(fleet, version);
}

/// Every point holds the version, byte for byte, and of the older ones that before it at most.
fn assert_published(fleet: &Fleet, version: u64) {
    let source = fleet.source();
    for state in fleet.names("dp").iter().chain(&fleet.names("site")) {
        fleet.world.until(&format!("{state} holds two versions"), |_| fleet.published(state).len() <= 2);
        let published = fleet.published(state);
        let newest = published.iter().find(|(name, _)| name.starts_with(&format!("{version}-")));
        assert!(newest.is_some_and(|(_, files)| *files == source), "{state}: {:?}", published.keys());
    }
}

fn killed(kind: &str) {
    let mut random = Random::new();
    let mut fleet = Fleet::new(WHOLE);
    fleet.script = "sleep 0.2";
    let version = through_kills(&mut fleet, &mut random, |fleet, random| kill_of(kind, fleet, random), all_ran);
    assert_whole(&fleet, version);
}

#[test]
fn a_site_killed_again_and_again_loses_and_repeats_nothing() {
    killed("site");
}

#[test]
fn distribution_points_killed_again_and_again_lose_and_repeat_nothing() {
    killed("dp");
}

#[test]
fn agents_killed_again_and_again_lose_and_repeat_nothing() {
    killed("client");
}

#[test]
fn access_points_killed_again_and_again_lose_and_repeat_nothing() {
    let mut random = Random::new();
    let mut fleet = Fleet::new(WHOLE);
    // A client stays with an access point until that fails: without the site's own one they are on those that are killed.
    let mut killed_site = false;
    let kill = |fleet: &mut Fleet, random: &mut Random| {
        if !killed_site || random.below(10) == 0 {
            fleet.world.kill("site");
            killed_site = true;
        }
        kill_of("cap", fleet, random)
    };
    let version = through_kills(&mut fleet, &mut random, kill, all_ran);
    assert_whole(&fleet, version);
}

/// The supervisors of a fleet's clients: process id, and the directory of the run.
fn supervisors(fleet: &Fleet) -> Vec<(Pid, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        let mut words = words.split('\0').skip_while(|word| *word != "supervise").skip(1);
        let run_dir = words.find(|word| Path::new(word).starts_with(fleet.world.path("")));
        found.extend(run_dir.map(|run_dir| (Pid::from_raw(pid).unwrap(), PathBuf::from(run_dir))));
    }
    found
}

/// Kills every supervisor there is; the starts whose end nobody will ever know.
fn kill_supervisors(fleet: &Fleet) -> (u64, BTreeSet<Start>) {
    let (mut killed, mut lost) = (0, BTreeSet::new());
    for (pid, run_dir) in supervisors(fleet) {
        if kill_process(pid, Signal::KILL).is_err() {
            continue;
        }
        killed += 1;
        let proc = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        fleet.world.until("the supervisor is gone", |_| fs::read(&proc).unwrap_or_default().is_empty());
        // A dead process writes no more: what lies there now is what anybody can ever know.
        if run_dir.join("begin.json").exists() && !run_dir.join("end.json").exists() {
            let intent: Value = serde_json::from_slice(&fs::read(run_dir.join("intent.json")).unwrap()).unwrap();
            let client = run_dir.strip_prefix(fleet.world.path("")).unwrap().iter().next().unwrap().to_str().unwrap();
            lost.insert((client.to_owned(), intent["sourceVersion"].as_u64().unwrap()));
        }
    }
    (killed, lost)
}

#[test]
fn supervisors_killed_again_and_again_leave_unknown_where_they_stood_and_nowhere_else() {
    let mut random = Random::new();
    let mut fleet = Fleet::new(Size { points: 0, access_points: 0, clients: 3 });
    fleet.script = "sleep 0.3";
    let mut lost = BTreeSet::new();
    let kill = |fleet: &mut Fleet, random: &mut Random| {
        // Half of the kills fall after BEGIN, however slow the machine is.
        if random.below(2) == 0 {
            let until = Instant::now() + BEGIN_PATIENCE;
            while !supervisors(fleet).iter().any(|(_, run_dir)| run_dir.join("begin.json").exists())
                && Instant::now() < until
            {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let (killed, more) = kill_supervisors(fleet);
        lost.extend(more);
        killed
    };
    // A version is settled when the site was told the outcome of each client: their lines may be missing.
    let told = |fleet: &Fleet, version: u64| {
        let told = outcomes(fleet, &["Succeeded", "Unknown"]);
        fleet.names("client").iter().all(|client| told.contains(&(client.clone(), version)))
    };
    let version = through_kills(&mut fleet, &mut random, kill, told);
    assert!(!lost.is_empty(), "no kill fell between BEGIN and END");
    assert_eq!(outcomes(&fleet, &["Unknown"]), lost);
    let every = every_start(&fleet, version);
    assert_eq!(outcomes(&fleet, &["Succeeded"]), every.difference(&lost).cloned().collect());
    assert_eq!(outcomes(&fleet, &["Failed", "TimedOut", "PrepareFailed"]), BTreeSet::new());
    let starts = fleet.starts();
    assert!(starts.values().all(|count| *count == 1), "{starts:?}");
    let missing: BTreeSet<_> = every.into_iter().filter(|start| !starts.contains_key(start)).collect();
    assert!(missing.is_subset(&lost), "{missing:?} never started, and {lost:?} is unknown");
}

/// The clients and versions of which the site was told one of `states`; each once.
fn outcomes(fleet: &Fleet, states: &[&str]) -> BTreeSet<Start> {
    let names = fleet.names("client").into_iter().filter_map(|name| Some((fleet.client_id(&name)?, name)));
    let names: BTreeMap<String, String> = names.collect();
    let mut told = BTreeSet::new();
    for message in fleet.messages() {
        if message["state"].as_str().is_some_and(|state| states.contains(&state)) {
            let version = message["attributes"]["sourceVersion"].as_str().unwrap().parse().unwrap();
            let start = (names[message["client"].as_str().unwrap()].clone(), version);
            assert!(told.insert(start.clone()), "{start:?} was told twice");
        }
    }
    told
}
