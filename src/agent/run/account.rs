//! Local accounts: who the agent is, and who a program shall run as. Reads the machine's own files and no directory
//! service: what may run as root must not depend on the network.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::verify::Refusal;
use crate::model::reason::Reason;

/// The account a program runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, `gid` included.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
    /// Whether the stage has to become this account, or is it already.
    pub(super) switch: bool,
}

/// Decides as whom to run: `run_as` or the agent's own account (`agent_uid`). A root agent runs nothing as root unless
/// its configuration allows it; any other agent cannot run as somebody else.
pub(super) fn choose(run_as: Option<&str>, allow_root: bool, agent_uid: u32, etc: &Path) -> Result<Account, Refusal> {
    let not_allowed = |detail: String| Refusal { reason: Reason::NotAllowed, detail };
    let account = match run_as {
        Some(name) => lookup(name, agent_uid, etc)
            .ok_or_else(|| not_allowed(format!("runAs names \"{name}\", which is no local account of this machine")))?,
        None => own(agent_uid, etc),
    };
    if account.switch && agent_uid != 0 {
        let name = run_as.unwrap_or_default();
        return Err(not_allowed(format!(
            "runAs: {name} needs an agent that runs as root; this one has user id {agent_uid}"
        )));
    }
    if account.uid == 0 && !allow_root {
        return Err(not_allowed("it would run as root; set runAs, or allowRoot in the agent's configuration".into()));
    }
    Ok(account)
}

fn lookup(name: &str, agent_uid: u32, etc: &Path) -> Option<Account> {
    let passwd = fs::read_to_string(etc.join("passwd")).ok()?;
    let entry = passwd.lines().filter_map(Entry::parse).find(|entry| entry.name == name)?;
    let mut groups = vec![entry.gid];
    let group = fs::read_to_string(etc.join("group")).unwrap_or_default();
    groups.extend(group.lines().filter_map(|line| member_of(line, name)).filter(|&gid| gid != entry.gid));
    Some(Account {
        uid: entry.uid,
        gid: entry.gid,
        groups,
        home: entry.home.to_owned(),
        switch: entry.uid != agent_uid,
    })
}

fn own(agent_uid: u32, etc: &Path) -> Account {
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap_or_default();
    let entry = passwd.lines().filter_map(Entry::parse).find(|entry| entry.uid == agent_uid);
    let home = entry.map_or("/", |entry| entry.home).to_owned();
    Account { uid: agent_uid, gid: rustix::process::getegid().as_raw(), groups: Vec::new(), home, switch: false }
}

/// A line of the password file.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

/// The id of the group in `line` of the group file if `name` is one of its members.
fn member_of(line: &str, name: &str) -> Option<u32> {
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, gid, members] = fields[..] else { return None };
    if !members.split(',').any(|member| member == name) {
        return None;
    }
    gid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc() -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken line\nann:x:1000:1000:Ann:/var/lib/ann:/bin/sh\n\
                      second-root:x:0:0::/:/bin/sh\n";
        fs::write(etc.path().join("passwd"), passwd).unwrap();
        fs::write(etc.path().join("group"), "ann:x:1000:\naudio:x:29:bob,ann\nvideo:x:44:joann\n").unwrap();
        etc
    }

    fn reason(run_as: Option<&str>, allow_root: bool, agent_uid: u32) -> Result<(u32, bool), Reason> {
        let account = choose(run_as, allow_root, agent_uid, etc().path());
        account.map(|account| (account.uid, account.switch)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn only_root_may_become_somebody_and_root_itself_needs_permission() {
        for (run_as, allow_root, agent_uid, expected) in [
            (None, false, 1000, Ok((1000, false))),
            (Some("ann"), false, 1000, Ok((1000, false))),
            (Some("ann"), false, 1001, Err(Reason::NotAllowed)),
            (Some("root"), true, 1000, Err(Reason::NotAllowed)),
            (None, false, 0, Err(Reason::NotAllowed)),
            (None, true, 0, Ok((0, false))),
            (Some("root"), false, 0, Err(Reason::NotAllowed)),
            (Some("second-root"), false, 0, Err(Reason::NotAllowed)),
            (Some("ann"), false, 0, Ok((1000, true))),
            (Some("nobody-here"), true, 0, Err(Reason::NotAllowed)),
            (Some("1000"), true, 0, Err(Reason::NotAllowed)),
        ] {
            assert_eq!(reason(run_as, allow_root, agent_uid), expected, "{run_as:?} {allow_root} {agent_uid}");
        }
    }

    #[test]
    fn groups_and_home_come_from_the_machine() {
        let account = choose(Some("ann"), false, 0, etc().path()).unwrap();
        assert_eq!((account.groups, account.home.as_str()), (vec![1000, 29], "/var/lib/ann"));
    }
}
