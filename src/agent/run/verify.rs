//! The last look at everything before a program is started: the tree is exactly the manifest, byte for byte and not
//! writable by others, and the program is the very file that was hashed. Runs right before BEGIN, in the supervisor.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::Ticket;
use super::ticket::TicketContent;
use crate::content::digest::Hasher;
use crate::content::manifest::MAX_ENCODED_BYTES;
use crate::content::{Entry, Manifest, SafePath};
use crate::model::reason::Reason;
use crate::wire::record::in_package;

/// How much is hashed at a time.
const BUFFER_BYTES: usize = 1 << 17;
/// How much of a file's beginning tells what it is.
const START_BYTES: usize = 20;
/// Permission bits that let somebody else than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a program is not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Refusal {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The program to start, after everything was verified.
#[derive(Debug)]
pub(super) enum Program {
    /// A file of the package, by the descriptor that was hashed.
    Package {
        file: OwnedFd,
        /// Whether an interpreter has to open the descriptor again, so that it must stay open.
        interpreted: bool,
    },
    /// A program of the machine that its configuration allows.
    System(PathBuf),
}

/// Verified content and what to do with it.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) program: Program,
    pub(super) cwd: PathBuf,
}

/// Verifies everything that the ticket names.
///
/// # Errors
/// What is wrong first; nothing may be started then.
pub(super) fn verify(ticket: &Ticket) -> Result<Verified, Refusal> {
    let Some(word) = ticket.argv.first() else {
        return Err(Refusal::new(Reason::ProgramNotFound, "the command line is empty"));
    };
    let manifest = ticket.content.as_ref().map(|content| verified_tree(content, word)).transpose()?;
    let content = ticket.content.as_ref().zip(manifest.as_ref());
    let program = if Path::new(word).is_absolute() {
        system_program(Path::new(word), &ticket.system_paths)?
    } else {
        let (content, manifest) = content.ok_or_else(|| {
            Refusal::new(Reason::ProgramNotFound, format!("\"{word}\" is relative, and the package has no files"))
        })?;
        package_program(word, &content.dir, manifest)?
    };
    Ok(Verified { program, cwd: working_directory(ticket, manifest.as_ref())? })
}

/// The manifest with the ticket's digest, after the whole tree was found to be it; but for the program itself, which is
/// hashed when it is opened for execution.
fn verified_tree(content: &TicketContent, word: &str) -> Result<Manifest, Refusal> {
    let manifest = read_manifest(content)?;
    let mut expected: BTreeSet<&str> = manifest.entries().iter().map(|entry| entry.path.as_str()).collect();
    let directories: BTreeSet<&str> = manifest.directories().into_iter().collect();
    check_directory(&content.dir, "", &directories, &mut expected)?;
    if let Some(missing) = expected.first() {
        return Err(Refusal::new(Reason::DigestMismatch, format!("\"{missing}\" is missing")));
    }
    let dir = open_content(&content.dir)?;
    for entry in manifest.entries().iter().filter(|entry| entry.path.as_str() != in_package(word)) {
        open_verified(&dir, entry)?;
    }
    Ok(manifest)
}

fn read_manifest(content: &TicketContent) -> Result<Manifest, Refusal> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Refusal::new(Reason::DigestMismatch, format!("the content manifest cannot be read: {error}"))
    };
    let mut bytes = Vec::new();
    let limit = MAX_ENCODED_BYTES as u64 + 1;
    File::open(&content.manifest)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    let manifest = Manifest::decode(&bytes).map_err(|error| unreadable(&error))?;
    if manifest.digest() != content.manifest_digest {
        let detail = format!("the content manifest is {}, not {}", manifest.digest(), content.manifest_digest);
        return Err(Refusal::new(Reason::DigestMismatch, detail));
    }
    Ok(manifest)
}

/// Walks one directory of the tree. Whatever the manifest does not name could be picked up by a script or a loader, so
/// it is refused; every name found is taken out of `expected`. Recursion is as deep as a safe path at most.
fn check_directory(
    dir: &Path,
    name: &str,
    directories: &BTreeSet<&str>,
    expected: &mut BTreeSet<&str>,
) -> Result<(), Refusal> {
    let unreadable = |error: io::Error| {
        Refusal::new(Reason::DigestMismatch, format!("directory \"{name}\" of the content cannot be read: {error}"))
    };
    let metadata = fs::symlink_metadata(dir).map_err(unreadable)?;
    if !metadata.is_dir() {
        return Err(Refusal::new(Reason::DigestMismatch, format!("\"{name}\" is no directory")));
    }
    refuse_foreign(&metadata, name)?;
    for found in fs::read_dir(dir).map_err(unreadable)? {
        let found = found.map_err(unreadable)?;
        let file_name = found.file_name();
        let path = if name.is_empty() {
            file_name.to_string_lossy().into_owned()
        } else {
            format!("{name}/{}", file_name.to_string_lossy())
        };
        if directories.contains(path.as_str()) {
            check_directory(&found.path(), &path, directories, expected)?;
        } else if !expected.remove(path.as_str()) {
            return Err(Refusal::new(Reason::DigestMismatch, format!("\"{path}\" is not in the manifest")));
        }
    }
    Ok(())
}

/// Owned by the agent or by root, and writable by nobody else.
fn refuse_foreign(metadata: &fs::Metadata, name: &str) -> Result<(), Refusal> {
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(Refusal::new(Reason::NotAllowed, format!("\"{name}\" of the content belongs to user id {owner}")));
    }
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(Refusal::new(Reason::NotAllowed, format!("\"{name}\" of the content is writable by others")));
    }
    Ok(())
}

fn open_content(dir: &Path) -> Result<File, Refusal> {
    File::open(dir)
        .map_err(|error| Refusal::new(Reason::DigestMismatch, format!("the content cannot be read: {error}")))
}

/// Opens a file of the content without following any link, and hashes it through the descriptor that is returned.
/// The second part of the result is how the file begins.
fn open_verified(dir: &File, entry: &Entry) -> Result<(OwnedFd, Vec<u8>), Refusal> {
    let name = entry.path.as_str();
    let unreadable =
        |error: io::Error| Refusal::new(Reason::DigestMismatch, format!("\"{name}\" cannot be read: {error}"));
    // Not blocking: a FIFO in the place of a file must not stop the supervisor.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(dir, entry.path.as_path(), flags, Mode::empty(), resolve);
    let mut file = File::from(file.map_err(|error| unreadable(error.into()))?);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Refusal::new(Reason::DigestMismatch, format!("\"{name}\" is no regular file")));
    }
    refuse_foreign(&metadata, name)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut size_bytes, mut start) = (0, Vec::new());
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        if start.len() < START_BYTES {
            start.extend(&buffer[..count.min(START_BYTES)]);
        }
        size_bytes += count as u64;
        hasher.update(&buffer[..count]);
    }
    if size_bytes != entry.size_bytes || hasher.finish() != entry.digest {
        return Err(Refusal::new(Reason::DigestMismatch, format!("\"{name}\" does not have the manifest's digest")));
    }
    Ok((file.into(), start))
}

fn package_program(word: &str, dir: &Path, manifest: &Manifest) -> Result<Program, Refusal> {
    let refusal = |what: &str| Refusal::new(Reason::ProgramNotFound, format!("\"{word}\" {what}"));
    let path: SafePath = in_package(word).parse().map_err(|error| refusal(&format!("is no safe path: {error}")))?;
    let entry = manifest.entry(&path).ok_or_else(|| refusal("is not in the package"))?;
    if !entry.executable {
        return Err(refusal("is not executable; set its executable bit in the package source"));
    }
    let (file, start) = open_verified(&open_content(dir)?, entry)?;
    let interpreted = start.starts_with(b"#!");
    if !interpreted {
        check_elf(&start).map_err(|what| Refusal::new(Reason::StartFailed, format!("\"{word}\" {what}")))?;
    }
    Ok(Program::Package { file, interpreted })
}

/// Whether this machine can execute an ELF file that begins so. Asked here because the C library, when the kernel
/// refuses a file, tries it as a shell script: the run would end with the shell's complaint and not with the reason.
fn check_elf(start: &[u8]) -> Result<(), String> {
    let [0x7f, b'E', b'L', b'F', _, order, ..] = *start else {
        return Err("is neither a script with an interpreter line (#!) nor an executable (ELF)".into());
    };
    let machine = match (start.get(18), start.get(19), order) {
        (Some(&low), Some(&high), 1) => u16::from_le_bytes([low, high]),
        (Some(&high), Some(&low), 2) => u16::from_be_bytes([high, low]),
        _ => return Err("is a damaged executable (ELF)".into()),
    };
    // The second of each pair is the 32-bit forerunner that the machine usually executes as well.
    let executable = match std::env::consts::ARCH {
        "x86_64" => [62, 3],
        "aarch64" => [183, 40],
        "riscv64" => [243, 243],
        "s390x" => [22, 22],
        "powerpc64" => [21, 20],
        _ => return Ok(()),
    };
    if executable.contains(&machine) {
        return Ok(());
    }
    Err(format!(
        "is an executable for another processor (ELF machine {machine}); this one is {}",
        std::env::consts::ARCH
    ))
}

fn system_program(path: &Path, allowed: &[PathBuf]) -> Result<Program, Refusal> {
    let shown = path.display();
    if !allowed.iter().any(|allowed| allowed == path) {
        let detail =
            format!("the agent's configuration does not allow {shown}; add it to systemPaths, or ship the program");
        return Err(Refusal::new(Reason::NotAllowed, detail));
    }
    let metadata = fs::metadata(path)
        .map_err(|error| Refusal::new(Reason::ProgramNotFound, format!("{shown} of this machine: {error}")))?;
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(Refusal::new(Reason::NotAllowed, format!("{shown} of this machine is writable by others")));
    }
    Ok(Program::System(path.to_owned()))
}

fn working_directory(ticket: &Ticket, manifest: Option<&Manifest>) -> Result<PathBuf, Refusal> {
    let missing = |cwd: &SafePath| {
        Refusal::new(
            Reason::ProgramNotFound,
            format!("the working directory \"{}\" is not in the package", cwd.as_str()),
        )
    };
    match (&ticket.content, manifest, &ticket.cwd) {
        (Some(content), Some(manifest), Some(cwd)) => {
            manifest.directories().contains(&cwd.as_str()).then(|| cwd.below(&content.dir)).ok_or_else(|| missing(cwd))
        }
        (Some(content), _, None) => Ok(content.dir.clone()),
        (_, _, Some(cwd)) => Err(missing(cwd)),
        (None, _, None) => Ok(PathBuf::from("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_of_this_processor_pass() {
        let elf = |class: u8, order: u8, machine: [u8; 2]| {
            let mut start = b"\x7fELF".to_vec();
            start.extend([class, order]);
            start.resize(18, 0);
            start.extend(machine);
            check_elf(&start)
        };
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(check_elf(&own[..START_BYTES]), Ok(()));
        // A machine that no Linux runs on (Z80), in either byte order.
        assert!(elf(2, 1, [220, 0]).unwrap_err().contains("ELF machine 220"));
        assert!(elf(2, 2, [0, 220]).unwrap_err().contains("ELF machine 220"));
        assert!(elf(2, 7, [62, 0]).unwrap_err().contains("damaged"));
        assert!(check_elf(b"\x7fELF\x02\x01").unwrap_err().contains("damaged"));
        assert!(check_elf(b"echo hello\n").unwrap_err().contains("neither"));
        assert!(check_elf(b"").unwrap_err().contains("neither"));
    }
}
