//! The processes of one run: everything below the supervisor, which inherits orphans, plus the members of the run's
//! control group. Knows how to list, signal and end them; decides nothing about when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroup;

/// Rounds of stopping before killing. A tree that forks as fast as we look is caught in two or three; what is still
/// missed is met again in the next round of killing.
const STOP_ROUNDS: usize = 20;

/// The kernel's id of this boot.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in clock ticks since boot; `None` if there is none of that id, or only its dead shell.
pub(super) fn start_time_ticks(pid: i32) -> Option<u64> {
    let stat = Stat::read(pid)?;
    (!stat.dead).then_some(stat.start_time_ticks)
}

/// What is used of `/proc/PID/stat`.
struct Stat {
    parent: i32,
    dead: bool,
    start_time_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields are counted from behind the last `)`: the command name in front of it is the program's own choice.
    fn parse(stat: &[u8]) -> Option<Self> {
        let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_whitespace().collect();
        Some(Self {
            dead: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            start_time_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The processes of the run that this process supervises.
pub(super) struct Tree {
    cgroup: Option<Cgroup>,
}

impl Tree {
    pub(super) fn new(cgroup: Option<Cgroup>) -> Self {
        Self { cgroup }
    }

    /// Every living process of the run with its start time, in no particular order.
    pub(super) fn members(&self) -> BTreeMap<i32, u64> {
        let mut members = descendants(getpid().as_raw_nonzero().get());
        for pid in self.cgroup.iter().flat_map(Cgroup::members) {
            if let Some(ticks) = start_time_ticks(pid) {
                members.insert(pid, ticks);
            }
        }
        members
    }

    /// Asks every process of the run to end.
    pub(super) fn terminate(&self) {
        for (pid, ticks) in self.members() {
            signal(pid, ticks, Signal::TERM);
        }
    }

    /// Ends every process of the run that can be found now. Call again until [`Self::members`] is empty.
    pub(super) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        // Stopped first, so that no process forks behind the back of the walk.
        let mut stopped = BTreeSet::new();
        for _ in 0..STOP_ROUNDS {
            let fresh: Vec<_> = self.members().into_iter().filter(|member| !stopped.contains(member)).collect();
            if fresh.is_empty() {
                break;
            }
            for (pid, ticks) in fresh {
                signal(pid, ticks, Signal::STOP);
                stopped.insert((pid, ticks));
            }
        }
        for (pid, ticks) in self.members() {
            signal(pid, ticks, Signal::KILL);
        }
    }
}

/// Signals exactly the process that had this id and start time: the descriptor pins it, the start time proves it.
/// A process that is gone, or not ours to signal, is passed over; the caller looks again anyway.
fn signal(pid: i32, ticks: u64, signal: Signal) {
    let Some(id) = Pid::from_raw(pid) else { return };
    let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return };
    if start_time_ticks(pid) == Some(ticks) {
        let _ = pidfd_send_signal(&process, signal);
    }
}

fn descendants(root: i32) -> BTreeMap<i32, u64> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: BTreeMap<i32, Stat> = pids.filter_map(|pid| Some((pid, Stat::read(pid)?))).collect();
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, stat) in &all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = BTreeMap::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            next.push(pid);
            if let Some(stat) = all.get(&pid).filter(|stat| !stat.dead) {
                found.insert(pid, stat.start_time_ticks);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_shift_the_fields() {
        let stat = b"42 (a) S 1 (b) R 7 9 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.parent, stat.dead, stat.start_time_ticks), (7, false, 123_456));
        assert!(Stat::parse(b"42 (x").is_none());
    }

    #[test]
    fn this_process_has_a_start_time_and_a_dead_one_has_none() {
        assert!(start_time_ticks(getpid().as_raw_nonzero().get()).is_some());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(start_time_ticks(pid), None);
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn grandchildren_are_found() {
        let mut shell = std::process::Command::new("/bin/sh").args(["-c", "sleep 30 & wait"]).spawn().unwrap();
        let below = loop {
            let found = descendants(i32::try_from(shell.id()).unwrap());
            if !found.is_empty() {
                break found;
            }
            std::thread::yield_now();
        };
        for (pid, ticks) in below {
            signal(pid, ticks, Signal::KILL);
        }
        shell.wait().unwrap();
    }
}
