//! The agent is killed at any moment: no program runs twice, and nothing it had to say is lost.

use std::time::Duration;

use super::{
    machine::Machine,
    noting, shell,
    site::{Site, assigned, program, record},
};
use waybill::model::state::RunState;

#[test]
fn killed_again_and_again_nothing_runs_twice_and_nothing_is_lost() {
    const PROGRAMS: usize = 12;
    let mut site = Site::start();
    let mut machine = Machine::of(&site);
    let script = "#!/bin/sh\necho \"$1\" >> \"$2\"\nsleep 0.3\necho \"$1\" >> \"$2.done\"\n";
    let content = site.publish(&[("run.sh", script)], &[""]);
    let runs = machine.file("runs").display().to_string();
    let programs = (0..PROGRAMS).map(|i| program(&format!("p{i}"), &["run.sh", &i.to_string(), &runs])).collect();
    let record = site.record(&record(Some(content), programs));
    let offers: Vec<_> = (0..PROGRAMS).map(|i| assigned(&format!("a{i}"), &format!("p{i}"), record)).collect();
    // Offered little by little, so that kills fall into every phase.
    for round in 0..PROGRAMS * 2 {
        site.offer(&offers[..=(round / 2)]);
        std::thread::sleep(Duration::from_millis(30 + (round as u64 * 53) % 400));
        machine.kill();
        machine.start();
    }
    for i in 0..PROGRAMS {
        let name = format!("a{i}");
        machine.eventually(&name, || site.states(&name).contains(&RunState::Succeeded).then_some(()));
        let of = |state| site.states(&name).into_iter().filter(|other| *other == state).count();
        assert_eq!(of(RunState::Succeeded), 1, "{:?}", site.states(&name));
        assert_eq!(of(RunState::Running), 1, "{:?}", site.states(&name));
    }
    let mut begun: Vec<usize> = machine.lines("runs").iter().map(|line| line.parse().unwrap()).collect();
    begun.sort_unstable();
    assert_eq!(begun, (0..PROGRAMS).collect::<Vec<_>>(), "each program began exactly once");
    assert_eq!(machine.lines("runs.done").len(), PROGRAMS);
}

#[test]
fn a_killed_supervisor_leaves_unknown_said_aloud_and_never_run_again() {
    let mut site = Site::start();
    let mut machine = Machine::of(&site);
    let script = noting(&machine, "runs", "sleep 60");
    let record = site.record(&record(None, vec![shell("long", &script)]));
    site.offer(&[assigned("all", "long", record)]);
    machine.eventually("the run", || (machine.lines("runs").len() == 1).then_some(()));
    machine.kill();
    let run_dir = machine.state().join("runs").display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&run_dir) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    machine.start();
    machine.eventually("Unknown", || site.states("all").contains(&RunState::Unknown).then_some(()));
    site.offer(&[assigned("all", "long", record), assigned("more", "long", record)]);
    machine.eventually("the other", || site.states("more").contains(&RunState::WillNotRerun).then_some(()));
    assert_eq!(machine.lines("runs").len(), 1);
    assert_eq!(site.states("all").iter().filter(|state| **state == RunState::Unknown).count(), 1);
}
