//! Notices that a served directory or a branch may have changed, soon after it did. A notice is a hint: the sync looks
//! for itself. Where the kernel's notices do not work or break off, polling takes over.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::git::Repository;

/// How often files whose change matters are looked at besides the kernel's notices: the longest delay on file systems
/// without notices, such as network ones. Costs a few `stat` calls.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often a directory is read again for want of kernel notices (too many watches, for instance).
const BLIND_INTERVAL: Duration = Duration::from_secs(5);
/// A directory is read once nothing happened for this long: an editor or `cp -r` is done by then.
pub const QUIET: Duration = Duration::from_millis(100);
/// A directory that never comes to rest is read after this time anyway.
pub const QUIET_MAX: Duration = Duration::from_secs(1);

/// How long a notice may be on its way from the kernel to us.
const NOTICE_DELAY: Duration = Duration::from_millis(20);

/// What is watched.
#[derive(Debug, Clone)]
enum Place {
    /// A tree of manifests.
    Directory(PathBuf),
    /// The refs of a repository.
    Refs { directories: Vec<(PathBuf, RecursiveMode)>, files: Vec<PathBuf> },
}

/// A stream of notices; several close together count as one.
#[derive(Debug)]
pub struct Changes {
    notices: mpsc::Receiver<()>,
    keeper: JoinHandle<()>,
    settle: bool,
    /// A notice was taken, but nobody was told yet.
    noticed: bool,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Changes {
    /// Notices of changes of manifests beneath a directory, which need not exist yet; looked at each `poll` besides.
    #[must_use]
    pub fn of_directory(root: &Path, poll: Duration) -> Self {
        Self::start(Place::Directory(root.to_owned()), true, poll)
    }

    /// Notices of moves of a branch; looked at each `poll` besides.
    #[must_use]
    pub fn of_branch(repository: &Repository, branch: &str, poll: Duration) -> Self {
        let common = &repository.common_dir;
        let directories = vec![
            (repository.git_dir.clone(), RecursiveMode::NonRecursive),
            (common.clone(), RecursiveMode::NonRecursive),
            (common.join("refs"), RecursiveMode::Recursive),
            (common.join("reftable"), RecursiveMode::NonRecursive),
        ];
        let files = vec![
            common.join("refs/heads").join(branch),
            common.join("packed-refs"),
            common.join("reftable/tables.list"),
            repository.git_dir.join("HEAD"),
        ];
        Self::start(Place::Refs { directories, files }, false, poll)
    }

    /// Waits for the next change. A directory is given time to come to rest. A wait that is dropped loses no notice.
    pub async fn next(&mut self) {
        if !self.noticed && self.notices.recv().await.is_none() {
            // The keeper never ends by itself; if it did, polling at the caller's resync is what is left.
            std::future::pending::<()>().await;
        }
        self.noticed = true;
        self.rest().await;
        self.noticed = false;
    }

    /// Whether a directory changed while it was just being read; what was read may then be half of a file. Gives a
    /// directory that did time to come to rest.
    pub async fn interrupted(&mut self) -> bool {
        let interrupted = self.settle && matches!(timeout(NOTICE_DELAY, self.notices.recv()).await, Ok(Some(())));
        if interrupted {
            self.rest().await;
        }
        interrupted
    }

    async fn rest(&mut self) {
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, self.notices.recv()).await {} };
        if self.settle {
            let _ = timeout(QUIET_MAX, quiet).await;
        }
    }

    fn start(place: Place, settle: bool, poll: Duration) -> Self {
        let (sender, notices) = mpsc::channel(1);
        Self { notices, keeper: tokio::spawn(keep(place, sender, poll)), settle, noticed: false }
    }
}

/// Keeps a watcher in place, also when what it watches is moved away and comes back, and polls beside it.
async fn keep(place: Place, sender: mpsc::Sender<()>, poll: Duration) {
    let mut watcher = watch(&place, &sender);
    // What changed before the watcher was in place went unnoticed.
    let _ = sender.try_send(());
    let (mut seen, mut watched) = (fingerprint(&place), identity(&place));
    let mut blind_for = Duration::ZERO;
    loop {
        sleep(poll).await;
        let (now, at) = (fingerprint(&place), identity(&place));
        if at != watched || watcher.is_none() && at.iter().any(Option::is_some) {
            watcher = watch(&place, &sender);
            watched.clone_from(&at);
            let _ = sender.try_send(());
        }
        blind_for = if watcher.is_some() { Duration::ZERO } else { blind_for + poll };
        if now != seen || blind_for >= BLIND_INTERVAL {
            (seen, blind_for) = (now, Duration::ZERO);
            let _ = sender.try_send(());
        }
    }
}

/// A kernel watcher, or nothing if the kernel has no more watches or there is nothing to watch.
fn watch(place: &Place, sender: &mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let (sender, rule) = (sender.clone(), place.clone());
    let told = move |event: notify::Result<Event>| {
        // An error means that notices were lost: look again.
        if event.map_or(true, |event| event.need_rescan() || matters(&rule, &event)) {
            let _ = sender.try_send(());
        }
    };
    let mut watcher = RecommendedWatcher::new(told, Config::default().with_follow_symlinks(false)).ok()?;
    let result = match place {
        Place::Directory(root) => watcher.watch(root, RecursiveMode::Recursive),
        Place::Refs { directories, .. } => directories
            .iter()
            .filter(|(directory, _)| directory.is_dir())
            .try_for_each(|(directory, mode)| watcher.watch(directory, *mode)),
    };
    match result {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::debug!(%error, "no kernel notices for git sync; polling instead");
            None
        }
    }
}

/// Leaves out what cannot change a revision: reading, lock files, the content of files that are no manifests.
fn matters(place: &Place, event: &Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    match place {
        Place::Directory(_) => {
            let content = matches!(
                event.kind,
                EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_))
                    | EventKind::Create(notify::event::CreateKind::File)
                    | EventKind::Remove(notify::event::RemoveKind::File)
            );
            let manifest = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
            !content || event.paths.iter().any(manifest)
        }
        Place::Refs { .. } => event.paths.iter().any(|path| {
            let lock = path.extension().is_some_and(|ending| ending == "lock");
            let named = path.file_name().is_some_and(|name| name == "HEAD" || name == "packed-refs");
            let beneath = path.components().any(|part| part.as_os_str() == "refs" || part.as_os_str() == "reftable");
            !lock && (named || beneath)
        }),
    }
}

/// What polling compares: device, inode, change of content and size of the files that matter.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let at = fs::metadata(path).ok()?;
    Some((at.dev(), at.ino(), at.mtime(), at.mtime_nsec(), at.len()))
}

fn fingerprint(place: &Place) -> Vec<Stamp> {
    match place {
        Place::Directory(root) => vec![stamp(root)],
        Place::Refs { files, .. } => files.iter().map(|file| stamp(file)).collect(),
    }
}

/// Which directories are watched: another inode at the same path needs another watch.
fn identity(place: &Place) -> Vec<Option<(u64, u64)>> {
    let inode = |path: &Path| fs::metadata(path).ok().map(|at| (at.dev(), at.ino()));
    match place {
        Place::Directory(root) => vec![inode(root)],
        Place::Refs { directories, .. } => directories.iter().map(|(directory, _)| inode(directory)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_no_notice() {
        let root = tempfile::tempdir().unwrap();
        let mut changes = Changes::of_directory(root.path(), POLL_INTERVAL);
        changes.next().await;
        while changes.interrupted().await {}
        fs::write(root.path().join("a.yaml"), "a").unwrap();
        // Dropped while the directory is given time to rest.
        assert!(timeout(QUIET / 2, changes.next()).await.is_err());
        timeout(QUIET_MAX * 2, changes.next()).await.expect("the notice is lost");
    }

    #[tokio::test]
    async fn a_directory_that_appears_later_is_watched() {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("fleet");
        let mut changes = Changes::of_directory(&root, POLL_INTERVAL);
        changes.next().await;
        while changes.interrupted().await {}
        fs::create_dir(&root).unwrap();
        timeout(POLL_INTERVAL * 5, changes.next()).await.expect("nobody looked");
        while changes.interrupted().await {}
        fs::write(root.join("a.yaml"), "a").unwrap();
        timeout(POLL_INTERVAL * 5, changes.next()).await.expect("it is not watched");
    }
}
