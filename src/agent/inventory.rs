//! Reads what this machine is: operating system, hardware, addresses, installed packages, and the owner's own facts.
//! Says nothing that changes by itself all the time, so that an unchanged machine sends nothing.

use std::{collections::BTreeMap, ffi::OsStr, fs, io, path::Path, process::Command};

use crate::{
    model::platform::Platform,
    wire::inventory::{Disk, Inventory, PACKAGES_MAX},
};

/// Facts files read at most.
const FACTS_MAX: usize = 64;
/// Bytes of one facts file at most.
const FACT_BYTES_MAX: u64 = 64 << 10;
/// Free space is said in steps, so that an idle disk does not make a new inventory every time.
const FREE_STEP_BYTES: u64 = 64 << 20;

/// The machine's inventory now. What cannot be read is left out: half an inventory is better than none.
#[must_use]
pub fn read(facts_directory: &Path) -> Inventory {
    let uname = rustix::system::uname();
    Inventory {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        platform: platform(),
        kernel: uname.release().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        disks: disks(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        addresses: addresses(),
        packages: packages(),
        facts: facts(facts_directory),
    }
}

/// What kind of machine this is.
#[must_use]
pub fn platform() -> Platform {
    let os_release = os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    Platform {
        os: Some("linux".to_owned()),
        distribution: os_release.get("ID").cloned(),
        version: os_release.get("VERSION_ID").cloned(),
        arch: Some(rustix::system::uname().machine().to_string_lossy().into_owned()),
    }
}

fn os_release(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// File systems on block devices, each once.
fn disks(mounts: &str) -> Vec<Disk> {
    let mut seen = std::collections::BTreeSet::new();
    let mut disks: Vec<_> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (device, mount) = (words.next()?, words.next()?);
            let first = device.starts_with("/dev/") && seen.insert(device.to_owned());
            let stat = if first { rustix::fs::statvfs(mount).ok()? } else { return None };
            Some(Disk {
                mount: mount.to_owned(),
                total_bytes: stat.f_blocks * stat.f_frsize,
                free_bytes: stat.f_bavail * stat.f_frsize / FREE_STEP_BYTES * FREE_STEP_BYTES,
            })
        })
        .collect();
    disks.sort_by(|a, b| a.mount.cmp(&b.mount));
    disks
}

/// Addresses of the kernel's interfaces, without loopback and link-local ones.
fn addresses() -> Vec<String> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut all: Vec<String> = local_v4(&v4);
    all.extend(v6.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let address = std::net::Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        let link_local = address.segments()[0] & 0xffc0 == 0xfe80;
        (!address.is_loopback() && !link_local).then(|| address.to_string())
    }));
    all.sort();
    all.dedup();
    all
}

/// In the routing trie, a `/32 host LOCAL` line follows the line with its address.
fn local_v4(fib_trie: &str) -> Vec<String> {
    let lines: Vec<&str> = fib_trie.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].contains("/32 host LOCAL"))
        .filter_map(|pair| pair[0].split_whitespace().last()?.parse::<std::net::Ipv4Addr>().ok())
        .filter(|address| !address.is_loopback())
        .map(|address| address.to_string())
        .collect()
}

/// Installed Debian and RPM packages.
fn packages() -> BTreeMap<String, String> {
    let mut packages = dpkg_status(&fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default());
    if Path::new("/usr/bin/rpm").exists() && Path::new("/var/lib/rpm").exists() {
        let output = Command::new("/usr/bin/rpm").args(["-qa", "--qf", "%{NAME}\t%{VERSION}-%{RELEASE}\n"]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        packages.extend(
            text.lines()
                .filter_map(|line| line.split_once('\t').map(|(name, version)| (name.to_owned(), version.to_owned()))),
        );
    }
    packages.into_iter().take(PACKAGES_MAX).collect()
}

fn dpkg_status(text: &str) -> BTreeMap<String, String> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    text.split("\n\n")
        .filter(|paragraph| field(paragraph, "Status").is_some_and(|status| status.ends_with(" installed")))
        .filter_map(|paragraph| Some((field(paragraph, "Package")?, field(paragraph, "Version")?)))
        .collect()
}

/// JSON files of the facts directory; a file that is no JSON or too large is left out, which the log says, the others count.
fn facts(directory: &Path) -> BTreeMap<String, serde_json::Value> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, directory = %directory.display(), "the directory of facts cannot be read");
            }
            return BTreeMap::new();
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut facts = BTreeMap::new();
    for path in paths {
        match fact(&path, facts.len()) {
            Ok((name, value)) => {
                facts.insert(name, value);
            }
            Err(why) => tracing::warn!(file = %path.display(), %why, "a file of facts is left out of the inventory"),
        }
    }
    facts
}

/// One file of facts beside so many others, by its name, or why it is none.
fn fact(path: &Path, others: usize) -> Result<(String, serde_json::Value), String> {
    if others >= FACTS_MAX {
        return Err(format!("there are {FACTS_MAX} before it"));
    }
    let name = path.file_stem().and_then(OsStr::to_str).ok_or("its name is no text")?;
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    if metadata.len() > FACT_BYTES_MAX {
        return Err(format!("it has {} bytes, and {FACT_BYTES_MAX} is the most", metadata.len()));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let value = serde_json::from_slice(&bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_understood() {
        let release = os_release("ID=debian\nVERSION_ID=\"12\"\n# x\n");
        assert_eq!((release["ID"].as_str(), release["VERSION_ID"].as_str()), ("debian", "12"));
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       16 kB\n"), 16_384);
        let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        assert_eq!(dpkg_status(status), [("bash".to_owned(), "5.2".to_owned())].into());
        let trie = "     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.0\n        /24 link UNICAST\n";
        assert_eq!(local_v4(trie), ["10.0.0.7"]);
    }

    #[test]
    fn this_machine_has_an_inventory() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("role.json"), r#"{"name": "kiosk"}"#).unwrap();
        fs::write(scratch.path().join("broken.json"), "{").unwrap();
        let inventory = read(scratch.path());
        assert!(inventory.cpus > 0 && inventory.memory_bytes > 0 && !inventory.hostname.is_empty());
        assert_eq!(inventory.facts.keys().collect::<Vec<_>>(), ["role"]);
    }

    #[test]
    fn a_file_of_facts_that_is_left_out_has_a_reason() {
        let scratch = tempfile::tempdir().unwrap();
        let why = |name: &str, text: Option<&str>, others| {
            let path = scratch.path().join(name);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            fact(&path, others).unwrap_err()
        };
        assert!(why("a.json", Some("{"), 0).starts_with("it is no JSON: "));
        let large = " ".repeat(usize::try_from(FACT_BYTES_MAX).unwrap() + 1);
        assert!(why("b.json", Some(&large), 0).contains("is the most"));
        assert!(why("c.json", Some("1"), FACTS_MAX).contains("before it"));
        assert!(why("gone.json", None, 0).contains("No such file"));
        fs::create_dir(scratch.path().join("d.json")).unwrap();
        assert_eq!(why("d.json", None, 0), "it is no file");
    }
}
