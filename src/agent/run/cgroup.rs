//! A control group per run, where this process may make one: the kernel then knows every process of the run and can
//! end all at once. Without one the supervisor walks its descendants instead. Sets no limits.

use std::fs;
use std::path::{Path, PathBuf};

/// What one hierarchy offers for ending a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// Version 2 from Linux 5.14 on: one write ends all.
    Kill,
    /// The group is frozen while its members are signalled, so that none forks meanwhile: file, frozen, thawed.
    Freeze(&'static str, &'static str, &'static str),
}

const FREEZE_V2: Control = Control::Freeze("cgroup.freeze", "1", "0");
const FREEZE_V1: Control = Control::Freeze("freezer.state", "FROZEN", "THAWED");

/// A control group made for one run. Dropping it removes it, unless processes are left in it: then retention does.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
    control: Control,
}

impl Cgroup {
    /// Makes a group named `name` below the caller's own; `None` where that is not possible or not allowed.
    pub(super) fn create(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        hierarchies(&mounts, &own).into_iter().find_map(|hierarchy| Self::create_below(&hierarchy, name))
    }

    fn create_below(hierarchy: &Hierarchy, name: &str) -> Option<Self> {
        let dir = hierarchy.dir.join(name);
        fs::create_dir(&dir).ok()?;
        let candidates: &[Control] = if hierarchy.version2 { &[Control::Kill, FREEZE_V2] } else { &[FREEZE_V1] };
        match candidates.iter().copied().find(|control| dir.join(control.file()).exists()) {
            Some(control) => Some(Self { dir, control }),
            None => fs::remove_dir(&dir).ok().and(None),
        }
    }

    /// The group's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that takes the ids of processes to be moved into the group.
    pub(super) fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// Ids of the processes in the group.
    pub(super) fn members(&self) -> Vec<i32> {
        let procs = fs::read_to_string(self.procs()).unwrap_or_default();
        procs.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends every process of the group; looked at again by the caller.
    pub(super) fn kill(&self) {
        match self.control {
            Control::Kill => drop(fs::write(self.dir.join("cgroup.kill"), "1")),
            Control::Freeze(file, frozen, thawed) => {
                let _ = fs::write(self.dir.join(file), frozen);
                for pid in self.members().into_iter().filter_map(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                let _ = fs::write(self.dir.join(file), thawed);
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while processes are in it, which is what we want.
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Control {
    fn file(self) -> &'static str {
        match self {
            Self::Kill => "cgroup.kill",
            Self::Freeze(file, ..) => file,
        }
    }
}

/// Where the caller stands in one mounted hierarchy that can end groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    dir: PathBuf,
    version2: bool,
}

/// The usable hierarchies, version 2 first. `mounts` is `/proc/self/mountinfo`, `own` is `/proc/self/cgroup`.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let own: Vec<(&str, &str)> = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    let mut found: Vec<Hierarchy> = mounts.lines().filter_map(|line| hierarchy(line, &own)).collect();
    found.sort_by_key(|hierarchy| !hierarchy.version2);
    found
}

fn hierarchy(mount: &str, own: &[(&str, &str)]) -> Option<Hierarchy> {
    let (place, kind) = mount.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let (root, mount_point) = (place.get(3)?, place.get(4)?);
    let kind: Vec<&str> = kind.split(' ').collect();
    let version2 = *kind.first()? == "cgroup2";
    let freezer = *kind.first()? == "cgroup" && kind.get(2)?.split(',').any(|option| option == "freezer");
    let controllers = |list: &str| if version2 { list.is_empty() } else { list.split(',').any(|c| c == "freezer") };
    let path = own.iter().find(|(list, _)| (version2 || freezer) && controllers(list))?.1;
    // A group outside what is mounted here cannot be reached by a path.
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Hierarchy { dir: Path::new(mount_point).join(below), version2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_a_hybrid_system_are_found_version_2_first() {
        let mounts = "31 24 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                      32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      33 24 0:29 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/deep\n3:freezer:/\n0::/system.slice/waybill-agent.service\n";
        let expected =
            [("/sys/fs/cgroup/unified/system.slice/waybill-agent.service", true), ("/sys/fs/cgroup/freezer", false)];
        let found = hierarchies(mounts, own);
        assert_eq!(found, expected.map(|(dir, version2)| Hierarchy { dir: dir.into(), version2 }));
    }

    #[test]
    fn a_group_outside_the_mounted_part_is_not_used() {
        let mounts = "33 24 0:29 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchies(mounts, "0::/other\n"), []);
        assert_eq!(hierarchies(mounts, "0::/docker/1/sub\n")[0].dir, Path::new("/sys/fs/cgroup/sub"));
        assert_eq!(hierarchies("", ""), []);
    }
}
