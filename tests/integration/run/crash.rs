//! Killed agents and supervisors: a program starts at most once, and is never said to have ended unless it has.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use waybill::agent::run::{Ending, LossCause, State, next_attempt, recover, start};

use super::setting::{Client, ending, eventually, intent, key, kill, launcher, processes_with};

/// Kills per loop in the suite's short form; `WAYBILL_TEST_KILLS` names another number.
const SHORT_KILLS: u64 = 20;

#[expect(clippy::disallowed_methods, reason = "the test run's own switch, not a setting of the product")]
fn kills() -> u64 {
    std::env::var("WAYBILL_TEST_KILLS").map_or(SHORT_KILLS, |number| number.parse().unwrap())
}

/// The environment variable that tells the child process of these tests where the client is.
const CLIENT_DIR: &str = "WAYBILL_TEST_CLIENT";

/// A program that proves its start: one line, durable before anything else happens.
const LEDGER: &str = "#!/bin/sh\necho started >> \"$LEDGER\" && sync \"$LEDGER\" && sleep 0.05\n";

fn ledger_lines(client: &Client) -> usize {
    fs::read_to_string(client.dir().join("ledger")).map_or(0, |text| text.lines().count())
}

/// Writes the ticket where the child agent finds it.
fn prepared() -> Client {
    let client = Client::with(&[("setup", LEDGER)]);
    let mut ticket = client.ticket(&["setup"]);
    ticket.env.insert("LEDGER".into(), client.dir().join("ledger").to_str().unwrap().into());
    fs::write(client.dir().join("ticket.json"), serde_json::to_vec(&ticket).unwrap()).unwrap();
    client
}

/// The agent process of the other tests, and nothing when run by itself: recovers, starts what provably did not start,
/// waits for what runs, and ends when nothing is left.
#[test]
fn child_agent() {
    #[expect(clippy::disallowed_methods, reason = "the way to hand an argument to a test")]
    let Ok(dir) = std::env::var(CLIENT_DIR) else { return };
    let state_dir = Path::new(&dir).join("state");
    let ticket = serde_json::from_slice(&fs::read(Path::new(&dir).join("ticket.json")).unwrap()).unwrap();
    let mut runs = recover(&state_dir).unwrap();
    let settled = match runs.pop().map(|last| (last.state.unwrap(), last.handle)) {
        Some((State::Running, handle)) => handle.unwrap().wait(),
        Some((State::Ended(_) | State::Unknown(_), _)) => return,
        Some((State::NotStarted, _)) | None => {
            let attempt = next_attempt(&state_dir, &key("ledger")).unwrap();
            start(&state_dir, &intent("ledger", attempt), &ticket, &launcher()).unwrap().wait()
        }
    };
    assert_ne!(settled.state.unwrap(), State::Running);
}

fn spawn_agent(client: &Client) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["run::crash::child_agent", "--exact"])
        .env(CLIENT_DIR, client.dir())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The state of the last attempt, once nothing is under way.
fn last_state(client: &Client) -> State {
    let last = recover(&client.state_dir()).unwrap().pop();
    last.map_or(State::NotStarted, |run| run.handle.map_or(run.state, |handle| handle.wait().state).unwrap())
}

fn has_begun(client: &Client) -> bool {
    recover(&client.state_dir()).unwrap().iter().any(|run| run.run_dir.join("begin.json").exists())
}

/// Moments that differ from run to run of the loop but not from run to run of the suite.
fn moment(seed: u64, limit: Duration) -> Duration {
    let hash = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11;
    limit.mul_f64(hash as f64 / (1u64 << 53) as f64)
}

#[test]
fn a_killed_agent_changes_nothing_for_the_run() {
    for seed in 0..kills() {
        let client = prepared();
        let mut agent = spawn_agent(&client);
        std::thread::sleep(moment(seed, Duration::from_millis(120)));
        agent.kill().unwrap();
        agent.wait().unwrap();
        eventually("the next agents bring it to its end", || {
            assert!(spawn_agent(&client).wait().unwrap().success());
            matches!(last_state(&client), State::Ended(_)).then_some(())
        });
        assert_eq!(ledger_lines(&client), 1, "seed {seed}");
        let State::Ended(end) = last_state(&client) else { panic!("seed {seed}: no end") };
        assert_eq!(end.ending, Ending::Exited { code: 0 }, "seed {seed}");
    }
}

#[test]
fn a_killed_supervisor_never_leads_to_a_second_start() {
    let mut unknown = 0;
    for seed in 0..kills() {
        let client = prepared();
        let mut agent = spawn_agent(&client);
        if seed % 2 == 0 {
            std::thread::sleep(moment(seed, Duration::from_millis(150)));
        } else {
            // Half of the kills fall after BEGIN, however slow the machine is.
            eventually("the run begins", || has_begun(&client).then_some(()));
            std::thread::sleep(moment(seed, Duration::from_millis(30)));
        }
        let word = format!("supervise {}", client.state_dir().display());
        processes_with(&word).into_iter().for_each(kill);
        assert!(agent.wait().unwrap().success());
        eventually("the next agents bring it to a state that stays", || {
            assert!(spawn_agent(&client).wait().unwrap().success());
            (last_state(&client) != State::NotStarted).then_some(())
        });
        // The program itself goes on without its supervisor.
        std::thread::sleep(Duration::from_millis(100));
        match last_state(&client) {
            State::Ended(end) => {
                assert_eq!((end.ending, ledger_lines(&client)), (Ending::Exited { code: 0 }, 1), "seed {seed}");
            }
            State::Unknown(lost) => {
                unknown += 1;
                assert_eq!(lost.cause, LossCause::SupervisorLost, "seed {seed}");
                assert!(ledger_lines(&client) <= 1, "seed {seed}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(unknown > 0, "no kill of this loop fell between BEGIN and END; the moments have to be moved");
}

#[test]
fn a_new_agent_attaches_to_a_running_program() {
    let client = Client::with(&[]);
    let go = client.dir().join("go");
    let script = format!("echo running; while ! test -e {}; do sleep 0.01; done; exit 5", go.display());
    let handle = client.start("attached", &client.ticket(&["/bin/sh", "-c", &script])).unwrap();
    let begun = handle.run_dir().join("begin.json");
    eventually("the program runs", || begun.exists().then_some(()));
    drop(handle);
    let mut found = recover(&client.state_dir()).unwrap();
    assert_eq!(found[0].state.as_ref().unwrap(), &State::Running);
    assert_eq!(found[0].intent.as_ref().unwrap().run_key, key("attached"));
    fs::write(&go, "").unwrap();
    let settled = found[0].handle.take().unwrap().wait();
    assert_eq!(ending(&settled), Ending::Exited { code: 5 });
}

#[test]
fn a_supervisor_killed_in_mid_run_leaves_unknown_and_says_that_the_program_lives() {
    let client = Client::with(&[]);
    let go = client.dir().join("go");
    let running = client.dir().join("running");
    let script = format!("touch {}; while ! test -e {}; do sleep 0.01; done", running.display(), go.display());
    let handle = client.start("lost", &client.ticket(&["/bin/sh", "-c", &script])).unwrap();
    let run_dir = handle.run_dir().to_owned();
    eventually("the program runs", || running.exists().then_some(()));
    processes_with(&format!("supervise {}", run_dir.display())).into_iter().for_each(kill);
    let Ok(State::Unknown(lost)) = handle.wait().state else { panic!("not unknown") };
    assert!(lost.program_alive && lost.cause == LossCause::SupervisorLost && lost.begin.is_some());
    fs::write(&go, "").unwrap();
    eventually("the program ends", || {
        let Ok(State::Unknown(lost)) = waybill::agent::run::journal::observe(&run_dir) else { panic!("not unknown") };
        (!lost.program_alive).then_some(())
    });
}

#[test]
fn what_cannot_be_read_counts_as_started() {
    let ended = || {
        let client = Client::with(&[]);
        let run_dir = client.run(&client.ticket(&["/bin/sh", "-c", "exit 0"])).run_dir;
        (client, run_dir)
    };
    let state = |run_dir: &Path| waybill::agent::run::journal::observe(run_dir).unwrap();
    let damaged = |state| matches!(state, State::Unknown(lost) if lost.cause == LossCause::JournalDamaged);

    let (_client, run_dir) = ended();
    fs::write(run_dir.join("begin.json"), "{ torn").unwrap();
    assert!(matches!(state(&run_dir), State::Ended(_)), "a readable end is an end");
    fs::write(run_dir.join("end.json"), "{ torn").unwrap();
    assert!(damaged(state(&run_dir)));
    fs::remove_file(run_dir.join("end.json")).unwrap();
    assert!(damaged(state(&run_dir)));
    fs::remove_file(run_dir.join("begin.json")).unwrap();
    assert_eq!(state(&run_dir), State::NotStarted);
    fs::write(run_dir.join("intent.json"), "").unwrap();
    assert!(damaged(state(&run_dir)));

    let (_client, run_dir) = ended();
    fs::remove_file(run_dir.join("end.json")).unwrap();
    let begin = fs::read_to_string(run_dir.join("begin.json")).unwrap();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(run_dir.join("begin.json"), begin.replace(boot_id.trim(), "an earlier boot")).unwrap();
    assert!(
        matches!(state(&run_dir), State::Unknown(lost) if lost.cause == LossCause::Rebooted && !lost.program_alive)
    );
}
