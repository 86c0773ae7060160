//! Directories that hold a process's secrets and decide what it runs: made for one user, and refused if anybody else could
//! have put something in them or could put something else in their place. Changes nothing that is not this user's.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// Links on the way to a directory at most, as the kernel has it.
const LINKS_MAX: usize = 40;
/// Others may write.
const OTHERS_WRITE: u32 = 0o002;
/// Others may rename and remove only what is their own.
const STICKY: u32 = 0o1000;
/// The kernel's word for users that a user namespace does not know.
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";

/// Why a directory is not private.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// The file system refused.
    #[error("{0} cannot be used")]
    Io(PathBuf, #[source] io::Error),
    /// The directory itself is a link.
    #[error("{0} is a symbolic link, which may lead elsewhere tomorrow; give the directory itself as --state")]
    Link(PathBuf),
    /// There is something else.
    #[error("{0} is no directory; give another --state")]
    NoDirectory(PathBuf),
    /// The directory is another user's.
    #[error(
        "{path} belongs to user {owner} and this process runs as user {own}: run it as user {owner}, or give another --state; \
         do not trust what is in it"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        own: u32,
    },
    /// Something in the directory is another user's.
    #[error(
        "{path} belongs to user {owner} and this process runs as user {own}: it was put there by somebody else; \
         give another --state, and find out who did it"
    )]
    Planted {
        /// What.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        own: u32,
    },
    /// A directory or link on the way is another user's.
    #[error(
        "{path}, on the way to the state directory, belongs to user {owner}, who could put another directory in its place; \
         give a --state beneath directories of root or of user {own}, as in /var/lib"
    )]
    ForeignWay {
        /// The directory or link on the way.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        own: u32,
    },
    /// Everybody may write to a directory on the way, or to a directory that is not ours.
    #[error(
        "every user of this machine may replace what is in {0}; run chmod o-w on it, or give a --state beneath another directory"
    )]
    Open(PathBuf),
}

/// The directory by its real name, made with mode 0700 if it is missing, with all that is missing above it. Directories of
/// root are as good as this user's own.
///
/// # Errors
/// [`NotPrivate`]; what was there is as it was.
pub fn make(path: &Path) -> Result<PathBuf, NotPrivate> {
    let absolute = std::path::absolute(path).map_err(|error| NotPrivate::Io(path.to_owned(), error))?;
    let own = rustix::process::geteuid().as_raw();
    let real = walk(&absolute, own)?;
    let metadata = look(&real)?;
    if !is_trusted(&metadata, own) {
        return Err(NotPrivate::Foreign { path: real, owner: metadata.uid(), own });
    }
    if metadata.uid() != own && metadata.mode() & OTHERS_WRITE != 0 {
        return Err(NotPrivate::Open(real));
    }
    let failed = |error| NotPrivate::Io(real.clone(), error);
    for entry in fs::read_dir(&real).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let metadata = look(&path)?;
        if !is_trusted(&metadata, own) {
            return Err(NotPrivate::Planted { path, owner: metadata.uid(), own });
        }
    }
    Ok(real)
}

/// Takes every right from everybody else, if the directory is this user's own.
///
/// # Errors
/// [`NotPrivate`].
pub fn close(real: &Path) -> Result<(), NotPrivate> {
    let failed = |error| NotPrivate::Io(real.to_owned(), error);
    let no_link = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
    let flags = no_link.bits().cast_signed();
    let directory: File = OpenOptions::new().read(true).custom_flags(flags).open(real).map_err(failed)?;
    if directory.metadata().map_err(failed)?.uid() == rustix::process::geteuid().as_raw() {
        directory.set_permissions(Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Whether a file's owner is root or the user of this process.
#[must_use]
pub fn is_ours(metadata: &Metadata) -> bool {
    is_trusted(metadata, rustix::process::geteuid().as_raw())
}

/// Goes to the directory step by step, as the kernel would, and makes what is missing; its name without links.
fn walk(absolute: &Path, own: u32) -> Result<PathBuf, NotPrivate> {
    let mut ahead: Vec<PathBuf> = steps(absolute).collect();
    let (mut real, mut links) = (PathBuf::from("/"), 0);
    check_way(&real, &look(&real)?, own)?;
    while let Some(step) = ahead.pop() {
        if step.as_os_str() == ".." {
            real.pop();
            continue;
        }
        let place = real.join(&step);
        let metadata = look_or_make(&place)?;
        if metadata.is_symlink() {
            links += 1;
            if ahead.is_empty() || links > LINKS_MAX {
                return Err(NotPrivate::Link(place));
            }
            check_owner(&place, &metadata, own)?;
            let target = fs::read_link(&place).map_err(|error| NotPrivate::Io(place, error))?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            ahead.extend(steps(&target));
            continue;
        }
        if !metadata.is_dir() {
            return Err(NotPrivate::NoDirectory(place));
        }
        if !ahead.is_empty() {
            check_way(&place, &metadata, own)?;
        }
        real = place;
    }
    Ok(real)
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> impl Iterator<Item = PathBuf> + use<'_> {
    path.components().rev().filter_map(|step| match step {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

fn look(place: &Path) -> Result<Metadata, NotPrivate> {
    fs::symlink_metadata(place).map_err(|error| NotPrivate::Io(place.to_owned(), error))
}

fn look_or_make(place: &Path) -> Result<Metadata, NotPrivate> {
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(|error| NotPrivate::Io(place.to_owned(), error)),
    }
    match DirBuilder::new().mode(0o700).create(place) {
        // Somebody was faster; whoever it was is looked at.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(NotPrivate::Io(place.to_owned(), error)),
        _ => look(place),
    }
}

/// Nobody but root and this user may put something else in the place of what is beneath. Rights of a group are tolerated,
/// because Kubernetes grants them on every volume with an `fsGroup`; and those of everybody on a volume's own root directory,
/// which is how pods get many volumes, unless this is root, whom no pod needs.
fn check_way(place: &Path, metadata: &Metadata, own: u32) -> Result<(), NotPrivate> {
    check_owner(place, metadata, own)?;
    if metadata.mode() & OTHERS_WRITE == 0 || metadata.mode() & STICKY != 0 {
        return Ok(());
    }
    let is_volume = || place.parent().is_some_and(|above| look(above).is_ok_and(|above| above.dev() != metadata.dev()));
    if own != 0 && is_volume() { Ok(()) } else { Err(NotPrivate::Open(place.to_owned())) }
}

fn check_owner(place: &Path, metadata: &Metadata, own: u32) -> Result<(), NotPrivate> {
    if is_trusted(metadata, own) || is_unnamed(metadata) {
        return Ok(());
    }
    Err(NotPrivate::ForeignWay { path: place.to_owned(), owner: metadata.uid(), own })
}

fn is_trusted(metadata: &Metadata, own: u32) -> bool {
    metadata.uid() == own || metadata.uid() == 0
}

/// In a user namespace that root of the machine has no name in, its directories belong to the same user as everybody else's
/// who is not in there: `/` itself does. Nothing can be told of those.
fn is_unnamed(metadata: &Metadata) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let is_whole = || read("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    read(OVERFLOW_UID).trim().parse() == Ok(metadata.uid()) && !is_whole()
}

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
