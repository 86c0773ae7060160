//! Reads what this machine is: operating system, hardware, addresses, installed packages, and the owner's own facts.
//! Says nothing that changes by itself all the time, so that an unchanged machine sends nothing.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

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

/// JSON files of the facts directory; a file that is no JSON or too large is left out, the others count.
fn facts(directory: &Path) -> BTreeMap<String, serde_json::Value> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= FACT_BYTES_MAX))
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            Some((name, serde_json::from_slice(&fs::read(&path).ok()?).ok()?))
        })
        .take(FACTS_MAX)
        .collect()
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
}
